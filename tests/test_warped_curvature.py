"""Second-order geometry of warped metrics against that of metric matrices in coordinates."""

from collections.abc import Callable

import geoopt
import pytest
import torch
from chart_geometry import christoffel, pulled_back, riemann, slopes
from jacobians import assert_jacobian
from torch import Tensor, nn

from geowarp.errors import UnavailableError
from geowarp.manifolds import (
    AffineInvariantSPD,
    ConformalWarped,
    Euclidean,
    FairnessWarped,
    Grassmann,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    Sphere,
)
from geowarp.manifolds.linalg.differentiation import differentiable_once

ALPHA = torch.tensor([3.0, 0.5], dtype=torch.float64)
Field = Callable[[Tensor], Tensor]


def network(entries: int, values: int = 2) -> nn.Module:
    layers = nn.Linear(entries, 5), nn.Tanh(), nn.Linear(5, values)
    return nn.Sequential(*layers).double().requires_grad_(False)


def vectors(base: Manifold, x: Tensor, count: int) -> list[Tensor]:
    return [base.proju(x, torch.randn_like(x)) for _ in range(count)]


def points(base: Manifold, *shape: int) -> Tensor:
    x: Tensor = base.random(*shape, dtype=torch.float64)
    return x.detach().as_subclass(Tensor)


def identity(x: Tensor) -> Tensor:
    return x


def stereographic(c: Tensor) -> Tensor:
    square = c.square().sum(-1, keepdim=True)
    return torch.cat([2 * c, 1 - square], -1) / (1 + square)


def hyperboloid(c: Tensor) -> Tensor:
    return torch.cat([(2 + c.square().sum(-1, keepdim=True)).sqrt(), c], -1)


def ball_gram(x: Tensor) -> Tensor:
    return (2 / (1 - 0.7 * x.square().sum())) ** 2 * torch.eye(3, dtype=x.dtype)


CHARTS: list[tuple[Manifold, Field, Field, int]] = [
    (Euclidean(1), identity, lambda x: torch.eye(3, dtype=x.dtype), 3),
    (PoincareBall(0.7), identity, ball_gram, 3),
    (Sphere(), stereographic, lambda x: torch.eye(3, dtype=x.dtype), 2),
    (Lorentz(2.0), hyperboloid, lambda x: torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]).double()), 3),
]


@pytest.mark.parametrize(("base", "chart", "gram", "size"), CHARTS, ids=[repr(base) for base, *_ in CHARTS])
def test_agrees_with_the_metric_matrix_of_a_chart(
    base: Manifold, chart: Field, gram: Field, size: int
) -> None:
    """``Γ(dc u, dc v) = dc Γ_chart(u, v) − D²c[u, v]`` and ``R(dc u, dc v) dc w = dc R_chart(u, v) w``."""
    coordinates, *directions = 0.4 * torch.randn(4, size, dtype=torch.float64)
    x = chart(coordinates)
    potential = network(x.shape[-1])
    warped = FairnessWarped(base, potential, ALPHA)
    metric = pulled_back(chart, gram, potential, ALPHA)
    push = slopes(chart, coordinates).detach()
    u, v, w = (push @ part for part in directions)

    first, second = directions[:2]
    turn = slopes(lambda c: slopes(chart, c), coordinates) @ first @ second
    expected = push @ christoffel(metric, coordinates, first, second) - turn
    torch.testing.assert_close(warped.christoffel(x, u, v), expected, atol=1e-12, rtol=1e-10)
    expected = push @ riemann(metric, coordinates, *directions)
    torch.testing.assert_close(warped.riemann(x, u, v, w), expected, atol=1e-12, rtol=1e-10)


CONFORMAL = [(Euclidean(1), lambda x: torch.eye(3, dtype=x.dtype)), (PoincareBall(0.7), ball_gram)]


@pytest.mark.parametrize(("base", "gram"), CONFORMAL, ids=[repr(base) for base, _ in CONFORMAL])
def test_conformal_metrics_agree_with_their_matrices(base: Manifold, gram: Field) -> None:
    exponent = network(3, 1)
    x, u, v, w = 0.4 * torch.randn(4, 3, dtype=torch.float64)
    warped = ConformalWarped(base, lambda p: exponent(p)[..., 0])

    def metric(p: Tensor) -> Tensor:
        factor: Tensor = (2 * exponent(p)).exp()
        return factor * gram(p)

    torch.testing.assert_close(warped.christoffel(x, u, v), christoffel(metric, x, u, v))
    torch.testing.assert_close(warped.riemann(x, u, v, w), riemann(metric, x, u, v, w))


