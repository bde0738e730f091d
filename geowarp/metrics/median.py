"""The geometric median."""

from typing import Any, Generic, Literal, overload

import torch
from torch import Tensor
from typing_extensions import NamedTuple  # generic ones need Python 3.11

from .._geoopt import geoopt
from .._warn import warn
from ..errors import NumericalWarning
from ..manifolds import Euclidean
from ..manifolds.descent import Descent, State, descend
from ..manifolds.implicit import differentiable, solve_hessian
from ..manifolds.karcher import default_tolerance, initial_mean
from ..manifolds.linalg import full_precision, safe_sqrt
from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.dimensions import append_dimensions
from ..manifolds.weighted_points import WeightedPoints
from ..manifolds.weights import normalized_weights
from .arrays import Array, accepts_arrays, tensors
from .inference_mode import outside_inference_mode
from .validation import check_operation, check_points

__all__ = ["GeometricMedian", "geometric_median"]

_ROUND = 10  # steps between two looks at the nearest point
_ROUNDS = 50
_STAGNATION = 1000.0
_NEWTON_TOLERANCE = 1e-3


class GeometricMedian(NamedTuple, Generic[Array]):
    """A median, and how the search for it ended.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = torch.tensor([0.0, 1.0, 9.0])
        >>> geometric_median(Euclidean(0), x, return_info=True).median
        tensor(1.)
    """

    median: Array
    """The median, ``(..., *point)``."""
    iterations: Array
    """How many steps were tried, ``(...)``."""
    residual: Array
    """The norm of the smallest subgradient, ``(...)``, which is 0 at a median. Away from points that is
    ``‖Σ w_i log_m(x_i) / dist(m, x_i)‖``."""
    converged: Array
    """Whether the residual is within the tolerance, ``(...)``."""


@overload
def geometric_median(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, return_info: Literal[False] = False
) -> Array: ...


@overload
def geometric_median(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, *, return_info: Literal[True]
) -> GeometricMedian[Array]: ...


@accepts_arrays
def geometric_median(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, return_info: bool = False
) -> Array | GeometricMedian[Array]:
    """Return the geometric median ``argmin_m Σ w_i dist(m, x_i)``, for a batch of problems at once.

    Less than half of the weight, moved anywhere, moves it only so far. Found by Weiszfeld's iteration
    ``m ← exp_m(s Σ w_i log_m(x_i)/d_i / Σ w_i/d_i)``, ``d_i = dist(m, x_i)``, with the step control of
    ``karcher_mean``. Where the median is one of the points, it is found exactly: every ten steps the nearest
    point m is tested, which is the median where ``‖Σ w_i log_m(x_i)/d_i‖`` over the other points is at most
    its own weight.

    Differentiable once in points, weights and learnable constants of the manifold, by implicit
    differentiation; a median that is a point moves with it alone. Beyond half of the manifold's
    ``uniqueness_radius`` there may be several medians, and of points on one geodesic that split into halves
    everything between them is one.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., N, *point)``, a tensor or a numpy array.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x.
        return_info: also return iterations, residual and whether the search converged.

    Returns:
        ``(..., *point)``, or a ``GeometricMedian``; of arrays where x is an array.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points or weights that are infinite or not a number.

    Warns:
        NumericalWarning: where a search did not converge, with the largest residual.

    References:
        Fletcher, Venkatasubramanian, Joshi, The geometric median on Riemannian manifolds with application to
        robust atlas estimation, NeuroImage 45 (2009); Vardi, Zhang, The multivariate L1-median and associated
        data depth, Proc. Natl. Acad. Sci. USA 97 (2000), for the test at a point.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0], [1.0, 90.0]])
        >>> geometric_median(Euclidean(1), x)
        tensor([1.0000, 1.6...])
    """
    points, given = tensors(x, weights)
    check_points(manifold, points)
    check_operation(manifold, "logmap")
    flat = isinstance(manifold, geoopt.Euclidean)
    result = _median(Euclidean(manifold.ndim) if flat else manifold, points, given)
    if not bool(result.converged.all()):
        warn(
            f"geometric_median: {int((~result.converged).sum())} of {result.converged.numel()} medians on "
            f"{manifold!r} did not converge; the largest residual is {result.residual.max().item():.1e}",
            NumericalWarning,
        )
    answer: Array | GeometricMedian[Array] = tensors(result if return_info else result.median)
    return answer


