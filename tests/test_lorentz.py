"""The hyperboloid against mpmath, geoopt, definitions and finite differences."""

import math
from collections.abc import Callable

import geoopt
import pytest
import torch
from hyperbolic_cases import BATCHES, DTYPES, lorentz_distance, lorentz_pair, unit
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.manifolds import Lorentz

SPACES = [Lorentz(), Lorentz(0.7), Lorentz(4.0)]


def points(lorentz: Lorentz, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return lorentz.random(*shape, dtype=dtype).detach().clone()


def tangent(lorentz: Lorentz, x: Tensor) -> Tensor:
    vector: Tensor = lorentz.proju(x, torch.randn_like(x))
    return vector


def minkowski(x: Tensor, y: Tensor) -> Tensor:
    return (x * y)[..., 1:].sum(-1) - (x * y)[..., 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("separation", [1e-3, 0.5, 5.0, 20.0])
@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0, 6.0, 10.0, 14.0])
def test_distances_are_right_to_rounding(radius: float, separation: float, dtype: torch.dtype) -> None:
    # The error grows like the size exp(r) of the points, and not like its square: float64 serves for float32.
    eps = torch.finfo(dtype).eps
    size = math.exp(radius)
    bound = (4 * eps if dtype == torch.float32 else 0) + 2e-15 * (1 + size)
    for k in (1.0, 0.7):
        lorentz = Lorentz(k)
        for _ in range(5):
            x, y = lorentz_pair(radius * k**0.5, separation * k**0.5, dtype, k)
            true = lorentz_distance(x, y, k)
            for value in (lorentz.dist(x, y), lorentz.dist(y, x)):
                assert value.dtype == dtype
                assert abs(value.item() - true) <= bound * true
            assert (
                abs(lorentz.dist0(x).item() - lorentz_distance(lorentz.projx(0 * x), x, k)) <= bound * radius
            )
            # of the ball's points, which have a rounding error of their own
            assert abs(lorentz.cdist(x[None], y[None]).item() - true) <= bound * true + 1e-15 * size


def test_no_distance_is_negative_far_out_in_float32() -> None:
    x = Lorentz().expmap0(torch.tensor([[0.0, 10.0, 0.0], [0.0, 0.0, 14.0], [0.0, 30.0, 0.0]]))
    theirs = geoopt.Lorentz().dist(x, x)
    assert not bool((theirs == 0).all())
    for value in (Lorentz().dist(x, x), Lorentz().cdist(x, x).diagonal()):
        assert torch.equal(value, torch.zeros(3))
    around = Lorentz().expmap(x[:, None], Lorentz().proju(x[:, None], torch.randn(3, 50, 3)))
    assert (Lorentz().dist(x[:, None], around) >= 0).all()
    assert Lorentz().logmap(x[:, None], around).isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_far_out_are_points(dtype: torch.dtype) -> None:
    lorentz = Lorentz(0.7)
    for radius in (5.0, 10.0, 14.0, 100.0, 1e10, 1e30):
        x = lorentz.expmap0(torch.cat([torch.zeros(20, 1), radius * unit(20, 3)], -1).to(dtype))
        assert x.isfinite().all()
        lorentz.assert_check_point_on_manifold(x, atol=8 * torch.finfo(dtype).eps)
        torch.testing.assert_close(lorentz.projx(x), x, atol=0, rtol=8 * torch.finfo(dtype).eps)
        lorentz.assert_check_vector_on_tangent(x, tangent(lorentz, x), atol=1e-6)
        furthest = 15.24 if dtype == torch.float32 else 35.3
        expected = torch.full((20,), min(radius, furthest * 0.7**0.5), dtype=dtype)
        torch.testing.assert_close(lorentz.dist0(x), expected, atol=0, rtol=2e-3)
    assert not lorentz.check_point_on_manifold(-x)
    assert not lorentz.check_point_on_manifold(x * torch.tensor([1.001, 1.0, 1.0, 1.0], dtype=dtype))
    huge = torch.tensor([0.0, 3e30, 4e30], dtype=dtype)
    y = lorentz.projx(huge)
    torch.testing.assert_close(y[1:] / y[1:].norm(), torch.tensor([0.6, 0.8], dtype=dtype))


