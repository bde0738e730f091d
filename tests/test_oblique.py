"""The oblique manifold against the sphere column by column, pymanopt, and finite differences."""

import math

import geoopt
import numpy as np
import pytest
import torch
from pymanopt.manifolds import Oblique as PymanoptOblique
from torch import Tensor

from geowarp import NotOnManifoldError
from geowarp.manifolds import Oblique, Sphere

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def tangent(x: Tensor) -> Tensor:
    u: Tensor = Oblique().proju(x, torch.randn_like(x))
    return u


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_columns_are_points_of_spheres(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    oblique, sphere = Oblique(), Sphere()
    x, y = (oblique.random(*batch, 5, 3, dtype=dtype).clone() for _ in range(2))
    u, v = tangent(x), tangent(x)
    for mine, theirs in [
        (oblique.projx(2 * x), sphere.projx(2 * x.mT).mT),
        (oblique.proju(x, y), sphere.proju(x.mT, y.mT).mT),
        (oblique.expmap(x, u), sphere.expmap(x.mT, u.mT).mT),
        (oblique.logmap(x, y), sphere.logmap(x.mT, y.mT).mT),
        (oblique.transp(x, y, v), sphere.transp(x.mT, y.mT, v.mT).mT),
        (oblique.expmap_transp(x, u, v)[1], sphere.expmap_transp(x.mT, u.mT, v.mT)[1].mT),
        (oblique.dist(x, y), sphere.dist(x.mT, y.mT).square().sum(-1).sqrt()),
        (oblique.dist2(x, y), sphere.dist(x.mT, y.mT).square().sum(-1)),
        (oblique.inner(x, u, v), sphere.inner(x.mT, u.mT, v.mT).sum(-1)),
    ]:
        assert mine.dtype == dtype
        assert mine.is_contiguous()
        torch.testing.assert_close(mine, theirs)
    assert oblique.dist(x, y, keepdim=True).shape == oblique.component_inner(x, u).shape == (*batch, 1, 1)
    oblique.assert_check_vector_on_tangent(oblique.expmap(x, u), oblique.retr_transp(x, u, v)[1])


def test_distance_projection_and_mean_equal_pymanopt() -> None:
    other = PymanoptOblique(5, 3)
    x, y = (Oblique().random(5, 3, dtype=torch.float64).numpy() for _ in range(2))
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    np.testing.assert_allclose(Oblique().dist(a, b), other.dist(x, y), rtol=1e-13)
    np.testing.assert_allclose(Oblique().logmap(a, b), other.log(x, y), atol=1e-14)
    np.testing.assert_allclose(Oblique().proju(a, b), other.projection(x, y), atol=1e-14)
    np.testing.assert_allclose(Oblique().mean(torch.stack([a, b])), other.pair_mean(x, y), atol=1e-14)
    assert Oblique().dim((5, 3)) == other.dim


@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_small_distances_are_accurate(dtype: torch.dtype, angle: float) -> None:
    x, y = torch.eye(4, 2, dtype=dtype), torch.eye(4, 2, dtype=dtype)
    y[2, 0], y[3, 1] = angle, -angle
    exact = math.sqrt(2) * y[2, 0].item()
    for distance in (Oblique().dist(x, y), Oblique().cdist(x[None], y[None]).squeeze()):
        assert abs(distance.item() - exact) <= 8 * torch.finfo(dtype).eps * exact


def test_a_column_of_zeros_and_antipodal_columns() -> None:
    oblique = Oblique()
    x = torch.eye(3, dtype=torch.float64)[:, :2]
    torch.testing.assert_close(oblique.projx(torch.zeros(3, 2)), torch.tensor([[1.0, 1.0], [0, 0], [0, 0]]))
    y = x * torch.tensor([1.0, -1.0])
    u = oblique.logmap(x, y)
    torch.testing.assert_close(u.norm(dim=0), torch.tensor([0.0, math.pi], dtype=torch.float64))
    torch.testing.assert_close(oblique.expmap(x, u), y)


def test_gradients_at_equal_and_generic_points() -> None:
    oblique = Oblique()
    x = oblique.random(2, 4, 3, dtype=torch.float64).clone()
    y = oblique.expmap(x, tangent(x))
    y[0, :, 1] = x[0, :, 1]
    zero = torch.zeros_like(x, requires_grad=True)
    for function in (oblique.dist, oblique.dist2, oblique.logmap):
        assert torch.autograd.gradcheck(
            lambda u, function=function: function(oblique.expmap(x, oblique.proju(x, u)), y), (zero,)
        )
    assert torch.autograd.gradcheck(lambda u: oblique.dist2(oblique.expmap(x, u), x), (zero,))
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(oblique.dist(point, x).sum(), point)
    assert not gradient.any()


def test_cdist_is_dist_of_all_pairs_and_compiles() -> None:
    oblique = Oblique()
    x, y = oblique.random(2, 5, 4, 3).clone(), oblique.random(1, 2, 4, 3).clone()
    torch.testing.assert_close(oblique.cdist(x, y), oblique.dist(x[:, :, None], y[:, None]))
    u = tangent(x)
    compiled = torch.compile(
        lambda a, b: oblique.dist(a, oblique.retr(a, b)), fullgraph=True, backend="eager"
    )
    torch.testing.assert_close(compiled(x, u), oblique.dist(x, oblique.retr(x, u)))


def test_optimisation_in_geoopt_finds_the_eigenvectors_of_each_column() -> None:
    """``Σ x_jᵀ A x_j`` is least where every column is the lowest eigenvector of A."""
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.1]))
    parameter = geoopt.ManifoldParameter(Oblique().random(4, 3))
    optimizer = geoopt.optim.RiemannianSGD([parameter], lr=0.2, momentum=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        (parameter * (matrix @ parameter)).sum().backward()
        optimizer.step()
    torch.testing.assert_close(parameter.detach().abs()[3], torch.ones(3))
    Oblique().assert_check_point_on_manifold(parameter.detach())


def test_identity_and_errors() -> None:
    assert Oblique() == Oblique()
    assert hash(Oblique()) == hash(Oblique())
    assert repr(Oblique()) == "Oblique()"
    with pytest.raises(NotOnManifoldError, match=r"1\.0e\+00.*projx"):
        Oblique().assert_check_point_on_manifold(torch.diag(torch.tensor([1.0, 2.0])))
    with pytest.raises(NotOnManifoldError, match=r"proju"):
        Oblique().assert_check_vector_on_tangent(torch.eye(2), torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"2 dimensions.*\(3,\)"):
        Oblique().random(3)
