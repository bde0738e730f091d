"""The sphere against closed forms, finite differences and invariances."""

import geoopt
import mpmath
import pytest
import torch
from torch import Tensor

from geowarp import NotOnManifoldError
from geowarp.manifolds import Sphere

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def tangent(x: Tensor) -> Tensor:
    u = Sphere().proju(x, torch.randn_like(x))
    assert isinstance(u, Tensor)
    return u


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_exp_and_log_are_inverse(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    sphere = Sphere()
    x = sphere.random(*batch, 5, dtype=dtype)
    u = tangent(x)
    u = u / u.norm(dim=-1, keepdim=True)
    y = sphere.expmap(x, u)
    assert y.dtype == dtype
    assert y.shape == x.shape
    torch.testing.assert_close(sphere.logmap(x, y), u, atol=20 * torch.finfo(dtype).eps, rtol=0)
    torch.testing.assert_close(sphere.dist(x, y), torch.ones(batch, dtype=dtype))
    sphere.assert_check_point_on_manifold(y)


@pytest.mark.parametrize(("dtype", "angle"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_small_angles_are_accurate_to_a_few_eps(dtype: torch.dtype, angle: float) -> None:
    x = torch.tensor([1.0, 0.0, 0.0], dtype=dtype)
    y = torch.tensor([1.0, angle, 0.0], dtype=dtype)
    exact = mpmath.atan(mpmath.mpf(y[1].item()))
    assert abs(Sphere().dist(x, y).item() - exact) <= 4 * torch.finfo(dtype).eps * exact


@pytest.mark.parametrize("batch", BATCHES)
def test_gradient_duality_and_projection(batch: tuple[int, ...]) -> None:
    sphere = Sphere()
    x = sphere.random(*batch, 4, dtype=torch.float64)
    g, v = torch.randn_like(x), tangent(x)
    torch.testing.assert_close(sphere.inner(x, sphere.egrad2rgrad(x, g), v), (g * v).sum(-1))
    torch.testing.assert_close(sphere.proju(x, sphere.proju(x, g)), sphere.proju(x, g))


def test_transport_is_an_isometry_that_carries_the_geodesic() -> None:
    sphere = Sphere()
    x = sphere.random(6, 4, dtype=torch.float64)
    u, v = tangent(x), tangent(x)
    y = sphere.expmap(x, 0.3 * u)
    moved = sphere.transp(x, y, v)
    torch.testing.assert_close(sphere.norm(y, moved), sphere.norm(x, v))
    sphere.assert_check_vector_on_tangent(y, moved)
    torch.testing.assert_close(sphere.transp(x, y, sphere.logmap(x, y)), -sphere.logmap(y, x))


def test_gradients_at_coincident_points_and_zero_tangents() -> None:
    sphere = Sphere()
    x = sphere.random(4, dtype=torch.float64).clone()
    x.requires_grad_()
    sphere.dist(x, x.detach()).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(4, dtype=torch.float64))
    u = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    point = x.detach()
    assert torch.autograd.gradcheck(lambda w: sphere.expmap(point, sphere.proju(point, w)), (u,))


def test_cdist_is_dist_of_all_pairs() -> None:
    sphere = Sphere()
    x, y = sphere.random(5, 4, dtype=torch.float64), sphere.random(3, 4, dtype=torch.float64)
    torch.testing.assert_close(sphere.cdist(x, y), sphere.dist(x[:, None], y[None]))


def test_compiles_in_one_graph() -> None:
    sphere = Sphere()
    x, y = sphere.random(3, 4), sphere.random(3, 4)
    x, y = x.clone(), y.clone()
    compiled = torch.compile(
        lambda a, b: sphere.retr(a, sphere.dist(a, b)[:, None] * b), fullgraph=True, backend="eager"
    )
    torch.testing.assert_close(compiled(x, y), sphere.retr(x, sphere.dist(x, y)[:, None] * y))


def test_equality_errors_and_half_precision() -> None:
    sphere = Sphere()
    assert sphere == Sphere()
    assert hash(sphere) == hash(Sphere())
    assert repr(sphere) == "Sphere()"
    with pytest.raises(NotOnManifoldError, match=r"1\.0e\+00.*projx"):
        sphere.assert_check_point_on_manifold(torch.tensor([2.0, 0.0]))
    x = sphere.random(4).clone().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert sphere.projx(x).dtype == torch.bfloat16
        assert sphere.cdist(x.float()[None], x.float()[None]).dtype == torch.float32


def test_works_in_geoopt() -> None:
    sphere = Sphere()
    parameter = geoopt.ManifoldParameter(sphere.random(7, 4))
    optimizer = geoopt.optim.RiemannianAdam([parameter], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        parameter.sum().backward()
        optimizer.step()
    sphere.assert_check_point_on_manifold(parameter.detach())
    scaled = geoopt.Scaled(sphere, 2.0)
    torch.testing.assert_close(
        scaled.dist(parameter[0], parameter[1]), 2 * sphere.dist(parameter[0], parameter[1])
    )