class _Distances(WeightedPoints):
    """The objective ``Σ w_i dist(m, x_i)``, away from a point and at one.

    At a point of weight w the subgradients are a ball of radius w about minus R, the sum over the other
    points of ``w_i log_m(x_i) / dist(m, x_i)``: the smallest one is ``−max(1 − w / ‖R‖, 0) R``.
    """

    def distances(self, centre: Tensor, logarithms: Tensor) -> Tensor:
        return safe_sqrt(self.squares(centre, logarithms))

    def evaluate(self, point: Tensor) -> State:
        logarithms = self.logarithms(point)
        distances = self.distances(point, logarithms)
        here = self.coincide(point, distances)
        inverse = _inverse(distances, here)
        total, weight = self.average(inverse * logarithms), self.average(here.to(distances.dtype))
        size = safe_sqrt(self.inner(point, total, total))
        excess = (size - weight).clamp_min(0)
        direction = torch.where(size > 0, excess / torch.where(size > 0, size, 1), 0) * total
        density = self.average(inverse)
        length = 1 / torch.where(density > 0, density, 1)
        scale = 1 + density * self.extent(point)
        return State(
            point, direction, excess, self.average(distances), scale, length, self.largest(distances)
        )

    def coincide(self, centre: Tensor, distances: Tensor) -> Tensor:
        """Return where ``x_i`` is m: equal entries, or a distance below the rounding error of the largest."""
        equal = self.points == centre.unsqueeze(self.axis)
        if self.manifold.ndim:
            equal = equal.flatten(self.axis + 1).all(-1)
        tiny = distances <= 8 * torch.finfo(distances.dtype).eps * distances.amax(self.axis, keepdim=True)
        return append_dimensions(equal, self.manifold.ndim) | tiny

    def extent(self, point: Tensor) -> Tensor:
        """Return the length of a point as a vector at itself: logarithms have errors of eps times that.

        Where the metric is not definite on such vectors, as on the hyperboloid, it is the largest entry.
        """
        ndim = self.manifold.ndim
        square = self.inner(point, point, point)
        largest = point.abs().amax(tuple(range(-ndim, 0)), keepdim=True) if ndim else point.abs()
        return torch.where(square > 0, safe_sqrt(square.clamp_min(0)), largest)

    def nearest(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Return the point of positive weight that is nearest to m, and its distance."""
        distances = self.distances(centre, self.logarithms(centre))
        weighted = append_dimensions(self.weights, self.manifold.ndim) > 0
        distance, index = torch.where(weighted, distances, torch.inf).min(self.axis, keepdim=True)
        return self.take(index), distance.squeeze(self.axis)

    def take(self, index: Tensor) -> Tensor:
        """Return the points with the numbers ``(..., 1, 1, ..., 1)``."""
        batch = broadcast_shapes(index.shape[: self.axis], self.points.shape[: self.axis])
        points = self.points.expand(*batch, *self.points.shape[self.axis :])
        chosen: Tensor = points.take_along_dim(index.expand(*batch, *index.shape[self.axis :]), self.axis)
        return chosen.squeeze(self.axis)


def _inverse(distances: Tensor, here: Tensor) -> Tensor:
    apart = ~here & (distances > 0)
    return torch.where(apart, 1 / torch.where(apart, distances, 1), 0)


def _directions(points: WeightedPoints, centre: Tensor) -> Tensor:
    """Return ``Σ w_i log_m(x_i) / dist(m, x_i)``, which is 0 at a median that is none of the points."""
    data = _Distances(*points)
    logarithms = data.logarithms(centre)
    distances = data.distances(centre, logarithms)
    return data.average(logarithms * _inverse(distances, data.coincide(centre, distances)))


@outside_inference_mode
@full_precision
def _median(manifold: Any, x: Tensor, weights: Tensor | None) -> GeometricMedian[Tensor]:
    normalized = normalized_weights(x, weights, manifold.ndim)
    with torch.no_grad():
        data = _Distances(manifold, x.detach(), normalized.detach())
        ended = _search(data, initial_mean(data), default_tolerance(data))
    median = _attached(_Distances(manifold, x, normalized), ended.state.point)
    batch = median.shape[: median.ndim - manifold.ndim]
    values = (ended.iterations, ended.state.residual, ended.converged)
    iterations, residual, converged = (value.reshape(batch) for value in values)
    return GeometricMedian(median, iterations, residual, converged)


def _search(data: _Distances, start: Tensor, tolerance: float) -> Descent:
    """Descend, and look every few steps whether the nearest point is the median or at least better."""
    state = data.evaluate(start)
    active = torch.ones_like(state.residual, dtype=torch.bool)
    iterations = torch.zeros_like(state.residual, dtype=torch.long)
    for number in range(_ROUNDS):
        ended = descend(data, state.point, tolerance, _STAGNATION, _ROUND)
        after = _with_nearest(data, ended.state, tolerance)
        after = _after_newton(data, after) if number > 0 else after
        iterations = iterations + torch.where(active, ended.iterations, 0)
        noise = 8 * torch.finfo(start.dtype).eps * state.value
        progress = (after.residual < 0.5 * state.residual) | (after.value < state.value - noise)
        state = _choose(active, after, state)
        active = active & progress & (state.residual > tolerance * state.scale)
        if not bool(active.any()):
            break
    return Descent(state, iterations, state.residual <= _STAGNATION * tolerance * state.scale)


def _with_nearest(data: _Distances, state: State, tolerance: float) -> State:
    """Return the state at the nearest point, where that is the median or improves on another state.

    A state that is a median already stays, unless it is the point but for the tolerance.
    """
    point, distance = data.nearest(state.point)
    near = data.evaluate(point)
    eps = torch.finfo(point.dtype).eps
    noise = 8 * eps * state.value
    size = torch.maximum(eps**0.5 * state.radius, _STAGNATION * tolerance * data.extent(point))
    done = (state.residual <= tolerance * state.scale) & (distance > size)
    optimal = (near.residual <= tolerance) & (near.value <= state.value + noise)
    return _choose(~done & (optimal | (near.value < state.value - noise)), near, state)


def _after_newton(data: _Distances, state: State) -> State:
    """Return the state after a step of Newton's method, where that is better.

    Close to a point that is almost the median, curvatures differ so much that gradients are slow.
    """
    z = solve_hessian(_directions, data, state.point, state.direction, _NEWTON_TOLERANCE)
    z = torch.where(z.isfinite(), z, 0)  # logarithms of geoopt have no derivative at equal points
    point, _ = data.move(state.point, z)
    trial = data.evaluate(point)
    noise = 8 * torch.finfo(point.dtype).eps * state.value
    return _choose((trial.residual < state.residual) & (trial.value <= state.value + noise), trial, state)


def _choose(condition: Tensor, new: State, old: State) -> State:
    return State(*(torch.where(condition, a, b) for a, b in zip(new, old, strict=True)))


def _attached(data: _Distances, solution: Tensor) -> Tensor:
    """Return the median with its gradient: where it is one of the points, that point itself."""
    with torch.no_grad():
        here = data.coincide(solution, data.distances(solution, data.logarithms(solution)))
        here &= append_dimensions(data.weights, data.manifold.ndim) > 0
        index = here.to(torch.uint8).argmax(data.axis, keepdim=True)
    smooth = differentiable(_directions, data, solution)
    return torch.where(here.any(data.axis), data.take(index), smooth)