def test_agreement_with_geoopt_where_it_is_right() -> None:
    k = torch.tensor(0.7, dtype=torch.float64)
    ours, theirs = Lorentz(0.7), geoopt.Lorentz(k)
    x, y = points(ours, 6, 4), points(ours, 6, 4)
    u, v, g = tangent(ours, x), tangent(ours, x), torch.randn(6, 4, dtype=torch.float64)
    at_origin = torch.cat([torch.zeros(6, 1), torch.randn(6, 3)], -1).double()
    pairs = [
        (ours.dist(x, y), theirs.dist(x, y)),
        (ours.dist0(x), theirs.dist0(x)),
        (ours.expmap(x, u), theirs.expmap(x, u)),
        (ours.logmap(x, y), theirs.logmap(x, y)),
        (ours.expmap0(at_origin), theirs.expmap0(at_origin)),
        (ours.logmap0(x), theirs.logmap0(x)),
        (ours.transp(x, y, v), theirs.transp(x, y, v)),
        (ours.inner(x, u, v), theirs.inner(x, u, v)),
        (ours.egrad2rgrad(x, g), theirs.egrad2rgrad(x, g.clone())),
        (ours.projx(g), theirs.projx(g)),
        (ours.origin(6, 4, dtype=torch.float64), theirs.origin(6, 4)),
    ]
    for number, (a, b) in enumerate(pairs):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11, msg=f"pair {number}")


def test_definitions() -> None:
    for lorentz, k in zip(SPACES, (1.0, 0.7, 4.0), strict=True):
        x, y = points(lorentz, 6, 4), points(lorentz, 6, 4)
        u, v = tangent(lorentz, x), tangent(lorentz, x)
        torch.testing.assert_close(minkowski(x, x), torch.full((6,), -k, dtype=torch.float64))
        torch.testing.assert_close(minkowski(x, u), torch.zeros(6, dtype=torch.float64), atol=1e-13, rtol=0)
        torch.testing.assert_close(lorentz.inner(x, u, v), minkowski(u, v))
        root = lorentz.k**0.5
        torch.testing.assert_close(lorentz.dist(x, y), root * torch.acosh(-minkowski(x, y) / lorentz.k))
        moved, factor = lorentz.transp(x, y, v), minkowski(y, v) / (lorentz.k - minkowski(x, y))
        torch.testing.assert_close(moved, v + factor[:, None] * (x + y))
        torch.testing.assert_close(lorentz.transp(y, x, moved), v)
        origin = lorentz.origin(6, 4, dtype=torch.float64).detach()
        at_origin = torch.cat([torch.zeros_like(v[:, :1]), v[:, 1:]], -1)
        torch.testing.assert_close(lorentz.transp0(x, at_origin), lorentz.transp(origin, x, at_origin))
        torch.testing.assert_close(lorentz.transp0back(x, v), lorentz.transp(x, origin, v))
        torch.testing.assert_close(lorentz.expmap0(at_origin), lorentz.expmap(origin, at_origin))
        torch.testing.assert_close(lorentz.logmap0(x), lorentz.logmap(origin, x))
        plane = lorentz.dist2plane(x, y, lorentz.transp(x, y, v), signed=True)
        normal = lorentz.transp(x, y, v)
        expected = root * torch.asinh(minkowski(x, normal) / (root * lorentz.norm(y, normal)))
        torch.testing.assert_close(plane, expected)


