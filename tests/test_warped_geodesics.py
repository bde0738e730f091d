"""Geodesics of warped metrics, against closed forms, paths in graphs, their own integrator and bounds."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import scipy.integrate
import scipy.sparse
import torch
from jacobians import assert_jacobian
from torch import Tensor
from torch.autograd import gradcheck
from warped_cases import BASES, Base

from geowarp.errors import NumericalWarning, UnavailableError
from geowarp.manifolds import ConformalWarped, Euclidean, FairnessWarped, PoincareBall, Sphere
from geowarp.manifolds.warped.geodesic_solution import GeodesicSolver
from geowarp.manifolds.warped.graph_flow import graph_flow
from geowarp.manifolds.warped.graph_paths import GraphPaths

every_base = pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())


def parabola(x: Tensor) -> Tensor:
    return x[..., :1].square()


def test_a_parabolic_cylinder_unrolls() -> None:
    x = torch.tensor([[0.0, 0.0], [-1.0, 2.0]], dtype=torch.float64)
    y = torch.tensor([[1.0, 1.0], [1.5, 0.0]], dtype=torch.float64)

    def arc(t: Tensor) -> Tensor:
        return 0.5 * t * (1 + 4 * t.square()).sqrt() + 0.25 * (2 * t).asinh()

    expected = torch.hypot(arc(y[:, 0]) - arc(x[:, 0]), y[:, 1] - x[:, 1])
    found = FairnessWarped(Euclidean(1), parabola, 1.0, segments=64).solve_geodesic(x, y)
    torch.testing.assert_close(found.distance, expected, rtol=1e-7, atol=0)
    assert bool(((found.distance - expected).abs() <= 5 * found.error + 1e-12).all())
    assert bool((found.residual < 1e-9).all())


def test_the_ball_is_a_conformal_flat_space() -> None:
    warped = ConformalWarped(Euclidean(1), lambda x: (2 / (1 - x.square().sum(-1))).log(), segments=64)
    x, y = torch.rand(2, 6, 3, dtype=torch.float64) - 0.5
    ball = PoincareBall()
    torch.testing.assert_close(warped.dist(x, y), ball.dist(x, y), rtol=1e-9, atol=0)
    u = ball.logmap(x, y)
    torch.testing.assert_close(warped.logmap(x, y), u, rtol=0, atol=1e-8)
    torch.testing.assert_close(warped.expmap(x, 0.5 * u), ball.expmap(x, 0.5 * u), rtol=0, atol=1e-9)
    torch.testing.assert_close(warped.inner(x, u, y), ball.inner(x, u, y))
    torch.testing.assert_close(warped.egrad2rgrad(x, u), ball.egrad2rgrad(x, u))


@pytest.mark.parametrize("name", ["Euclidean", "Sphere", "Poincare", "SPD", "Grassmann"])
def test_exponential_and_logarithm_invert_each_other(name: str) -> None:
    base = BASES[name]
    warped, x = base.warped(segments=16), base.points(2)
    u = base.tangent(x, 0.6)
    y = warped.expmap(x, u)
    assert bool((base.manifold.point_residual(y) < 1e-10).all())
    torch.testing.assert_close(warped.logmap(x, y), u, rtol=0, atol=2e-5)
    torch.testing.assert_close(warped.dist(x, y), warped.norm(x, u), rtol=0, atol=2e-5)


def test_geodesics_lead_from_one_point_to_the_other() -> None:
    base = BASES["Poincare"]
    warped, x, y = base.warped(), base.points(3), base.points(3)
    times = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    start, quarter, end = warped.geodesic(times[:, None], x, y)
    torch.testing.assert_close(start, x)
    torch.testing.assert_close(end, y, rtol=0, atol=1e-6)
    torch.testing.assert_close(warped.dist(x, quarter), warped.dist(x, y) / 4, rtol=1e-6, atol=0)


@every_base
def test_the_sandwich(base: Base) -> None:
    warped, x = base.warped(4.0, segments=16), base.points(4)
    y = base.manifold.retr(x, base.tangent(x, 0.9))
    geodesic, lower, upper = warped.dist(x, y, return_bounds=True)
    assert bool((lower <= geodesic * (1 + 1e-9)).all())
    assert bool((geodesic <= upper * (1 + 1e-9)).all())
    assert bool((upper < 1.2 * lower).all())
    assert torch.equal(lower, warped.dist(x, y, mode="chord"))
    assert torch.equal(upper, warped.dist(x, y, mode="upper"))


def test_the_upper_bound_is_the_length_of_the_base_geodesic() -> None:
    base = BASES["Poincare"]
    x, y = base.points(3), base.points(3)
    fine = base.manifold.geodesic(torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None], x, y)
    chords = base.warped().dist(fine[:-1], fine[1:], mode="chord").sum(0)
    torch.testing.assert_close(base.warped().dist(x, y, mode="upper"), chords, rtol=1e-6, atol=0)


def test_it_is_as_short_as_a_path_through_a_fine_graph() -> None:
    warped = FairnessWarped(Euclidean(1), lambda x: (3 * x).sin().prod(-1, keepdim=True), 4.0, segments=64)
    side = torch.linspace(-1, 1, 31, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    first, second = ((torch.cdist(grid, grid) < 0.28).triu(1)).nonzero().T
    lengths = warped.dist(grid[first], grid[second], mode="upper")
    graph = scipy.sparse.coo_matrix((lengths, (first, second)), (len(grid), len(grid)))
    start, end = 31 * 3 + 5, 31 * 23 + 25
    path = scipy.sparse.csgraph.dijkstra(graph.tocsr(), directed=False, indices=start)[end]
    geodesic, chord, straight = (float(d) for d in warped.dist(grid[start], grid[end], return_bounds=True))
    assert chord < 0.95 * path < geodesic < path
    assert path < 0.9 * straight  # it goes round the hills


@pytest.mark.parametrize(
    "warped",
    [
        ConformalWarped(Euclidean(1), lambda x: 2 * (-4 * x.square().sum(-1)).exp()),
        FairnessWarped(Euclidean(1), lambda x: (-4 * x.square().sum(-1, keepdim=True)).exp(), 16.0),
    ],
)
def test_a_geodesic_over_the_top_is_no_shortest_path(warped: FairnessWarped | ConformalWarped) -> None:
    start, end, beside = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.8]], dtype=torch.float64)
    around = warped.dist(start, beside) + warped.dist(beside, end)
    over = warped.dist(start, torch.zeros_like(end)) + warped.dist(torch.zeros_like(end), end)
    distance = warped.dist(start, end)
    assert distance <= around < 0.6 * over


def test_the_integrator_solves_the_differential_equation() -> None:
    base = BASES["Euclidean"]
    warped, x = base.warped(), base.points(1)[0]
    u = base.tangent(x, 1.5)

    def field(
        _: float, state: np.ndarray[tuple[int], np.dtype[np.float64]]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        point, velocity = torch.as_tensor(state).chunk(2)
        return torch.cat([velocity, -warped.christoffel(point, velocity, velocity)]).numpy()

    exact = scipy.integrate.solve_ivp(
        field, (0, 1), torch.cat([x, u]).numpy(), rtol=1e-11, atol=1e-12, method="DOP853"
    )
    torch.testing.assert_close(warped.expmap(x, u), torch.as_tensor(exact.y[:5, -1]), rtol=0, atol=1e-7)


def test_the_integrator_is_of_order_two_and_keeps_the_speed() -> None:
    base = BASES["Sphere"]
    warped, x = base.warped(), base.points(2)
    u = base.tangent(x, 1.0)
    exact = warped.expmap(x, u)
    errors = []
    for steps in (4, 8, 16):
        end = graph_flow(base.manifold, lambda x: 2**0.5 * base.potential()(x), x, u, steps).point
        errors.append(float((end - exact).abs().max()))
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(1.8 < order < 2.2 for order in orders)
    eps = 1e-4
    times = torch.tensor([1 - eps, 1, 1 + eps], dtype=torch.float64)
    behind, end, ahead = warped.expmap(x, times[:, None, None] * u)
    speed = warped.norm(end, (ahead - behind) / (2 * eps))
    torch.testing.assert_close(speed, warped.norm(x, u), rtol=2e-5, atol=0)


def test_the_path_is_equally_spaced_and_shortest_among_its_neighbours() -> None:
    base = BASES["Sphere"]
    warped, x, y = base.warped(8.0), base.points(3), base.points(3)
    found = warped.solve_geodesic(x, y)
    assert found.points.shape == (3, 33, 4)
    torch.testing.assert_close(found.points[:, 0], x)
    torch.testing.assert_close(found.points[:, -1], y)
    paths = GraphPaths(base.manifold, lambda x: 8**0.5 * base.potential()(x))
    steps = paths.squared_lengths(found.points).sqrt()
    torch.testing.assert_close(steps, steps.mean(1, keepdim=True).expand_as(steps), rtol=1e-2, atol=0)
    energy = paths.squared_lengths(found.points).sum(1)
    for _ in range(5):
        noise = 1e-3 * torch.randn_like(found.points)
        noise[:, [0, -1]] = 0
        assert bool((paths.squared_lengths(Sphere().projx(found.points + noise)).sum(1) > energy).all())


@pytest.mark.parametrize("name", ["Euclidean", "Poincare", "SPD"])
def test_gradients_of_distances(name: str) -> None:
    base = BASES[name]
    x = base.points(2)
    y = base.manifold.retr(x, base.tangent(x, 0.7)).detach()
    warped = base.warped(segments=8)
    for mode in ("geodesic", "chord", "upper"):

        def distance(w: Tensor, mode: str = mode) -> Tensor:
            return warped.dist(base.manifold.retr(x, base.manifold.proju(x, w)), y, mode=mode)

        assert_jacobian(distance, torch.zeros_like(x).requires_grad_())
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(warped.dist2(point, y).sum(), point)
    natural = warped.egrad2rgrad(x, slope)
    torch.testing.assert_close(natural, -2 * warped.logmap(x, y), rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", ["Sphere", "Poincare", "SPD"])
def test_derivatives_of_logarithms(name: str) -> None:
    base = BASES[name]
    x = base.points(2)
    y = base.manifold.retr(x, base.tangent(x, 0.7)).detach()

    warped = base.warped(segments=8)

    def logarithm(v: Tensor, w: Tensor) -> Tensor:
        start, end = (base.manifold.retr(p, base.manifold.proju(p, t)) for p, t in ((x, v), (y, w)))
        velocity: Tensor = warped.logmap(start, end)
        return velocity

    assert_jacobian(logarithm, *(torch.zeros_like(x).requires_grad_() for _ in range(2)))


def test_the_derivative_of_a_conformal_logarithm() -> None:
    warped = ConformalWarped(Euclidean(1), lambda x: (2 / (1 - x.square().sum(-1))).log())
    x, y = (torch.rand(2, 3, 3, dtype=torch.float64) - 0.5).unbind()
    for manifold_slot in (0, 1):
        slopes = []
        for manifold in (warped, PoincareBall()):
            ends = [x.clone().requires_grad_(), y.clone().requires_grad_()]
            (slope,) = torch.autograd.grad(manifold.logmap(*ends).sin().sum(), ends[manifold_slot])
            slopes.append(slope)
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)


def test_the_derivative_of_the_logarithm_of_a_point_at_itself() -> None:
    base = BASES["Euclidean"]
    x = base.points(1)
    y = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(base.warped(segments=8).logmap(x, y)[0, 0], y)
    torch.testing.assert_close(slope, torch.eye(5)[:1].double(), rtol=0, atol=1e-12)


def test_gradients_of_the_exponential_by_all_that_it_depends_on() -> None:
    base = BASES["Euclidean"]
    x, u = base.points(2), base.tangent(base.points(2), 0.5)

    def end(x: Tensor, u: Tensor, scale: Tensor) -> Tensor:
        warped = FairnessWarped(Euclidean(1), lambda x: scale * base.potential()(x), 1.5, segments=4)
        result: Tensor = warped.expmap(x, u)
        return result

    scale = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(end, (x.requires_grad_(), u.requires_grad_(), scale))


def test_distances_and_logarithms_learn_alpha_and_the_potential() -> None:
    base = BASES["Sphere"]
    x, y = base.points(1), base.points(1)

    def distance(scale: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        warped = FairnessWarped(Sphere(), lambda x: scale * base.potential()(x), alpha, segments=8)
        found = warped.solve_geodesic(x, y)
        return found.distance, found.velocity

    scale, alpha = torch.tensor([1.2, 0.7, 1.5], dtype=torch.float64, requires_grad=True).split([1, 2])
    assert gradcheck(distance, (scale, alpha))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_close_and_equal_points(dtype: torch.dtype) -> None:
    base = BASES["Sphere"]
    warped = FairnessWarped(Sphere(), base.potential(), 2.0)
    x = base.points(4, dtype=dtype)
    u = base.tangent(x, 1.0)
    for size in (1e-2, 1e-3, 1e-4):
        y = Sphere().expmap(x, size * u)
        tolerance = 2 * size**2 + 20 * torch.finfo(dtype).eps / size
        norm = 0.5 * (warped.norm(x, Sphere().logmap(x, y)) + warped.norm(y, Sphere().logmap(y, x)))
        torch.testing.assert_close(warped.dist(x, y) / norm, torch.ones_like(norm), rtol=0, atol=tolerance)
    x.requires_grad_()
    distance = warped.dist(x, x.detach())
    assert bool((distance == 0).all())
    distance.sum().backward()
    assert x.grad is not None
    assert bool((x.grad == 0).all())
    assert bool((warped.logmap(x.detach(), x.detach()) == 0).all())


def test_single_precision_geodesics() -> None:
    base = BASES["Poincare"]
    x, y = base.points(5), base.points(5)
    warped = base.warped()
    exact, rounded = warped.solve_geodesic(x, y), warped.solve_geodesic(x.float(), y.float())
    assert rounded.velocity.dtype == torch.float32
    torch.testing.assert_close(rounded.distance.double(), exact.distance, rtol=2e-5, atol=0)
    torch.testing.assert_close(rounded.velocity.double(), exact.velocity, rtol=0, atol=2e-4)


def test_a_batch_is_its_pairs() -> None:
    base = BASES["Euclidean"]
    warped = base.warped(segments=16)
    x, y = base.points(2, 1), base.points(3)
    table = warped.dist(x, y)
    assert table.shape == (2, 3)
    single = torch.stack([torch.stack([warped.dist(a[0], b) for b in y]) for a in x])
    torch.testing.assert_close(table, single, rtol=1e-9, atol=0)
    torch.testing.assert_close(warped.cdist(x[:, 0], y), table, rtol=1e-9, atol=0)


def test_a_search_that_is_cut_short_says_so() -> None:
    base = BASES["Poincare"]
    paths = GraphPaths(base.manifold, lambda x: 4 * base.potential()(x))
    with pytest.warns(NumericalWarning, match=r"of 3 geodesics of 8 segments did not converge"):
        GeodesicSolver(8, max_iterations=1).solve(paths, base.points(3), base.points(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GeodesicSolver(8).solve(paths, base.points(3), base.points(3))


def test_the_mean_of_points_under_a_warped_metric() -> None:
    base = BASES["Euclidean"]
    warped, x = base.warped(segments=16), base.points(4)
    mean = warped.mean(x)
    residual = warped.logmap(mean.expand_as(x), x).mean(0)
    assert float(residual.abs().max()) < 1e-7
    spread = warped.dist2(mean, x).sum()
    for _ in range(3):
        assert float(warped.dist2(mean + 0.05 * torch.randn_like(mean), x).sum()) > float(spread)


def test_the_mean_is_differentiable() -> None:
    base = BASES["Euclidean"]
    x, direction = base.points(3).requires_grad_(), torch.randn(5, dtype=torch.float64)
    warped = FairnessWarped(base.manifold, base.potential(), 2.0, learnable=True, segments=8).double()
    assert warped.log_alpha is not None
    slope, rate = torch.autograd.grad(warped.mean(x) @ direction, (x, warped.log_alpha))
    step = 1e-5 * torch.randn_like(x)
    means = []
    for sign in (1, -1):
        moved = FairnessWarped(base.manifold, base.potential(), 2.0 * math.exp(sign * 1e-5), segments=8)
        means.append(moved.mean(x.detach() + sign * step) @ direction)
    change = (slope * step).sum() + 1e-5 * rate
    assert float(change) == pytest.approx(float(means[0] - means[1]) / 2, rel=1e-4)


def test_the_mean_does_not_forget_what_a_function_has_learned() -> None:
    scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x = BASES["Euclidean"].points(3)
    for warped in (
        FairnessWarped(Euclidean(1), lambda x: scale * x[..., :1].sin(), 1.0, segments=4),
        FairnessWarped(Euclidean(1), parabola, scale, segments=4),
        ConformalWarped(Euclidean(1), lambda x: scale * x[..., 0].sin(), segments=4),
    ):
        with pytest.raises(UnavailableError, match="make the function a module, or alpha learnable"):
            warped.mean(x).sum().backward()