def test_the_ball_and_the_sphere_are_conformally_flat() -> None:
    ball = PoincareBall(0.7)
    x = points(ball, 4, 3)
    u, v, w = vectors(ball, x, 3)
    warped = ConformalWarped(Euclidean(1), lambda p: (2 / (1 - 0.7 * p.square().sum(-1))).log())
    torch.testing.assert_close(warped.christoffel(x, u, v), ball.christoffel(x, u, v))
    torch.testing.assert_close(warped.riemann(x, u, v, w), ball.riemann(x, u, v, w))
    constant = torch.full((4,), -0.7, dtype=torch.float64)
    torch.testing.assert_close(warped.sectional_curvature(x, u, v), constant)

    round_metric = ConformalWarped(Euclidean(1), lambda p: (2 / (1 + p.square().sum(-1))).log())
    factor = (2 / (1 + x.square().sum(-1, keepdim=True))).square()
    expected = factor * ((v * w).sum(-1, keepdim=True) * u - (u * w).sum(-1, keepdim=True) * v)
    torch.testing.assert_close(round_metric.riemann(x, u, v, w), expected)


def test_a_conformal_sphere_is_flat() -> None:
    """The sphere without a pole, divided by the factor of the stereographic projection from there."""
    sphere = Sphere()
    x = points(sphere, 4, 3)
    u, v, w = vectors(sphere, x, 3)
    plane = ConformalWarped(sphere, lambda p: -(1 - p[..., -1]).log())
    flat = plane.riemann(x, u, v, w)
    torch.testing.assert_close(flat, torch.zeros_like(flat), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (Sphere(), (4,)),
        (Lorentz(2.0), (4,)),
        (Grassmann(), (4, 2)),
        (AffineInvariantSPD(), (3, 3)),
        (LogEuclideanSPD(), (3, 3)),
    ],
    ids=repr,
)
def test_hessians_are_second_derivatives_along_geodesics(base: Manifold, shape: tuple[int, ...]) -> None:
    x = points(base, 3, *shape)
    u, v = vectors(base, x, 2)
    model = network(shape[0] ** 2)

    def potential(p: Tensor) -> Tensor:
        p = p[..., None] if p.ndim == x.ndim and len(shape) == 1 else p
        values: Tensor = model((p @ p.mT).flatten(-2))
        return values

    def rise(direction: Tensor) -> Tensor:
        h = 2e-3
        there, back = (potential(base.expmap(x, s * h * direction)) for s in (1, -1))
        return (there + back - 2 * potential(x)) / h**2

    hessian = FairnessWarped(base, potential, ALPHA).potential_hessian(x, u, v)
    torch.testing.assert_close(hessian, (rise(u + v) - rise(u - v)) / 4, atol=2e-5, rtol=1e-4)


def test_a_paraboloid_has_the_curvature_of_gauss() -> None:
    """``det H / (1 + |∇f|²)²`` of the surface of a height f, here ``√α (x² + 3 x y)``."""
    surface = FairnessWarped(Euclidean(1), lambda p: p[..., :1] * (p[..., :1] + 3 * p[..., 1:]), 0.25)
    x, (u, v) = torch.tensor([0.4, -0.3], dtype=torch.float64), torch.randn(2, 2, dtype=torch.float64)
    slope = 0.5 * torch.tensor([2 * 0.4 - 3 * 0.3, 3 * 0.4], dtype=torch.float64)
    expected = -9 * 0.25 / (1 + slope.square().sum()) ** 2
    torch.testing.assert_close(surface.sectional_curvature(x, u, v), expected)


