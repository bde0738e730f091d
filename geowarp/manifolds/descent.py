"""Gradient descent along geodesics for a batch of problems at once, with Barzilai–Borwein steps."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Descent", "Objective", "State", "descend"]

_CHECK_EVERY = 4  # iterations, where reading a flag stops the device
_SMALLEST_STEP = 1e-3
_STEPS = 1 / 64, 4.0
_REFUSALS = 20


class State(NamedTuple):
    """What an objective knows at a point: each number is ``(..., 1, ..., 1)``."""

    point: Tensor
    direction: Tensor
    """Minus the gradient of the objective."""
    residual: Tensor
    """Its norm."""
    value: Tensor
    """The objective."""
    scale: Tensor
    """What the tolerance of the residual is relative to."""
    length: Tensor
    """The first step, in multiples of the direction."""
    radius: Tensor
    """The largest distance to a point of positive weight."""

    def improves_on(self, old: "State", step: Tensor) -> Tensor:
        """Return where the residual has decreased, or the objective by more than its rounding error."""
        noise = 8 * torch.finfo(old.value.dtype).eps * old.value.abs()
        descent = self.value <= old.value - noise - 0.25 * step * old.residual.square()
        return (self.residual < old.residual) | descent


class Objective(Protocol):
    """A function of points of a manifold to minimise, for a batch of problems."""

    def evaluate(self, point: Tensor) -> State:
        """Return the state at a point."""
        ...

    def finish(self, state: State) -> State:
        """Return the last state, with an accurate radius if the search itself did with less."""
        ...

    def move(self, centre: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic along u, and u transported there."""
        ...

    def inner(self, centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return the inner product of tangent vectors, ``(..., 1, ..., 1)``."""
        ...


class Descent(NamedTuple):
    """Where a descent ended: the state, how many steps were tried, and whether the residual is small."""

    state: State
    iterations: Tensor
    converged: Tensor


def descend(
    objective: Objective, start: Tensor, tolerance: float, slack: float, max_iterations: int
) -> Descent:
    """Minimise until each residual is within the tolerance, times ``scale``, or no step improves.

    A step that decreases neither the residual nor the objective is refused, and half of it is tried. Each
    problem has a step of its own, and stays where it is once it has converged.

    Args:
        objective: of a batch of points.
        start: ``(..., *point)``.
        tolerance: of the residual, relative to the scale.
        slack: how many times the tolerance still counts as converged.
        max_iterations: the largest number of steps.

    References:
        Iannazzo, Porcelli, The Riemannian Barzilai–Borwein method with nonmonotone line search and the matrix
        geometric mean computation, IMA J. Numer. Anal. 38 (2018).
    """
    state = objective.evaluate(start)
    step, iterations = torch.ones_like(state.residual), torch.zeros_like(state.residual, dtype=torch.long)
    refusals = torch.zeros_like(iterations)
    every = 1 if start.device.type == "cpu" else _CHECK_EVERY
    for iteration in range(max_iterations):
        active = (
            (state.residual > tolerance * state.scale) & (step >= _SMALLEST_STEP) & (refusals < _REFUSALS)
        )
        if iteration % every == 0 and not bool(active.any()):
            break
        size = step * state.length
        point, carried = objective.move(state.point, size * state.direction)
        trial = objective.evaluate(point)
        accept = active & trial.improves_on(state, size)
        after = _barzilai_borwein(objective, trial, carried, size)
        step = torch.where(accept, after, torch.where(active, 0.5 * step, step))
        state = State(*(torch.where(accept, new, old) for new, old in zip(trial, state, strict=True)))
        iterations += active
        refusals += active & ~accept
    return Descent(objective.finish(state), iterations, state.residual <= slack * tolerance * state.scale)


def _barzilai_borwein(objective: Objective, state: State, carried: Tensor, size: Tensor) -> Tensor:
    """Return the next step, in multiples of ``length``, from how the direction changed along the last one."""
    change = carried / size - state.direction
    square = objective.inner(state.point, change, change)
    curved = square > 0
    step = objective.inner(state.point, carried, change) / (torch.where(curved, square, 1) * state.length)
    return torch.where(curved & (step > 0), step, 1).clamp(*_STEPS)
