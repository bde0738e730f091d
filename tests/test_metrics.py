"""Distances and means of geowarp.metrics against the manifolds' own, and on manifolds of geoopt."""

import geoopt
import pytest
import torch

from geowarp.manifolds import Euclidean, Grassmann, Manifold, Sphere, Stiefel
from geowarp.metrics import frechet_mean, pairwise_distance


@pytest.mark.parametrize("manifold", [Sphere(), Grassmann(), Stiefel(), Euclidean(2)], ids=repr)
def test_pairwise_distance_is_dist_of_each_pair(manifold: Manifold) -> None:
    point = (6, 2)[: manifold.ndim]
    x = manifold.random(2, 1, *point, dtype=torch.float64)
    near = (manifold.retr(x, 0.3 * manifold.proju(x, torch.randn(2, n, *point).double())) for n in (4, 3))
    x, y = near
    table = pairwise_distance(manifold, x, y)
    for i in range(4):
        for j in range(3):
            torch.testing.assert_close(table[:, i, j], manifold.dist(x[:, i], y[:, j]), rtol=1e-9, atol=1e-12)


def test_manifolds_of_geoopt() -> None:
    ball = geoopt.PoincareBall()
    x = ball.expmap0(0.3 * torch.randn(5, 3, dtype=torch.float64))
    table = pairwise_distance(ball, x)
    torch.testing.assert_close(table[1, 2], ball.dist(x[1], x[2]))
    result = frechet_mean(ball, x, return_info=True)
    assert bool(result.converged)
    slope = ball.logmap(result.mean, x).mean(0)
    assert slope.norm() < 1e-10
    torch.testing.assert_close(frechet_mean(geoopt.Euclidean(1), x), x.mean(0))


def test_frechet_mean_is_the_mean_of_the_manifold() -> None:
    x = Grassmann().random(3, 1, 8, 2, dtype=torch.float64)
    x = Grassmann().expmap(x, 0.1 * Grassmann().proju(x, torch.randn(3, 5, 8, 2, dtype=torch.float64)))
    weights = torch.rand(3, 5, dtype=torch.float64)
    mean = frechet_mean(Grassmann(), x, weights)
    torch.testing.assert_close(mean, Grassmann().mean(x, weights))
    assert Grassmann().dist(mean, frechet_mean(Grassmann(), x, weights, return_info=True).mean).max() < 1e-12
