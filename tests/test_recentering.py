"""Points moved from their mean to another point, and scaled."""

import geoopt
import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError
from geowarp.manifolds import (
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    SpecialOrthogonal,
    Sphere,
)
from geowarp.manifolds.spd import AffineInvariantSPD
from geowarp.metrics import frechet_mean, pairwise_distance, recenter, whiten

CASES = [
    (Euclidean(1), (4,)),
    (Sphere(), (4,)),
    (Grassmann(), (5, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (PoincareBall(), (3,)),
    (Lorentz(), (4,)),
    (AffineInvariantSPD(), (3, 3)),
    (LogEuclideanSPD(), (3, 3)),
    (LogCholeskySPD(), (3, 3)),
]
every = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=lambda value: str(value))


def points(manifold: Manifold, shape: tuple[int, ...], *batch: int, spread: float = 0.2) -> Tensor:
    """Return ``(..., N, *shape)`` near a random point, which is not far from the origin."""
    origin = manifold.origin(*shape, dtype=torch.float64).detach().as_subclass(Tensor)
    for scale, sizes in ((0.5, (*batch[:-1], 1)), (spread, batch)):
        u = manifold.proju(origin, torch.randn(*sizes, *shape, dtype=torch.float64))
        origin = manifold.expmap(origin, scale * u / manifold.norm(origin, u, keepdim=True).clamp_min(1e-3))
    return origin


@every
def test_the_mean_goes_to_the_origin(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x, weights = points(manifold, shape, 2, 6), torch.rand(2, 6, dtype=torch.float64) + 0.1
    origin = manifold.origin(*shape, dtype=torch.float64)
    mean = frechet_mean(manifold, x, weights)
    moved = recenter(manifold, x, weights)
    assert manifold.point_residual(moved).max() < 1e-9
    assert manifold.dist(frechet_mean(manifold, moved, weights), origin).max() < 1e-8
    torch.testing.assert_close(
        manifold.dist(origin, moved), manifold.dist(mean[:, None], x), rtol=1e-7, atol=1e-9
    )
    back = recenter(manifold, moved, weights, mean=origin.expand(2, *shape), target=mean)
    assert manifold.dist(back, x).max() < 1e-7
    given = recenter(manifold, x, mean=mean)
    torch.testing.assert_close(given, moved, rtol=1e-9, atol=1e-9)


@every
def test_whitened_points_have_dispersion_one(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = points(manifold, shape, 2, 6)
    origin = manifold.origin(*shape, dtype=torch.float64)
    white = whiten(manifold, x)
    spread = manifold.dist2(frechet_mean(manifold, x)[:, None], x).mean(-1).sqrt()
    u = manifold.logmap(origin, recenter(manifold, x)) / spread.reshape(2, *(1,) * (x.ndim - 1))
    assert manifold.dist(white, manifold.expmap(origin, u)).max() < 1e-6
    if not isinstance(manifold, Grassmann):  # there some are beyond the cut locus of the origin
        variance = manifold.dist2(origin, white).mean(-1)
        torch.testing.assert_close(variance, torch.ones(2, dtype=torch.float64), rtol=1e-6, atol=0)


def power(matrix: Tensor, exponent: float | Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    result: Tensor = (vectors * values.pow(exponent)[..., None, :]) @ vectors.mT
    return result


def test_affine_invariant_recentring_is_a_congruence() -> None:
    manifold = AffineInvariantSPD()
    x = points(manifold, (4, 4), 8, spread=0.8)
    mean = frechet_mean(manifold, x)
    root = power(mean, -0.5)
    expected = root @ x @ root
    torch.testing.assert_close(recenter(manifold, x), expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        pairwise_distance(manifold, recenter(manifold, x)),
        pairwise_distance(manifold, x),
        rtol=1e-7,
        atol=1e-8,
    )
    variance = manifold.dist2(mean, x).mean()
    torch.testing.assert_close(
        whiten(manifold, x), power(expected, variance.rsqrt()[None]), rtol=1e-7, atol=1e-8
    )


def test_gradients() -> None:
    x = points(Sphere(), (3,), 4).requires_grad_()
    target = torch.eye(3, dtype=torch.float64)[1]
    for function in (recenter, whiten):
        assert torch.autograd.gradcheck(
            lambda y, f=function: f(Sphere(), Sphere().projx(y), target=target), x, atol=1e-5
        )


def test_equal_points_one_point_and_geoopt() -> None:
    x = points(Sphere(), (3,), 1).expand(4, 3).contiguous()
    origin = Sphere().origin(3, dtype=torch.float64)
    for function in (recenter, whiten):
        torch.testing.assert_close(function(Sphere(), x), origin.detach().expand(4, 3), rtol=0, atol=1e-7)
    flat = torch.ones(3, 2)
    assert torch.equal(whiten(Euclidean(1), flat.requires_grad_()), torch.zeros(3, 2))
    (gradient,) = torch.autograd.grad(whiten(Euclidean(1), flat).sum(), flat)
    assert gradient.isfinite().all()
    ball = geoopt.PoincareBall()
    y = ball.expmap0(0.3 * torch.randn(5, 3, dtype=torch.float64))
    moved = recenter(ball, y)
    assert frechet_mean(ball, moved).norm() < 1e-9
    torch.testing.assert_close(pairwise_distance(ball, moved), pairwise_distance(ball, y))
    array = recenter(ball, y.numpy(), target=np.full(3, 0.1))
    assert isinstance(array, np.ndarray)
    np.testing.assert_allclose(frechet_mean(ball, torch.from_numpy(array)), 0.1, atol=1e-9)


def test_errors() -> None:
    x = points(Sphere(), (3,), 4)
    with pytest.raises(NotOnManifoldError, match="target"):
        recenter(Sphere(), x, target=torch.ones(3, dtype=torch.float64))
    with pytest.raises(NotOnManifoldError, match="mean"):
        whiten(Sphere(), x, mean=torch.ones(3, dtype=torch.float64))
    with pytest.raises(GeowarpError, match="negative"):
        recenter(Sphere(), x, -torch.ones(4))
