"""The Poincaré ball against mpmath, geoopt, definitions and finite differences."""

import math

import geoopt
import mpmath
import pytest
import torch
from hyperbolic_cases import BATCHES, DTYPES, ball_distance, ball_pair, unit
from torch import Tensor

from geowarp import GeowarpError, NotOnManifoldError
from geowarp.manifolds import PoincareBall

BALLS = [PoincareBall(), PoincareBall(0.7), PoincareBall(4.0)]


def points(ball: PoincareBall, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return ball.random(*shape, dtype=dtype).detach().clone()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("separation", [1e-3, 0.5, 5.0])
@pytest.mark.parametrize("radius", [0.1, 1.0, 3.0, 6.0, 10.0, 12.0])
def test_distances_are_right_to_rounding(radius: float, separation: float, dtype: torch.dtype) -> None:
    # In float32 nothing but differences of entries is rounded; in float64 the gap to the boundary is, too.
    eps = torch.finfo(dtype).eps
    bound = 8 * eps if dtype == torch.float32 else 8 * eps * (1 + math.exp(radius + separation))
    for c in (1.0, 0.7):
        for _ in range(5):
            x, y = ball_pair(radius, separation, dtype, c)
            true = ball_distance(x, y, c)
            for value in (PoincareBall(c).dist(x, y), PoincareBall(c).dist(y, x)):
                assert value.dtype == dtype
                assert abs(value.item() - true) <= bound * true
            assert (
                abs(PoincareBall(c).norm(x, PoincareBall(c).logmap(x, y)).item() - true) <= 4 * bound * true
            )
            assert abs(PoincareBall(c).cdist(x[None], y[None]).item() - true) <= bound * true


@pytest.mark.parametrize(("dtype", "step"), [(torch.float32, 2.0**-24), (torch.float64, 2.0**-53)])
def test_smallest_distances(dtype: torch.dtype, step: float) -> None:
    x = torch.tensor([0.25, 0.5], dtype=dtype)
    y = x + torch.tensor([2 * step, 0.0], dtype=dtype)
    true = ball_distance(x, y)
    for value in (PoincareBall().dist(x, y), PoincareBall().cdist(x[None], y[None])):
        assert abs(value.item() - true) <= 8 * torch.finfo(dtype).eps * true
    tiny = torch.tensor([1e-30, 0.0], dtype=dtype)
    assert abs(PoincareBall().dist(tiny, -tiny).item() / 4e-30 - 1) < 1e-6
    assert abs(PoincareBall().dist0(tiny).item() / 2e-30 - 1) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_points_far_out_stay_strictly_inside(ball: PoincareBall, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    for size in (0.5, 0.9999, 1.0, 1.0 + eps, 3.0, 1e20, 1e35):
        for n in (1, 3, 200):
            x = (size * unit(20, n) / ball.c**0.5).to(dtype)
            y = ball.projx(x)
            with mpmath.workdps(40):
                gaps = [1 - mpmath.mpf(ball.c) * sum(mpmath.mpf(v) ** 2 for v in p) for p in y.tolist()]
            assert min(gaps) >= min(6 * eps, 1 - size**2 * (1 + 4 * eps) if size < 1 else 1)
            torch.testing.assert_close(ball.projx(y), y, atol=0, rtol=2 * eps)
            assert ball.point_residual(y).max() == 0
    furthest = 15.24 if dtype == torch.float32 else 35.3
    x, u = points(ball, 50, 4, dtype=dtype), unit(50, 4, dtype=dtype)
    for length in (1.0, 10.0, 1e3, 1e18):
        y = ball.expmap(x, length * u)
        assert ball.point_residual(y).max() == 0
        assert ball.dist0(y).isfinite().all()
        assert (ball.dist0(y) * ball.c**0.5 <= furthest + 0.8).all()
    assert ball.dist0(y).min() * ball.c**0.5 > furthest - 0.3


def test_steps_across_the_ball_in_float32() -> None:
    ball = PoincareBall()
    x = ball.expmap0(torch.tensor([[5.0, 0.0], [0.0, -5.0]]))
    u = -x / ball.norm(x, x, keepdim=True)
    for length in (1.0, 10.0, 15.0, 20.0):
        y = ball.expmap(x, length * u)
        torch.testing.assert_close(ball.dist(x, y), torch.full((2,), length), atol=0, rtol=3e-3)
        torch.testing.assert_close(ball.dist0(y), torch.full((2,), abs(length - 10)), atol=3e-3, rtol=0)


def test_agreement_with_geoopt_where_it_is_right() -> None:
    ours, theirs = PoincareBall(0.7), geoopt.PoincareBallExact(torch.tensor(0.7, dtype=torch.float64))
    x, y, v = (points(ours, 6, 3) for _ in range(3))
    pairs = [
        (ours.dist(x, y), theirs.dist(x, y)),
        (ours.dist0(x), theirs.dist0(x)),
        (ours.expmap(x, v), theirs.expmap(x, v)),
        (ours.logmap(x, y), theirs.logmap(x, y)),
        (ours.expmap0(v), theirs.expmap0(v)),
        (ours.logmap0(x), theirs.logmap0(x)),
        (ours.transp(x, y, v), theirs.transp(x, y, v)),
        (ours.transp0(x, v), theirs.transp0(x, v)),
        (ours.transp0back(x, v), theirs.transp0back(x, v)),
        (ours.lambda_x(x, keepdim=True), theirs.lambda_x(x, keepdim=True)),
        (ours.egrad2rgrad(x, v), theirs.egrad2rgrad(x, v)),
        (ours.inner(x, v, y, keepdim=True), theirs.inner(x, v, y, keepdim=True)),
        (ours.geodesic(0.25, x, y), theirs.geodesic(torch.tensor(0.25).double(), x, y)),
        (ours.mobius_add(x, y), theirs.mobius_add(x, y)),
        (ours.mobius_sub(x, y), theirs.mobius_sub(x, y)),
        (ours.mobius_coadd(x, y), theirs.mobius_coadd(x, y)),
        (ours.mobius_cosub(x, y), theirs.mobius_cosub(x, y)),
        (ours.gyration(x, y, v), theirs.gyration(x, y, v)),
        (ours.mobius_scalar_mul(-1.75, x), theirs.mobius_scalar_mul(torch.tensor(-1.75).double(), x)),
        (ours.mobius_pointwise_mul(y, x), theirs.mobius_pointwise_mul(y, x)),
        (ours.mobius_fn_apply(torch.sin, x), theirs.mobius_fn_apply(torch.sin, x)),
        (ours.dist2plane(x, y, v, signed=True), theirs.dist2plane(x, y, v, signed=True)),
        (ours.dist2plane(x, y, v, keepdim=True), theirs.dist2plane(x, y, v, keepdim=True)),
    ]
    for number, (a, b) in enumerate(pairs):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12, msg=f"pair {number}")
    matrix = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(ours.mobius_matvec(matrix, x), theirs.mobius_matvec(matrix, x))
    torch.testing.assert_close(
        ours.mobius_matvec(matrix.expand(6, 2, 3), x[:, None, :].squeeze(1)), ours.mobius_matvec(matrix, x)
    )
    weights = torch.rand(6, dtype=torch.float64)
    torch.testing.assert_close(ours.einstein_midpoint(x, weights), theirs.weighted_midpoint(x, weights))


def test_scaled_by_geoopt() -> None:
    ball = PoincareBall()
    scaled = geoopt.Scaled(ball, 2.0)
    x, y, v = (points(ball, 4, 3) for _ in range(3))
    torch.testing.assert_close(scaled.dist(x, y), 2 * ball.dist(x, y))
    torch.testing.assert_close(scaled.dist0(x), 2 * ball.dist0(x))
    torch.testing.assert_close(scaled.expmap0(v), ball.expmap0(v / 2))
    torch.testing.assert_close(scaled.dist2plane(x, y, v), 2 * ball.dist2plane(x, y, v))
    with pytest.raises(NotImplementedError):
        scaled.mobius_fn_apply(torch.sin, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
def test_shapes_and_dtypes_of_what_the_contract_does_not_name(
    dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    ball = PoincareBall(0.7)
    x, y, v = (points(ball, *batch, 3, dtype=dtype) for _ in range(3))
    for result in (
        *(ball.mobius_add(x, y), ball.mobius_coadd(x, y), ball.mobius_sub(x, y), ball.mobius_cosub(x, y)),
        *(ball.gyration(x, y, v), ball.mobius_scalar_mul(2.0, x), ball.mobius_pointwise_mul(v, x)),
        *(ball.mobius_matvec(torch.eye(3, dtype=dtype), x), ball.transp0(x, v), ball.transp0back(x, v)),
        *(ball.expmap0(v), ball.logmap0(x), ball.mobius_fn_apply(torch.tanh, x)),
        ball.tangent_to_lorentz(x, v)[..., 1:],
    ):
        assert result.shape == x.shape
        assert result.dtype == dtype
    assert ball.mobius_scalar_mul(torch.rand(batch, dtype=dtype), x).shape == x.shape
    assert ball.to_lorentz(x).shape == (*batch, 4)
    assert ball.dist2plane(x, y, v).shape == ball.dist0(x).shape == ball.lambda_x(x).shape == batch
    assert ball.dist2plane(x, y, v, keepdim=True).shape == ball.dist0(x, keepdim=True).shape == (*batch, 1)
    assert ball.einstein_midpoint(x.expand(5, *x.shape)[..., None, :]).shape == (5, *batch, 3)
    half = x.bfloat16()
    assert ball.mobius_add(half, half).dtype == ball.to_lorentz(half).dtype == torch.bfloat16
    strided = torch.stack([x, torch.full_like(x, torch.nan)], -1)[..., 0]
    torch.testing.assert_close(ball.mobius_add(strided, y), ball.mobius_add(x, y))
    torch.testing.assert_close(ball.gyration(strided, y, v), ball.gyration(x, y, v))


def test_gradient_at_equal_points_is_zero_and_right_close_to_them() -> None:
    ball = PoincareBall()
    for dtype in DTYPES:
        x = ball.expmap0(torch.tensor([5.0, 0.0, 0.0], dtype=dtype)).requires_grad_()
        for y in (x.detach(), x.detach().clone()):
            for value in (ball.dist(x, y), ball.dist2(x, y), ball.cdist(x[None], y[None]).sum()):
                (gradient,) = torch.autograd.grad(value, x)
                assert torch.equal(gradient, torch.zeros_like(x))
    x = torch.tensor([0.3, 0.2], dtype=torch.float64, requires_grad=True)
    for size in (1e-3, 1e-8, 1e-14, 1e-200):
        y = x.detach() - size * torch.tensor([1.0, 0.0], dtype=torch.float64)
        if torch.equal(y, x):
            continue
        (gradient,) = torch.autograd.grad(ball.dist(x, y), x)
        torch.testing.assert_close(ball.norm(x, ball.egrad2rgrad(x, gradient)).item(), 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_distances_have_norm_one_at_radius_ten(dtype: torch.dtype) -> None:
    ball = PoincareBall()
    eps = torch.finfo(dtype).eps
    for separation in (0.01, 1.0, 10.0, 20.0):
        x, y = ball_pair(10.0, separation, dtype)
        point = x.clone().requires_grad_()
        for value in (ball.dist(point, y), ball.cdist(point[None], y[None]).sum()):
            (gradient,) = torch.autograd.grad(value, point)
            slope = ball.egrad2rgrad(x, gradient)
            torch.testing.assert_close(ball.norm(x, slope).item(), 1.0, atol=4e4 * eps, rtol=0)
            torch.testing.assert_close(
                -ball.dist(x, y) * slope, ball.logmap(x, y), atol=1e5 * eps / math.exp(9), rtol=1e5 * eps
            )


@pytest.mark.parametrize("function", ["mobius_add", "mobius_coadd", "mobius_sub", "mobius_cosub", "dist"])
def test_gradients_of_pairs(function: str) -> None:
    ball = PoincareBall(0.7)
    x, y = points(ball, 2, 3), points(ball, 2, 3)
    operation = getattr(ball, function)
    for a, b in ((x, y), (torch.zeros_like(x), y), (x, torch.zeros_like(x)), (x, -x), (x, x.flip(0))):
        if function == "dist" or not torch.equal(a, b):
            assert torch.autograd.gradcheck(
                operation, (a.clone().requires_grad_(), b.clone().requires_grad_())
            )
            if function != "dist":
                assert torch.autograd.gradgradcheck(
                    operation, (a.clone().requires_grad_(), b.clone().requires_grad_())
                )


def test_gradients_of_the_rest() -> None:
    ball = PoincareBall(0.7)
    x, y, v = (points(ball, 2, 3).requires_grad_() for _ in range(3))
    zero = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    for point in (x, zero):
        assert check(lambda a: ball.logmap0(a), (point,))
        assert check(lambda a: ball.expmap0(a), (point,))
        assert check(lambda a: ball.to_lorentz(a), (point,))
        assert check(lambda r, a: ball.mobius_scalar_mul(r, a), (v[:, 0].detach().requires_grad_(), point))
        assert check(lambda m, a: ball.mobius_matvec(m, a), (torch.randn_like(v).requires_grad_(), point))
        assert check(lambda a: ball.tangent_to_lorentz(a, v.detach()), (point,))
    assert check(ball.gyration, (x, y, v))
    assert check(lambda a, p, n: ball.dist2plane(a, p, n, signed=True, scaled=True), (x, y, v))
    weights = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert check(ball.einstein_midpoint, (x, weights))
    assert check(lambda a, w: ball.mean(a, w), (x, weights[0].detach().requires_grad_()))


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_hyperplane_distance_is_the_least_distance_to_its_points(ball: PoincareBall) -> None:
    x, p, a = points(ball, 3), points(ball, 3), torch.randn(3, dtype=torch.float64)
    plane = torch.linalg.svd(a[None])[2][1:]
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def squared_distance() -> Tensor:
        search.zero_grad()
        loss = ball.dist2(x, ball.expmap(p, w @ plane))
        loss.backward()
        return loss

    search.step(squared_distance)
    least = ball.dist(x, ball.expmap(p, w.detach() @ plane))
    torch.testing.assert_close(ball.dist2plane(x, p, a), least, atol=1e-9, rtol=1e-9)
    signed = ball.dist2plane(x, p, a, signed=True)
    torch.testing.assert_close(signed.sign(), (ball.logmap(p, x) @ a).sign())
    scaled = ball.dist2plane(x, p, a, signed=True, scaled=True)
    torch.testing.assert_close(scaled, signed * ball.norm(p, a))
    on_plane = ball.expmap(p, 0.1 * torch.randn(2, dtype=torch.float64) @ plane)
    assert ball.dist2plane(on_plane, p, a) < 1e-14


def test_hyperplane_without_a_normal() -> None:
    x, p = torch.tensor([0.5, 0.1]), torch.tensor([0.1, 0.2])
    a = torch.zeros(2, requires_grad=True)
    value = PoincareBall().dist2plane(x, p, a, scaled=True)
    (gradient,) = torch.autograd.grad(value, a)
    assert value == 0
    assert gradient.isfinite().all()


def test_random_has_the_spread_that_it_says() -> None:
    for c in (0.25, 1.0, 9.0):
        x = points(PoincareBall(c), 20000, 5)
        assert abs(PoincareBall(c).dist0(x).square().mean().item() - 1) < 0.05


def test_errors_name_the_number_and_the_remedy() -> None:
    for c in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(GeowarpError, match=rf"PoincareBall: c = {c}.*Euclidean\(1\)"):
            PoincareBall(c)
    with pytest.raises(NotOnManifoldError, match=r"1\.0e\+00.*projx"):
        PoincareBall().assert_check_point_on_manifold(torch.tensor([1.0, 0.0]))
    with pytest.raises(NotOnManifoldError):
        PoincareBall(2.0).assert_check_point_on_manifold(torch.tensor([0.8, 0.0]))
    PoincareBall().assert_check_point_on_manifold(torch.tensor([1.0 - 2**-24, 0.0]))
    assert repr(PoincareBall(0.5)) == "PoincareBall(0.5)"
    assert PoincareBall(1) == PoincareBall(1.0)
    assert PoincareBall().uniqueness_radius() == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_entries_that_are_not_finite_stay_that(value: float) -> None:
    ball, wrong = PoincareBall(), torch.tensor([0.0, value, 0.0])
    for result in (ball.projx(wrong), ball.expmap0(wrong), ball.retr(ball.origin(3), wrong)):
        assert result.isnan().any()
