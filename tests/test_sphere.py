"""The sphere against closed forms, finite differences and invariances."""

import math

import geoopt
import mpmath
import pytest
import torch
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.manifolds import Manifold, Sphere

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
    bound = 4 * torch.finfo(dtype).eps * exact
    assert abs(Sphere().dist(x, y).item() - exact) <= bound
    assert abs(Sphere().cdist(x[None], y[None]).item() - exact) <= bound
    assert abs(Sphere().logmap(x, y)[1].item() - exact) <= bound
    step = torch.tensor([0.0, angle, 0.0], dtype=dtype)
    with mpmath.workdps(40):
        sine = mpmath.sin(mpmath.mpf(step[1].item()))
    assert abs(Sphere().expmap(x, step)[1].item() - sine) <= bound


@pytest.mark.parametrize("gap", [1e-3, 1e-7, 1e-12, 1e-20])
def test_near_antipodal_points_are_accurate(gap: float) -> None:
    x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    y = torch.tensor([-mpmath.cos(gap), mpmath.sin(gap) * 0.6, mpmath.sin(gap) * 0.8], dtype=torch.float64)
    angle = math.pi - gap
    assert abs(Sphere().dist(x, y).item() - angle) <= 4e-16
    torch.testing.assert_close(
        Sphere().logmap(x, y), angle * torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    )
    torch.testing.assert_close(
        Sphere().transp(x, y, Sphere().logmap(x, y)), -Sphere().logmap(y, x), atol=1e-15, rtol=1e-15
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_antipodal_points_have_a_logarithm(dtype: torch.dtype, batch: tuple[int, ...]) -> None:
    sphere = Sphere()
    x = torch.cat(
        [sphere.random(*batch, 3, 4, dtype=dtype), torch.eye(4, dtype=dtype).expand(*batch, 4, 4)], -2
    )
    u, v = sphere.logmap(x, -x), tangent(x)
    sphere.assert_check_vector_on_tangent(x, u)
    torch.testing.assert_close(sphere.norm(x, u), sphere.dist(x, -x))
    torch.testing.assert_close(sphere.expmap(x, u), -x)
    moved = sphere.transp(x, -x, v)
    torch.testing.assert_close(moved, sphere.expmap_transp(x, u, v)[1])
    point = x.clone().requires_grad_()
    (sphere.dist(point, -x).sum() + sphere.logmap(point, -x).sum()).backward()
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_transport_along_a_geodesic_is_an_isometry_beyond_the_antipode() -> None:
    sphere = Sphere()
    x = sphere.random(5, 4, dtype=torch.float64).clone()
    u, v = tangent(x), tangent(x)
    u = u / u.norm(dim=-1, keepdim=True)
    y, moved = sphere.expmap_transp(x, 1.5 * math.pi * u, v)
    sphere.assert_check_vector_on_tangent(y, moved)
    torch.testing.assert_close(sphere.norm(y, moved), sphere.norm(x, v))
    quarter, half = sphere.expmap_transp(x, 0.75 * math.pi * u, v)
    direction = sphere.expmap_transp(x, 0.75 * math.pi * u, u)[1]
    torch.testing.assert_close(sphere.expmap_transp(quarter, 0.75 * math.pi * direction, half)[1], moved)
    torch.testing.assert_close(sphere.retr_transp(x, u, v)[1], sphere.transp(x, sphere.retr(x, u), v))
    torch.testing.assert_close(sphere.transp_follow_retr(x, u, v), sphere.transp_follow_expmap(x, u, v))


def test_projection_of_zero_of_tiny_and_of_huge_vectors() -> None:
    for size in (1e-30, 1e-42, 1e30):
        x = torch.tensor([0.6, 0.8, 0.0]) * size
        torch.testing.assert_close(Sphere().projx(x), torch.tensor([0.6, 0.8, 0.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(Sphere().projx(torch.zeros(2, 3)), torch.eye(3)[:1].expand(2, 3))
    x = torch.tensor([3e-20, 4e-20], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Sphere().projx, (x * 1e20,))


def test_geodesic_leads_from_start_to_end_at_constant_speed() -> None:
    sphere = Sphere()
    x, y = sphere.random(5, 4, dtype=torch.float64).clone(), sphere.random(5, 4, dtype=torch.float64).clone()
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    path = sphere.geodesic(t[:, None], x, y)
    assert path.shape == (7, 5, 4)
    torch.testing.assert_close(path[0], x)
    torch.testing.assert_close(path[-1], y)
    torch.testing.assert_close(sphere.dist(x, path), t[:, None] * sphere.dist(x, y))
    torch.testing.assert_close(sphere.geodesic(0.5, x, y), path[3])
    u = sphere.logmap(x, y) / sphere.dist(x, y, keepdim=True)
    torch.testing.assert_close(sphere.geodesic_unit(sphere.dist(x, y), x, u), y)
    assert sphere.geodesic(t[:1].float(), x[0], y[0]).dtype == torch.float64
    time = torch.rand(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: sphere.geodesic(a, x, y), (time,))


def test_operations_broadcast_keep_dimensions_and_leave_their_inputs() -> None:
    sphere = Sphere()
    x, y = sphere.random(2, 1, 4).clone(), sphere.random(3, 4).clone()
    u, copies = tangent(x), (x.clone(), y.clone())
    assert sphere.inner(x, y).shape == sphere.dist(x, y).shape == sphere.dist2(x, y).shape == (2, 3)
    assert sphere.inner(x, u[0, 0]).shape == (2, 1)
    for keep in (sphere.inner, sphere.dist, sphere.dist2, sphere.norm):
        assert keep(x, y, keepdim=True).shape == (2, 3, 1)
    assert sphere.component_inner(x, u).shape == (2, 1, 1)
    assert sphere.transp(x, y, u).shape == sphere.logmap(x, y).shape == (2, 3, 4)
    assert torch.equal(copies[0], x)
    assert torch.equal(copies[1], y)
    scaled = geoopt.Scaled(sphere, 2.0)
    torch.testing.assert_close(scaled.cdist(y, y), 2 * sphere.cdist(y, y))
    torch.testing.assert_close(scaled.geodesic_unit(1.0, x, u), sphere.geodesic_unit(0.5, x, u))


@pytest.mark.parametrize(("operation", "remedy"), [("logmap", "retr"), ("transp", "proju")])
def test_an_operation_without_a_formula_names_another(operation: str, remedy: str) -> None:
    class Bare(Sphere):
        logmap = Manifold.logmap
        transp = Manifold.transp

    x = Bare().random(3, 4).clone()
    with pytest.raises(GeowarpError, match=rf"Sphere\(\) has no {operation}.*{remedy}"):
        getattr(Bare(), operation)(x, x, *[x] * (operation == "transp"))


def test_distance_derived_from_the_logarithm() -> None:
    class Derived(Sphere):
        dist = Manifold.dist
        cdist = Manifold.cdist

    x, y = Sphere().random(2, 3, 4).clone(), Sphere().random(5, 4).clone()
    torch.testing.assert_close(Derived().cdist(x, y), Sphere().cdist(x, y))
    torch.testing.assert_close(Derived().dist2(x, x), torch.zeros(2, 3))


@pytest.mark.parametrize("batch", BATCHES)
def test_gradient_duality_and_projection(batch: tuple[int, ...]) -> None:
    sphere = Sphere()
    x = sphere.random(*batch, 4, dtype=torch.float64)
    g, v = torch.randn_like(x), tangent(x)
    torch.testing.assert_close(sphere.inner(x, sphere.egrad2rgrad(x, g), v), (g * v).sum(-1))
    torch.testing.assert_close(sphere.proju(x, sphere.proju(x, g)), sphere.proju(x, g))


@pytest.mark.parametrize("angle", [0.0, 1e-15, 1e-9, 1e-6, 1e-3, 1.0, 2.0])
def test_transport_by_any_angle_is_accurate(angle: float) -> None:
    sphere = Sphere()
    x = sphere.random(20, 4, dtype=torch.float64).clone()
    u, v = tangent(x), tangent(x)
    y, moved = sphere.expmap_transp(x, angle * u / u.norm(dim=-1, keepdim=True), v)
    torch.testing.assert_close(sphere.transp(x, y, v), moved, atol=5e-15, rtol=0)


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


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_projection_of_what_is_not_finite_is_no_point(value: float) -> None:
    assert Sphere().projx(torch.tensor([[0.0, value], [3.0, 4.0]])).isnan().any(-1).tolist() == [True, False]