def test_affine_potentials_leave_flat_space_flat_and_alpha_0_the_base() -> None:
    x, u, v, w = torch.randn(4, 5, 3, dtype=torch.float64)
    flat = FairnessWarped(Euclidean(1), lambda p: p[..., :2] - 1, ALPHA)
    assert not flat.christoffel(x, u, v).any()
    assert not flat.riemann(x, u, v, w).any()
    ball = PoincareBall()
    y = points(ball, 5, 3)
    same = FairnessWarped(ball, network(3), 0.0)
    assert torch.equal(same.christoffel(y, u, v), ball.christoffel(y, u, v))
    assert torch.equal(same.riemann(y, u, v, w), ball.riemann(y, u, v, w))
    straight = FairnessWarped(ball, lambda p: p[..., :1], 1.0)
    assert straight.riemann(y, u, v, w).sub(ball.riemann(y, u, v, w)).abs().min() > 0


def test_a_steep_warp_in_float32_keeps_its_digits() -> None:
    """For α → ∞ the symbols are ``grad b H(u, v) / |grad b|²``."""
    x, u, v = torch.randn(3, 4, 3)
    potential = network(3, 1).float()
    steep = FairnessWarped(Euclidean(1), potential, 1e12)
    gradient = steep.potential_differentials(x)[..., 0, :]
    limit = gradient * steep.potential_hessian(x, u, v) / gradient.square().sum(-1, keepdim=True)
    torch.testing.assert_close(steep.christoffel(x, u, v), limit, atol=0, rtol=1e-4)


@pytest.mark.parametrize("base", [Sphere(), Lorentz()], ids=repr)
def test_batches_broadcast_and_may_be_empty(base: Manifold) -> None:
    warped = FairnessWarped(base, network(4), ALPHA)
    x = points(base, 3, 4)
    u, v, w = vectors(base, x, 3)
    operations: list[tuple[Callable[..., Tensor], tuple[Tensor, ...], int]] = [
        (warped.christoffel, (u, v), 4),
        (warped.riemann, (u, v, w), 4),
        (warped.potential_hessian, (u, v), 2),
    ]
    for operation, arguments, entries in operations:
        all_at_once = operation(x, *arguments)
        assert not all_at_once.requires_grad
        assert operation(x[:0], *(a[:0] for a in arguments)).shape == (0, entries)
        one = operation(x[1], *(a[1].expand(2, 1, 4) for a in arguments))
        torch.testing.assert_close(one, all_at_once[1].expand(2, 1, entries))
        strided = (a.mT.contiguous().mT for a in (x, *arguments))
        torch.testing.assert_close(operation(*strided), all_at_once)
    with torch.no_grad():
        torch.testing.assert_close(warped.christoffel(x, u, v), operations[0][0](x, u, v))


def test_symbols_and_curvature_have_gradients() -> None:
    """By the point and by vectors, by α, and by the parameters of the potential."""
    potential = network(3)
    warped = FairnessWarped(PoincareBall(), potential, ALPHA)
    x, u, v, w = (0.3 * torch.randn(4, 3, dtype=torch.float64)).unbind()
    inputs = [part.requires_grad_() for part in (x, u, v, w)]
    assert_jacobian(warped.christoffel, *inputs[:3])
    assert_jacobian(warped.riemann, *inputs)

    learned = FairnessWarped(PoincareBall(), potential, 0.5, learnable=True).double()
    potential.requires_grad_()
    x, u, v, w = (part.detach() for part in inputs)
    value = learned.riemann(x, u, v, w).square().sum() + learned.christoffel(x, u, v).square().sum()
    leaves = [parameter for parameter in learned.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        step, direction = 1e-6, torch.randn_like(leaf)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                leaf += sign * step * direction
                symbols, curvature = learned.christoffel(x, u, v), learned.riemann(x, u, v, w)
                ends.append(float(curvature.square().sum() + symbols.square().sum()))
                leaf -= sign * step * direction
        slope = float((gradient * direction).sum())
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_what_has_no_second_derivative_says_so() -> None:
    x = torch.eye(3, dtype=torch.float64)
    once = FairnessWarped(Euclidean(1), lambda p: differentiable_once(p[..., :1] ** 2, "the square"), 1.0)
    with pytest.raises(UnavailableError, match="the square can be differentiated only once"):
        once.christoffel(x, x, x)
    foreign = FairnessWarped(geoopt.Sphere(), network(3), ALPHA)
    with pytest.raises(UnavailableError, match="Sphere has no christoffel; take a manifold of geowarp"):
        foreign.christoffel(x, x, x)
