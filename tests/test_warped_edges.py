"""Warped metrics at their edges: the conformance suite, other modes and dtypes, and points that are hard."""

import math
import warnings

import pytest
import torch
from torch import Tensor
from warped_cases import BASES

from geowarp.errors import NumericalWarning
from geowarp.manifolds import ConformalWarped, Euclidean, FairnessWarped, Manifold, Sphere, checks
from geowarp.manifolds.checks import CHECKS, Claims, run_check

EXPENSIVE = {
    checks.check_compile,  # the search for a geodesic differentiates inside, and branches
    checks.check_gradients,
    checks.check_gradients_at_coincidence,
    checks.check_mean_midpoint,
    checks.check_mean_stationary,
    checks.check_broadcasting,
}
APPROXIMATE = 1e-3 / torch.finfo(torch.float64).eps  # as geodesics of 4 segments are
SOLVED = ("exponential", "geodesic", "distance", "logarithm")
CLAIMS = Claims(
    radius=0.2,
    tolerances={c.__name__: APPROXIMATE for c in CHECKS if any(word in c.__name__ for word in SOLVED)},
)


def phi(x: Tensor) -> Tensor:
    return 0.3 * x[..., 0].sin()


def wave(x: Tensor) -> Tensor:
    return x[..., :1].sin()


WARPED = {
    "fairness": FairnessWarped(Euclidean(1), wave, 2.0, segments=4),
    "conformal": ConformalWarped(Euclidean(1), phi, segments=4),
    "sphere": FairnessWarped(Sphere(), wave, 2.0, segments=4),
}
every_metric = pytest.mark.parametrize("warped", WARPED.values(), ids=WARPED.keys())


@pytest.mark.parametrize("name", ["sphere", "conformal"])
def test_the_conformance_suite(name: str) -> None:
    warped = WARPED[name]
    x = warped.random(2, 3, dtype=torch.float64)
    for check in CHECKS:
        if check not in EXPENSIVE and CLAIMS.include(check):
            run_check(check, warped, x, CLAIMS)


@every_metric
def test_inference_mode_and_half_precision(warped: Manifold) -> None:
    x, y = warped.random(2, 3), warped.random(2, 3)
    u = warped.proju(x, y)
    half = [tensor.bfloat16() for tensor in (x, y, u)]
    for name, arguments in (
        *(
            ("dist", (0, 1)),
            ("logmap", (0, 1)),
            ("expmap", (0, 2)),
            ("inner", (0, 2)),
            ("christoffel", (0, 2, 2)),
        ),
        *(("egrad2rgrad", (0, 1)), ("riemann", (0, 2, 2, 2)), ("cdist", (0, 1)), ("solve_geodesic", (0, 1))),
    ):
        expected = getattr(warped, name)(*((x, y, u)[i] for i in arguments))
        with torch.inference_mode():
            inside = getattr(warped, name)(*((x + 0, y + 0, u + 0)[i] for i in arguments))
        rounded = getattr(warped, name)(*(half[i] for i in arguments))
        if name == "solve_geodesic":
            expected, inside, rounded = (result.distance for result in (expected, inside, rounded))
        torch.testing.assert_close(inside, expected)
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), expected, rtol=0.1, atol=0.1)


def test_the_line_has_no_dimensions_of_a_point() -> None:
    warped = FairnessWarped(Euclidean(0), lambda x: x[..., None].square(), 1.0, segments=16)
    x, y = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)

    def length(t: float) -> float:  # of a parabola
        return 0.5 * t * math.sqrt(1 + 4 * t * t) + 0.25 * math.asinh(2 * t)

    arc = length(1.0)
    assert warped.dist(x, y).item() == pytest.approx(arc, rel=1e-6)
    assert warped.logmap(x, y).item() == pytest.approx(arc, rel=1e-5)
    assert warped.expmap(x, torch.tensor(arc).double()).item() == pytest.approx(1.0, rel=1e-4)
    assert length(warped.mean(torch.stack([x, y])).item()) == pytest.approx(arc / 2, rel=1e-6)


def test_a_pair_that_is_no_number_leaves_the_others_alone() -> None:
    for warped in (WARPED["fairness"], WARPED["conformal"]):
        x, y = torch.randn(2, 3, 3, dtype=torch.float64)
        expected = warped.dist(x, y)
        y[1, 0] = math.nan
        with pytest.warns(NumericalWarning, match="1 of 3 geodesics of 4 segments did not converge"):
            distance = warped.dist(x, y)
        assert bool(distance[1].isnan())
        assert torch.equal(distance[::2], expected[::2])


def test_the_gradient_by_an_alpha_of_zero() -> None:
    alpha = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    warped = FairnessWarped(Euclidean(1), lambda x: x[..., :2].sin(), alpha, segments=8)
    x, y = torch.randn(2, 4, 3, dtype=torch.float64)
    for mode in ("chord", "geodesic", "upper"):
        (gradient,) = torch.autograd.grad(warped.dist2(x, y, mode=mode).sum(), alpha)
        steps = 1e-6 * torch.eye(2, dtype=torch.float64)
        ahead = [
            FairnessWarped(Euclidean(1), warped.potential, step).dist2(x, y, mode=mode).sum()
            for step in steps
        ]
        slope = (torch.stack(ahead) - (x - y).square().sum()) / 1e-6
        torch.testing.assert_close(gradient, slope, rtol=1e-4, atol=0)


def test_close_points_in_single_precision_take_no_search_for_what_rounding_hides() -> None:
    base = BASES["Sphere"]
    x = base.points(8, dtype=torch.float32)
    y = Sphere().expmap(x, base.tangent(x, 1e-3))
    assert int(base.warped().solve_geodesic(x, y).iterations.max()) <= 8


def test_steps_over_steep_slopes_do_not_leap_to_another_hill() -> None:
    warped = FairnessWarped(Euclidean(1), lambda x: (5 * x[..., :1]).sin(), 1e4, segments=8)
    x, u = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.03, 0.01]], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(warped.expmap(x, 0 * u), x)
        end = warped.expmap(x, u)
    travelled = warped.dist(x, end, mode="upper")
    torch.testing.assert_close(travelled, warped.norm(x, u), rtol=1e-4, atol=0)


def test_flows_that_are_lost_leave_the_others_alone() -> None:
    warped = FairnessWarped(Euclidean(1), lambda x: (5 * x[..., :1]).sin(), 1e4, segments=8)
    x, u = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.2, 0.01]], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = warped.expmap(x, torch.cat([u, 5 * torch.randn(20, 2, dtype=torch.float64)]))
        torch.testing.assert_close(ends[:1], warped.expmap(x, u), rtol=0, atol=1e-9)


def test_a_flow_whose_steps_are_too_long_says_so() -> None:
    warped = FairnessWarped(Euclidean(1), lambda x: (5 * x[..., :1]).sin(), 1e2)
    x, u = torch.tensor([[[0.3, 0.0]], [[3.0, 1.0]]], dtype=torch.float64)
    with pytest.warns(NumericalWarning, match="do not keep their speed: .*; shorten the velocity"):
        warped.expmap(x, u)