@pytest.mark.parametrize("lorentz", SPACES, ids=repr)
def test_hyperplane_distance_is_the_least_distance_to_its_points(lorentz: Lorentz) -> None:
    x, p = points(lorentz, 4), points(lorentz, 4)
    a = tangent(lorentz, p)
    basis = torch.randn(2, 4, dtype=torch.float64)
    basis = lorentz.proju(p, basis)
    basis = basis - lorentz.inner(p, basis, a, keepdim=True) / lorentz.inner(p, a, keepdim=True) * a
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def squared_distance() -> Tensor:
        search.zero_grad()
        loss = lorentz.dist2(x, lorentz.expmap(p, w @ basis))
        loss.backward()
        return loss

    search.step(squared_distance)
    least = lorentz.dist(x, lorentz.expmap(p, w.detach() @ basis))
    torch.testing.assert_close(lorentz.dist2plane(x, p, a), least, atol=1e-9, rtol=1e-9)
    signed = lorentz.dist2plane(x, p, a, signed=True)
    torch.testing.assert_close(signed.abs(), lorentz.dist2plane(x, p, a))
    torch.testing.assert_close(signed.sign(), lorentz.inner(p, lorentz.logmap(p, x), a).sign())
    scaled = lorentz.dist2plane(x, p, a, signed=True, scaled=True)
    torch.testing.assert_close(scaled, signed * lorentz.norm(p, a))
    assert lorentz.dist2plane(x, p, 0 * a) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_steps_and_gradients_at_radius_ten(dtype: torch.dtype) -> None:
    # One rounding unit of the entries at radius r is a distance of up to exp(r) units.
    lorentz, eps = Lorentz(), torch.finfo(dtype).eps
    bound = 20 * eps * math.exp(10)
    for separation in (0.1, 1.0, 5.0):
        x, y = lorentz_pair(10.0, separation, dtype)
        u = lorentz.logmap(x, y)
        torch.testing.assert_close(lorentz.norm(x, u), lorentz.dist(x, y), atol=bound, rtol=0)
        z = lorentz.expmap(x, u)
        assert lorentz.dist(z, y) <= bound * math.exp(separation)
        v = tangent(lorentz, x)
        v = v / lorentz.norm(x, v, keepdim=True)
        moved = lorentz.transp(x, y, v)
        torch.testing.assert_close(
            lorentz.norm(y, moved).item(), 1.0, atol=bound * math.exp(separation), rtol=0
        )
        point = x.clone().requires_grad_()
        for value in (lorentz.dist(point, y), lorentz.cdist(point[None], y[None]).sum()):
            (gradient,) = torch.autograd.grad(value, point)
            slope = lorentz.egrad2rgrad(x, gradient)
            torch.testing.assert_close(lorentz.norm(x, slope).item(), 1.0, atol=10 * bound, rtol=0)
            along = lorentz.inner(x, slope, u) / lorentz.norm(x, u)
            torch.testing.assert_close(along.item(), -1.0, atol=10 * bound, rtol=0)


