"""Means against first-order conditions, closed forms, isometries and finite differences."""

import math
from typing import Any

import geoopt
import pytest
import torch
from torch import Tensor

from geowarp import GeowarpError, NumericalWarning
from geowarp.errors import NonFiniteError
from geowarp.manifolds import (
    AlphaMetric,
    CanonicalMetric,
    Euclidean,
    Grassmann,
    Lorentz,
    Manifold,
    Oblique,
    PoincareBall,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
    karcher_mean,
)
from geowarp.manifolds.grassmann_mean import SubspaceVariance
from geowarp.manifolds.karcher import Variance, uniqueness_radius

CASES: list[tuple[Manifold, tuple[int, ...]]] = [
    (Euclidean(2), (3, 2)),
    (Euclidean(), ()),
    (Sphere(), (4,)),
    (Oblique(), (4, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (SpecialOrthogonal(), (4, 4)),
    (Stiefel(), (5, 2)),
    (Stiefel(CanonicalMetric()), (4, 3)),
    (Grassmann(), (6, 2)),
    (Grassmann(), (5, 4)),
]
IDS = [f"{manifold!r}{shape}" for manifold, shape in CASES]
cases = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=IDS)


def cloud(
    manifold: Manifold,
    shape: tuple[int, ...],
    batch: tuple[int, ...],
    count: int,
    radius: float = 0.6,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Return ``count`` points within ``radius`` of a random point, for each problem of a batch."""
    centre = manifold.random(*batch, 1, *shape, dtype=dtype).clone()
    u = manifold.proju(centre, torch.randn(*batch, count, *shape, dtype=dtype))
    length = radius * torch.rand(*batch, count, *[1] * len(shape), dtype=dtype)
    points: Tensor = manifold.expmap(centre, length * u / manifold.norm(centre, u, keepdim=True))
    return points


def same(manifold: Manifold, x: Tensor, y: Tensor, tolerance: float) -> None:
    distance = manifold.dist(x, y)
    torch.testing.assert_close(distance, torch.zeros_like(distance), atol=tolerance, rtol=0)


@cases
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 3)])
def test_weighted_logarithms_sum_to_zero(
    manifold: Manifold, shape: tuple[int, ...], dtype: torch.dtype, batch: tuple[int, ...]
) -> None:
    x = cloud(manifold, shape, batch, 7, dtype=dtype)
    weights = torch.rand(*batch, 7, dtype=dtype)
    mean = manifold.mean(x, weights)
    assert mean.shape == (*batch, *shape)
    assert mean.dtype == dtype
    assert mean.is_contiguous()
    manifold.assert_check_point_on_manifold(mean)
    logarithms = manifold.logmap(mean.unsqueeze(-manifold.ndim - 1), x)
    total = (weights.reshape(*weights.shape, *[1] * len(shape)) * logarithms).sum(-manifold.ndim - 1)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=50 * torch.finfo(dtype).eps, rtol=0)


@cases
def test_two_points_and_one_point(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = cloud(manifold, shape, (3,), 2, radius=1.0)
    first, second = x.unbind(1)
    same(manifold, manifold.mean(x), manifold.geodesic(0.5, first, second), 1e-14)
    thirds = manifold.mean(x, torch.tensor([2.0, 1.0], dtype=torch.float64))
    same(manifold, thirds, manifold.geodesic(1 / 3, first, second), 1e-14)
    same(manifold, manifold.mean(x[:, :1]), first, 1e-14)
    same(manifold, manifold.mean(first[:, None].expand(3, 5, *shape)), first, 1e-14)


@cases
def test_each_problem_of_a_batch_is_as_alone(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = torch.cat([cloud(manifold, shape, (2,), 6, radius) for radius in (1e-6, 0.1, 0.7)])
    weights = torch.rand(6, 6, dtype=torch.float64)
    together = manifold.mean(x, weights)
    for point, points, weight in zip(together, x, weights, strict=True):
        same(manifold, point, manifold.mean(points, weight), 1e-15)
    assert manifold.mean(x[0], weights).shape == (6, *shape)  # one set of points, six of weights
    same(manifold, manifold.mean(x[0], weights)[4], manifold.mean(x[0], weights[4]), 1e-15)


@cases
def test_permutation_duplication_and_zero_weights(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = cloud(manifold, shape, (), 5)
    weights = torch.rand(5, dtype=torch.float64)
    mean = manifold.mean(x, weights)
    same(manifold, manifold.mean(x.flip(0), 3 * weights.flip(0)), mean, 1e-14)
    same(manifold, manifold.mean(torch.cat([x, x]), weights.repeat(2)), mean, 1e-14)
    far = manifold.random(1, *shape, dtype=torch.float64).clone()
    padded = torch.cat([weights, weights.new_zeros(1)])
    same(manifold, manifold.mean(torch.cat([x, far]), padded), mean, 1e-14)


@pytest.mark.parametrize(("manifold", "shape"), CASES[2:], ids=IDS[2:])
def test_an_isometry_moves_the_mean(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = cloud(manifold, shape, (), 9)
    q = SpecialOrthogonal().random(shape[0], shape[0], dtype=torch.float64)

    def move(a: Tensor) -> Tensor:
        return a @ q.mT if len(shape) == 1 else q @ a

    same(manifold, manifold.mean(move(x)), move(manifold.mean(x)), 1e-14)


def function_of(manifold: Manifold, mean: Tensor) -> Tensor:
    return mean @ mean.mT if isinstance(manifold, Grassmann) else mean


@cases
@pytest.mark.parametrize("radius", [0.0, 1e-9, 0.6, 1.2])
def test_gradients_with_respect_to_points_and_weights(
    manifold: Manifold, shape: tuple[int, ...], radius: float
) -> None:
    if isinstance(manifold, Grassmann):
        radius = min(radius, 0.7)
    x = cloud(manifold, shape, (2,), 3, radius).requires_grad_()
    weights = (0.2 + torch.rand(2, 3, dtype=torch.float64)).requires_grad_()

    def mean(points: Tensor, weights: Tensor) -> Tensor:
        return function_of(manifold, manifold.mean(manifold.projx(points), weights))

    assert torch.autograd.gradcheck(mean, (x, weights), fast_mode=True)
    cotangent = torch.randn_like(mean(x, weights))
    both = torch.autograd.grad(mean(x, weights), (x, weights), cotangent)
    torch.testing.assert_close(torch.autograd.grad(mean(x, weights.detach()), x, cotangent)[0], both[0])
    torch.testing.assert_close(torch.autograd.grad(mean(x.detach(), weights), weights, cotangent)[0], both[1])


def test_gradient_on_the_circle_is_that_of_the_mean_angle() -> None:
    angles = torch.tensor([-0.9, 0.1, 1.1], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    mean = Sphere().mean(torch.stack([angles.cos(), angles.sin()], -1), weights)
    angle = torch.atan2(mean[1], mean[0])
    torch.testing.assert_close(angle, (weights * angles).sum() / 6)
    (gradient,) = torch.autograd.grad(angle, angles)
    torch.testing.assert_close(gradient, weights / 6)


def test_a_ring_around_the_pole_takes_many_iterations_and_arrives() -> None:
    turn = torch.linspace(0, 2 * math.pi, 12, dtype=torch.float64)[1:]
    for polar in (0.1, 1.0, 1.4):
        ring = torch.stack(
            [
                math.sin(polar) * turn.cos(),
                math.sin(polar) * turn.sin(),
                torch.full_like(turn, math.cos(polar)),
            ],
            -1,
        )
        start = torch.tensor([math.sin(0.3), 0.0, math.cos(0.3)], dtype=torch.float64)
        result = karcher_mean(Sphere(), ring, start=start)
        assert result.converged
        torch.testing.assert_close(result.mean, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
        assert result.iterations < 200


def test_a_mean_that_does_not_converge_warns_with_the_residual() -> None:
    x = cloud(Sphere(), (4,), (3,), 6)
    with pytest.warns(NumericalWarning, match=r"3 of 3 means on Sphere\(\).*residual is \d"):
        result = karcher_mean(Sphere(), x, start=x[:, 0], max_iterations=1)
    assert not result.converged.any()
    assert (result.iterations == 1).all()
    assert (karcher_mean(Sphere(), x, start=x[:, 0], tolerance=1e-3).residual > 1e-14).all()


def test_errors_carry_the_number() -> None:
    x = cloud(Sphere(), (4,), (), 3)
    with pytest.raises(GeowarpError, match=r"weights\[1\] is -2\.0e\+00; none may be negative, and 1 of 3"):
        Sphere().mean(x, torch.tensor([1.0, -2.0, 3.0]))
    with pytest.raises(GeowarpError, match=r"weights\[1\] sum to 0\.0e\+00.* \(1 of 2 sets"):
        Sphere().mean(x, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    with pytest.raises(GeowarpError, match=r"weights have shape \(2,\); 3 points need"):
        Sphere().mean(x, torch.ones(2))
    with pytest.raises(GeowarpError, match=r"shape \(5, 3\), which does not broadcast with \(2, 3\) points"):
        Sphere().mean(x.expand(2, 3, 4), torch.ones(5, 3))
    with pytest.raises(GeowarpError, match=r"the weights sum to 0\.0e\+00"):
        Sphere().mean(x, torch.zeros(3))
    with pytest.raises(GeowarpError, match=r"weights sum to inf"):
        Sphere().mean(x, torch.full((3,), 1e308, dtype=torch.float64))
    with pytest.raises(GeowarpError, match=r"shape \(4,\).*N"):
        Sphere().mean(x[0])
    with pytest.raises(NonFiniteError, match=r"1 weights are not finite; the first is weights\[1\]"):
        Euclidean(1).mean(x, torch.tensor([1.0, math.nan, 1.0]))
    x[1, 2] = math.nan
    for manifold in (Sphere(), Euclidean(1)):
        with pytest.raises(NonFiniteError, match=r"1 entries of the points .* x\[1\]"):
            manifold.mean(x)


def test_half_precision_is_computed_in_single() -> None:
    x = cloud(Sphere(), (4,), (), 5, dtype=torch.float32)
    half = Sphere().mean(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), Sphere().mean(x.bfloat16().float()), atol=0.004, rtol=0)


def test_a_manifold_of_geoopt_has_a_mean() -> None:
    ball = geoopt.PoincareBall().double()
    x = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.7], [0.0, -0.7]], dtype=torch.float64)
    result = karcher_mean(ball, x)
    assert result.converged
    torch.testing.assert_close(result.mean, torch.zeros(2, dtype=torch.float64), atol=1e-14, rtol=0)


def test_radius_and_uniqueness() -> None:
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    near = Sphere().solve_mean(x, torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(near.radius.item(), math.pi / 4)  # a point of weight 0 is not counted
    assert near.unique
    several = torch.stack([x, x[:1].expand(3, 3)])
    both = Sphere().solve_mean(several)
    torch.testing.assert_close(both.radius, Sphere().dist(both.mean[:, None], several).amax(-1))
    angles = torch.tensor([-1.6, 0.0, 1.6], dtype=torch.float64)
    wide = Sphere().solve_mean(torch.stack([angles.cos(), angles.sin()], -1))
    assert wide.converged
    assert not wide.unique


def test_uniqueness_radius_of_each_manifold() -> None:
    half = math.pi / 2
    assert Euclidean(1).uniqueness_radius() == math.inf
    assert Sphere().uniqueness_radius() == Oblique().uniqueness_radius() == half
    assert Grassmann().uniqueness_radius() == half / 2
    assert Stiefel().uniqueness_radius() == half
    assert Stiefel(CanonicalMetric()).uniqueness_radius() == pytest.approx(half / math.sqrt(1.25))
    assert math.isnan(Stiefel(AlphaMetric(0.3)).uniqueness_radius())
    assert SpecialOrthogonal().uniqueness_radius() == pytest.approx(half * math.sqrt(2))
    product = ProductManifold((Sphere(), 3), (Grassmann(), (3, 2)), (geoopt.PoincareBall(), 2))
    assert product.uniqueness_radius() == half / 2
    assert math.isnan(ProductManifold((Sphere(), 3), (geoopt.Sphere(), 3)).uniqueness_radius())
    assert math.isnan(uniqueness_radius(geoopt.Stiefel()))


def test_curvature_and_injectivity_of_rotations() -> None:
    """The sectional curvature of SO(n) is at most 1/4, attained in SO(4); a plane turned by π is at √2 π."""
    u, v = torch.randn(2, 1000, 5, 5, dtype=torch.float64)
    a, b = u - u.mT, v - v.mT
    area = (a * a).sum((-2, -1)) * (b * b).sum((-2, -1)) - (a * b).sum((-2, -1)).square()
    assert (0.25 * (a @ b - b @ a).square().sum((-2, -1)) / area).max() <= 0.25
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    eye = torch.eye(4, dtype=torch.float64)
    radius = 2 * SpecialOrthogonal().uniqueness_radius()
    assert SpecialOrthogonal().dist(eye, turn).item() == pytest.approx(radius)


@pytest.mark.parametrize(
    ("manifold", "points"),
    [
        (Sphere(), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])),
        (Grassmann(), torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]])),
        (SpecialOrthogonal(), torch.stack([torch.eye(2), -torch.eye(2)])),
    ],
)
def test_two_points_at_twice_the_radius_have_two_means(manifold: Manifold, points: Tensor) -> None:
    x = points.double()
    radius = manifold.uniqueness_radius()
    u = manifold.logmap(x[0], x[1])
    means = torch.stack([manifold.expmap(x[0], s * u) for s in (-0.5, 0.5)])
    for mean in means:
        torch.testing.assert_close(
            manifold.dist(mean.expand_as(x), x), torch.full((2,), radius, dtype=x.dtype)
        )
    assert manifold.dist(means[0], means[1]) > 0.1


@pytest.mark.parametrize(
    ("n", "k", "angle"), [(6, 2, 0.7), (6, 2, 1.56), (9, 1, 1.0), (4, 3, 1.2), (3, 3, 0.1)]
)
@pytest.mark.parametrize("batch", [(), (2, 3), (0,)])
def test_objective_of_subspaces_is_that_of_their_logarithms(
    n: int, k: int, angle: float, batch: tuple[int, ...]
) -> None:
    centre = Grassmann().random(*batch, n, k, dtype=torch.float64).clone()
    u = Grassmann().proju(centre.unsqueeze(-3), torch.randn(*batch, 5, n, k, dtype=torch.float64))
    u = angle * u / torch.linalg.matrix_norm(u, 2, keepdim=True).clamp_min(1e-9)
    x, weights = Grassmann().expmap(centre.unsqueeze(-3), u), torch.rand(3, *[1] * len(batch), 5).double()
    expected = Variance(Grassmann(), x, weights).evaluate(centre)
    state = SubspaceVariance(x, weights).evaluate(centre)
    tolerance = 1e-10 if angle > 1.5 else 1e-13  # the logarithm is ill-conditioned near right angles
    for name in ("direction", "residual", "value", "length"):
        actual, value = getattr(state, name), getattr(expected, name)
        torch.testing.assert_close(actual, value, atol=tolerance, rtol=tolerance, msg=name)
    radius = SubspaceVariance(x, weights).finish(state).radius
    torch.testing.assert_close(radius, expected.radius, atol=tolerance, rtol=tolerance)
    end, moved = SubspaceVariance(x, weights).move(centre, 0.5 * state.direction)
    span, flow = end @ end.mT, moved @ end.mT
    other = Grassmann().expmap(centre, 0.5 * state.direction)
    torch.testing.assert_close(span, other @ other.mT, atol=1e-13, rtol=0)
    carried = Grassmann().transp(centre, other, 0.5 * state.direction) @ other.mT
    torch.testing.assert_close(flow, carried.expand_as(flow), atol=tolerance, rtol=0)


def test_radius_of_the_closest_subspaces() -> None:
    x = cloud(Grassmann(), (20, 3), (), 6, radius=1e-9)
    result = Grassmann().solve_mean(x)
    distances = Grassmann().dist(result.mean.unsqueeze(0), x)
    torch.testing.assert_close(result.radius, distances.amax(), rtol=1e-5, atol=0)


@cases
def test_weights_of_a_batch_for_shared_points(manifold: Manifold, shape: tuple[int, ...]) -> None:
    x = cloud(manifold, shape, (3, 1), 5).requires_grad_()
    weights = torch.rand(3, 4, 5, dtype=torch.float64, requires_grad=True)
    result = manifold.solve_mean(x, weights)
    assert result.mean.shape == (3, 4, *shape)
    assert all(value.shape == (3, 4) for value in result[1:])
    expanded = x.expand(3, 4, 5, *shape)
    same(manifold, result.mean.detach(), manifold.mean(expanded.detach(), weights.detach()), 1e-14)
    cotangent = torch.randn(3, 4, *shape, dtype=torch.float64)
    first = torch.autograd.grad(function_of(manifold, result.mean), (x, weights), _like(manifold, cotangent))
    mean = function_of(manifold, manifold.mean(expanded, weights))
    second = torch.autograd.grad(mean, (x, weights), _like(manifold, cotangent))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)


def _like(manifold: Manifold, u: Tensor) -> Tensor:
    return u @ u.mT if isinstance(manifold, Grassmann) else u


def test_easy_and_hard_problems_of_one_batch_are_as_alone() -> None:
    """From one point to a ring that is almost an equator; each keeps its own steps."""
    turn = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[1:]
    polar = torch.tensor([0.0, 1e-8, 0.5, 1.2, 1.5], dtype=torch.float64)[:, None]
    ring = torch.stack([polar.sin() * turn.cos(), polar.sin() * turn.sin(), polar.cos() + 0 * turn], -1)
    start = torch.tensor([math.sin(0.3), 0.0, math.cos(0.3)], dtype=torch.float64).expand(5, 3)
    together = karcher_mean(Sphere(), ring, start=start)
    for i in range(5):
        alone = karcher_mean(Sphere(), ring[i], start=start[i])
        torch.testing.assert_close(together.mean[i], alone.mean, atol=1e-14, rtol=0)
        assert together.iterations[i] == alone.iterations
        torch.testing.assert_close(alone.mean, torch.tensor([0.0, 0.0, 1.0]).double(), atol=1e-13, rtol=0)
    assert together.converged.all()
    assert together.iterations.max() < 20


@pytest.mark.parametrize(
    "kind", [PoincareBall, Lorentz, geoopt.PoincareBall], ids=["ball", "hyperboloid", "geoopt"]
)
def test_gradients_flow_to_a_learnable_curvature(kind: type[Any]) -> None:
    """The points are images of fixed tangent vectors at the origin, so that they move with the curvature."""
    vectors = torch.randn(4, 3, dtype=torch.float64)
    vectors = torch.nn.functional.pad(vectors, (int(kind is Lorentz), 0))
    weights = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
    manifold = kind(learnable=True).double()
    (constant,) = manifold.parameters()

    def mean(value: float) -> Tensor:
        with torch.no_grad():
            constant.fill_(value)
        return karcher_mean(manifold, manifold.expmap0(vectors), weights).mean

    value = mean(0.7)
    cotangent = torch.randn_like(value)
    (gradient,) = torch.autograd.grad(value, constant, cotangent)
    above, below = mean(0.7 + 1e-5), mean(0.7 - 1e-5)
    slope = (cotangent * (above - below)).sum().detach() / 2e-5
    torch.testing.assert_close(gradient, slope.reshape(gradient.shape), rtol=1e-7, atol=0)
