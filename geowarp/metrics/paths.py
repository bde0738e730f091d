"""Points between points: geodesics and what is piecewise geodesic."""

from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NonFiniteError
from ..manifolds import Manifold
from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.dimensions import append_dimensions
from .arrays import Array, accepts_arrays, tensors
from .validation import check_batches, check_operation, check_pair, check_points

__all__ = ["geodesic", "interpolate", "midpoint"]


@accepts_arrays
def geodesic(manifold: geoopt.Manifold, t: Array | float, x: Array, y: Array) -> Array:
    """Return ``exp_x(t log_x y)``, the geodesic that is at x for t = 0 and at y for t = 1.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        t: a number, or a tensor or array that broadcasts with the batch dimensions of x and y: for m times of
            a batch of B points, ``(m, 1)`` gives ``(m, B, *point)``.
        x: ``(..., *point)``, a tensor or a numpy array.
        y: ``(..., *point)``.

    Raises:
        GeowarpError: for points of different shapes or dtypes.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points that are infinite or not a number.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> geodesic(Sphere(), torch.tensor([0.0, 0.5]), torch.eye(2)[0], torch.eye(2)[1])
        tensor([[1.0000, 0.0000],
                [0.7071, 0.7071]])
    """
    time, start, end = tensors(t, x, y)
    check_pair(manifold, start, end)
    check_operation(manifold, "logmap")
    batches = [points.shape[: points.ndim - manifold.ndim] for points in (start, end)]
    check_batches("geodesic", *batches)
    if isinstance(time, Tensor):
        check_batches("geodesic", time.shape, broadcast_shapes(*batches), ("t", "x and y"))
    point: Array = tensors(_between(manifold, time, start, end))
    return point


@accepts_arrays
def midpoint(manifold: geoopt.Manifold, x: Array, y: Array) -> Array:
    """Return the point halfway between x and y, which is their Fréchet mean.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., *point)``, a tensor or a numpy array.
        y: ``(..., *point)``; batch dimensions broadcast.

    Raises:
        GeowarpError: for points of different shapes or dtypes.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points that are infinite or not a number.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> midpoint(Sphere(), torch.eye(2)[0], torch.eye(2)[1])
        tensor([0.7071, 0.7071])
    """
    start, end = tensors(x, y)
    point: Array = tensors(geodesic(manifold, 0.5, start, end))
    return point


@accepts_arrays
def interpolate(manifold: geoopt.Manifold, x: Array, t: Array | float, knots: Array | None = None) -> Array:
    """Return the piecewise geodesic curve through points, at any times: ``numpy.interp`` on a manifold.

    Between two knots the curve is the geodesic from one point to the next, at constant speed. Before the
    first and after the last knot it stays at the end. Differentiable in points, times and knots.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., N, *point)``, a tensor or a numpy array.
        t: times, of any shape.
        knots: ``(N,)``, increasing, the times of the points; by default 0, ..., N − 1.

    Returns:
        ``(..., *t.shape, *point)``.

    Raises:
        GeowarpError: for no points, and for knots that are not N increasing numbers.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points, times or knots that are infinite or not a number.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> interpolate(Sphere(), torch.eye(3), torch.tensor([0.5, 1.0, 7.0]))
        tensor([[0.7071, 0.7071, 0.0000],
                [0.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    points, time, given = tensors(x, t, knots)
    check_points(manifold, points)
    check_operation(manifold, "logmap")
    axis = -manifold.ndim - 1
    if points.ndim < -axis or points.shape[axis] == 0:
        raise GeowarpError(
            f"interpolate: the points have shape {tuple(points.shape)}; it needs (..., N, *point), N > 0"
        )
    count = points.shape[axis]
    time = torch.as_tensor(time, dtype=points.dtype, device=points.device)
    grid = _knots(points, given, count)
    if not bool(time.isfinite().all()):
        raise NonFiniteError(f"interpolate: {int((~time.isfinite()).sum())} times are not finite")
    curve: Array = tensors(_piecewise(manifold, points, time, grid))
    return curve


def _piecewise(manifold: Any, points: Tensor, time: Tensor, knots: Tensor) -> Tensor:
    axis, count = -int(manifold.ndim) - 1, len(knots)
    flat = time.reshape(-1)
    segment = torch.searchsorted(knots.detach(), flat.detach(), right=True).sub(1).clamp(0, max(count - 2, 0))
    start = points.index_select(axis, segment)
    if count > 1:
        ends = (points.narrow(axis, i, count - 1) for i in (0, 1))
        velocity = manifold.logmap(*ends).index_select(axis, segment)
        length = knots[segment + 1] - knots[segment]
        share = ((flat - knots[segment]) / length).clamp(0, 1)
        at_end = append_dimensions(share >= 1, manifold.ndim)
        end = points.index_select(axis, segment + 1)
        start = torch.where(at_end, end, _along(manifold, share, start, velocity))
    batch, point = points.shape[: points.ndim + axis], points.shape[points.ndim + axis + 1 :]
    return start.reshape(batch + time.shape + point)


def _between(manifold: Any, t: Tensor | float, x: Tensor, y: Tensor) -> Tensor:
    if isinstance(manifold, Manifold):
        point: Tensor = manifold.geodesic(t, x, y)
        return point
    return _along(manifold, t, x, manifold.logmap(x, y))


def _along(manifold: Any, t: Tensor | float, x: Tensor, u: Tensor) -> Tensor:
    time = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    point: Tensor = manifold.expmap(x, append_dimensions(time, manifold.ndim) * u)
    return point


def _knots(points: Tensor, knots: Tensor | None, count: int) -> Tensor:
    if knots is None:
        return torch.arange(count, dtype=points.dtype, device=points.device)
    if not isinstance(knots, Tensor):
        raise GeowarpError(f"interpolate: knots is a {type(knots).__name__}, neither a tensor nor an array")
    if tuple(knots.shape) != (count,):
        raise GeowarpError(
            f"interpolate: the knots have shape {tuple(knots.shape)}; {count} points need ({count},)"
        )
    if not bool(knots.isfinite().all()):
        raise NonFiniteError(f"interpolate: {int((~knots.isfinite()).sum())} knots are not finite")
    knots = knots.to(points.dtype)
    steps = knots.diff()
    if bool((steps <= 0).any()):
        index = int((steps <= 0).nonzero()[0])
        first, second = knots[index].item(), knots[index + 1].item()
        raise GeowarpError(
            f"interpolate: knots[{index}] = {first:g} and knots[{index + 1}] = {second:g} do not increase; "
            "sort the points by their knots and leave one of each"
        )
    return knots