def test_gradient_at_equal_points_is_zero_and_right_close_to_them() -> None:
    lorentz = Lorentz()
    for dtype in DTYPES:
        x = lorentz.expmap0(torch.tensor([0.0, 10.0, 1.0], dtype=dtype)).requires_grad_()
        for y in (x.detach(), x.detach().clone()):
            for value in (lorentz.dist(x, y), lorentz.dist2(x, y), lorentz.cdist(x[None], y[None]).sum()):
                (gradient,) = torch.autograd.grad(value, x)
                assert torch.equal(gradient, torch.zeros_like(x))
    x = lorentz.projx(torch.tensor([0.0, 0.3, 0.2], dtype=torch.float64)).requires_grad_()
    for size in (1e-3, 1e-8, 1e-14):
        y = lorentz.projx(x.detach() - size * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
        (gradient,) = torch.autograd.grad(lorentz.dist(x, y), x)
        torch.testing.assert_close(lorentz.norm(x, lorentz.egrad2rgrad(x, gradient)).item(), 1.0)


def test_gradients() -> None:
    lorentz = Lorentz(0.7)
    x, y, z, v = (points(lorentz, 2, 4) for _ in range(4))
    check = torch.autograd.gradcheck
    pairs: list[Callable[..., Tensor]] = [
        *(lorentz.dist, lorentz.logmap, lorentz.gyro_add, lorentz.gyro_sub, lorentz.gyro_coadd),
        *(lorentz.gyro_cosub, lorentz.transp0, lorentz.transp0back, lorentz.tangent_to_poincare),
    ]
    for function in pairs:
        assert check(function, (x.clone().requires_grad_(), y.clone().requires_grad_()))
    three: list[Callable[..., Tensor]] = [lorentz.gyration, lorentz.transp]
    for function in three:
        assert check(function, tuple(t.clone().requires_grad_() for t in (x, y, z)))
    assert check(
        lambda a, p, n: lorentz.dist2plane(a, p, n, signed=True, scaled=True),
        tuple(t.clone().requires_grad_() for t in (x, y, v)),
    )
    origin = lorentz.origin(2, 4, dtype=torch.float64).detach().clone()
    single: list[Callable[..., Tensor]] = [
        *(lorentz.logmap0, lorentz.expmap0, lorentz.to_poincare, lorentz.projx),
        lambda a: lorentz.gyro_scalar_mul(-1.3, a),
        lambda a: lorentz.gyro_matvec(torch.eye(2, 3, dtype=torch.float64), a),
    ]
    for point in (x, origin):
        for function in single:
            assert check(function, (point.clone().requires_grad_(),))
    weights = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    assert check(lorentz.centroid, (x.clone().requires_grad_(), weights))
    assert check(lambda a, w: lorentz.mean(a, w), (x.clone().requires_grad_(), weights))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_shapes_and_dtypes_of_what_the_contract_does_not_name(
    dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    lorentz = Lorentz(0.7)
    x, y, v = (points(lorentz, *batch, 4, dtype=dtype) for _ in range(3))
    for result in (
        *(lorentz.gyro_add(x, y), lorentz.gyro_coadd(x, y), lorentz.gyro_sub(x, y), lorentz.gyro_cosub(x, y)),
        *(
            lorentz.gyration(x, y, v),
            lorentz.gyro_scalar_mul(2.0, x),
            lorentz.gyro_pointwise_mul(v[..., 1:], x),
        ),
        *(
            lorentz.gyro_matvec(torch.eye(3, dtype=dtype), x),
            lorentz.transp0(x, v),
            lorentz.transp0back(x, v),
        ),
        *(lorentz.expmap0(v), lorentz.logmap0(x), lorentz.gyro_fn_apply(torch.tanh, x)),
    ):
        assert result.shape == x.shape
        assert result.dtype == dtype
        assert result.is_contiguous()
    assert lorentz.gyro_scalar_mul(torch.rand(batch, dtype=dtype), x).shape == x.shape
    assert lorentz.to_poincare(x).shape == lorentz.tangent_to_poincare(x, v).shape == (*batch, 3)
    assert lorentz.to_poincare(x).dtype == lorentz.tangent_to_poincare(x, v).dtype == dtype
    assert lorentz.dist2plane(x, y, v).shape == lorentz.dist0(x).shape == batch
    assert lorentz.dist2plane(x, y, v, keepdim=True).shape == lorentz.dist0(x, keepdim=True).shape
    assert lorentz.centroid(x.expand(5, *x.shape)[..., None, :]).shape == (5, *batch, 4)
    half = x.bfloat16()
    assert lorentz.gyro_add(half, half).dtype == lorentz.to_poincare(half).dtype == torch.bfloat16


def test_entries_of_time_are_not_read() -> None:
    lorentz = Lorentz()
    x, y = points(lorentz, 5, 4), points(lorentz, 5, 4)
    wrong = x.clone()
    wrong[:, 0] = torch.nan
    torch.testing.assert_close(lorentz.dist(wrong, y), lorentz.dist(x, y))
    torch.testing.assert_close(lorentz.projx(wrong), x)
    torch.testing.assert_close(lorentz.gyro_add(wrong, y), lorentz.gyro_add(x, y))
    torch.testing.assert_close(lorentz.cdist(wrong, y), lorentz.cdist(x, y))


def test_random_has_the_spread_that_it_says() -> None:
    for k in (0.25, 1.0, 9.0):
        x = points(Lorentz(k), 20000, 6)
        assert abs(Lorentz(k).dist0(x).square().mean().item() - 1) < 0.05


def test_errors_name_the_number_and_the_remedy() -> None:
    for k in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(GeowarpError, match=rf"Lorentz: k = {k}.*−1/k"):
            Lorentz(k)
    with pytest.raises(NotOnManifoldError, match=r"projx"):
        Lorentz().assert_check_point_on_manifold(torch.tensor([1.0, 1.0]))
    with pytest.raises(GeowarpError, match="time first"):
        Lorentz().random(3, 1)
    with pytest.raises(NotOnManifoldError):
        Lorentz().assert_check_vector_on_tangent(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))
    assert repr(Lorentz(0.5)) == "Lorentz(0.5)"
    assert Lorentz().uniqueness_radius() == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_entries_that_are_not_finite_stay_that(value: float) -> None:
    lorentz, wrong = Lorentz(), torch.tensor([0.0, value, 0.0])
    for result in (lorentz.projx(wrong), lorentz.expmap0(wrong), lorentz.retr(lorentz.origin(3), wrong)):
        assert result.isnan().any()
