"""The search for the nearest point of a submanifold, as an objective of a Barzilai–Borwein descent."""

import torch
from torch import Tensor

from ...manifolds.descent import Descent, Objective, State, descend
from .bias_submanifold import Projection

__all__ = ["nearest", "state"]

_ITERATIONS = 300
_TOLERANCE, _SLACK = 64.0, 100.0  # rounding units


def state(point: Tensor, direction: Tensor, residual: Tensor, value: Tensor) -> State:
    """Return a state of ``½ d²``, whose residual is relative to ``1 + d``; each number is ``(N, 1, ..., 1)``.

    Example:
        >>> state(torch.zeros(1, 2), torch.zeros(1, 2), torch.zeros(1, 1), torch.full((1, 1), 2.0)).scale
        tensor([[3.]])
    """
    distance = (2 * value).clamp_min(0).sqrt()
    return State(point, direction, residual, value, 1 + distance, torch.ones_like(value), distance)


def nearest(objective: Objective, start: Tensor) -> Descent:
    """Return the end of the descent from points ``(N, *point)``."""
    eps = torch.finfo(start.dtype).eps
    with torch.no_grad():
        return descend(objective, start, _TOLERANCE * eps, _SLACK, _ITERATIONS)


def projection(points: Tensor, found: Descent, batch: tuple[int, ...]) -> Projection:
    """Return what was found of flat points, in the shape of the batch."""
    residual, iterations, converged = (
        part.reshape(batch) for part in (found.state.residual, found.iterations, found.converged)
    )
    return Projection(points.reshape(*batch, *points.shape[1:]), residual, iterations, converged)
