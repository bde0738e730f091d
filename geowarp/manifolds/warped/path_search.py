"""The path of least energy between two points, by a limited-memory quasi-Newton method for many pairs."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .frame import Frame, path_ends
from .memory import Step, quasi_newton_direction, remembered_step, select_steps

__all__ = ["Paths", "Search", "search"]

_HALVINGS = 20
_MEMORY = 6
_SUFFICIENT = 1e-4  # decrease, as a share of what the slope promises
_STALLED = 16  # steps without progress, after which rounding has been reached


class Paths(Protocol):
    """A kind of path: what its segments measure, and how its energy is linearized."""

    @property
    def base(self) -> geoopt.Manifold:
        """The manifold that the points are on."""
        ...

    def squared_lengths(self, points: Tensor) -> Tensor:
        """Return those of the segments ``(B, N)`` of paths ``(B, N + 1, *point)``."""
        ...

    def linearize(self, points: Tensor, frame: Frame) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the gradient of ``½ Σ l_i²``, and an approximate inverse of its Hessian."""
        ...

    def base_length(self, x: Tensor, y: Tensor, panels: int) -> Tensor:
        """Return the length of the geodesic of the base from x to y, ``(B,)``, by so many panels."""
        ...

    def gradient(self, points: Tensor, *, create_graph: bool = False) -> tuple[Tensor, Tensor]:
        """Return the gradient of ``½ Σ l_i²`` by inner points, ``(B, N − 1, *point)``, and a part of it."""
        ...

    def momentum(self, points: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return ``−½ ∂(N Σ l_i²)/∂x`` at the starts x of the paths, raised by the base metric."""
        ...

    def raised(self, x: Tensor, momentum: Tensor, *, create_graph: bool = False) -> Tensor:
        """Return the velocity of a momentum, both tangent vectors at x."""
        ...


class Search(NamedTuple):
    """The paths found, and how the search ended.

    ``residual`` is the norm of the gradient in that of the inverse Hessian, relative to the length: by about
    how much of its length a path is still off.
    """

    points: Tensor
    residual: Tensor
    iterations: Tensor


@torch.no_grad()
def search(paths: Paths, points: Tensor, tolerance: Tensor, max_iterations: int) -> Search:
    """Return the paths ``(B, N + 1, *point)`` of least energy, from given ones on, with the same ends.

    L-BFGS in the tangent space at the middle of each path, with the inverse Hessian of ``linearize`` for its
    first matrix, and steps that are halved where the energy grows. Paths that are found leave the batch.

    Args:
        paths: what is measured.
        points: to start from.
        tolerance: of the residual of each path, ``(B,)``.
        max_iterations: the largest number of steps.

    References:
        Nocedal, Wright, Numerical optimization, 2nd ed. (2006), algorithm 7.4.
    """
    found = Search(
        points.clone(),
        points.new_full(points.shape[:1], torch.inf),
        torch.zeros(points.shape[0], dtype=torch.long, device=points.device),
    )
    state = _start(paths, points)
    for iteration in range(max_iterations + 1):
        residual = _residual(state)
        better = residual < found.residual[state.which]
        _keep(found, state, residual, better, iteration)
        state = state._replace(stalled=torch.where(better, 0, state.stalled + 1))
        going = (residual > tolerance[state.which]) & (state.stalled < _STALLED)
        if iteration == max_iterations or not bool(going.any()):
            break
        state = _step(paths, _select(state, going))
    return found


class _State(NamedTuple):
    which: Tensor
    points: Tensor
    energy: Tensor
    gradient: Tensor
    direction: Tensor
    slope: Tensor
    stalled: Tensor
    frame: Frame
    steps: tuple[Step, ...]


def _start(paths: Paths, points: Tensor) -> _State:
    frame = Frame(paths.base, points[:, points.shape[1] // 2])
    index = torch.arange(len(points), device=points.device)
    energy = paths.squared_lengths(points).sum(-1)
    return _linearized(paths, points, energy, index, torch.zeros_like(index), frame, None)


def _linearized(
    paths: Paths,
    points: Tensor,
    energy: Tensor,
    index: Tensor,
    stalled: Tensor,
    frame: Frame,
    last: tuple[_State, Tensor] | None,
) -> _State:
    gradient, inverse = paths.linearize(points, frame)
    steps: tuple[Step, ...] = ()
    if last is not None:
        before, step = last
        new = remembered_step(step, gradient - before.gradient, frame.lower)
        steps = (*before.steps[1 - _MEMORY :], new)
    direction = quasi_newton_direction(steps, gradient, inverse)
    slope = (frame.lower(gradient) * direction).sum((-2, -1))
    return _State(index, points, energy, gradient, direction, slope, stalled, frame, steps)


def _select(state: _State, going: Tensor) -> _State:
    if bool(going.all()):
        return state
    chosen = going.nonzero().squeeze(-1)
    frame = Frame(state.frame.base, state.frame.point[chosen])
    which, points, energy, gradient, direction, slope, stalled, _, steps = state
    which, points, energy = which[chosen], points[chosen], energy[chosen]
    gradient, direction, slope = gradient[chosen], direction[chosen], slope[chosen]
    remembered = select_steps(steps, chosen)
    return _State(which, points, energy, gradient, direction, slope, stalled[chosen], frame, remembered)


def _step(paths: Paths, state: _State) -> _State:
    """Return the state after a step that lowers the energy, to rounding."""
    rounding = 8 * torch.finfo(state.energy.dtype).eps * state.energy
    length = torch.ones_like(state.energy)
    for _ in range(_HALVINGS):
        points = _moved(paths, state, length)
        energy = paths.squared_lengths(points).sum(-1)
        enough = energy <= state.energy + _SUFFICIENT * length * state.slope + rounding
        if bool(enough.all()):
            break
        length = torch.where(enough, length, 0.5 * length)
    step = append_dimensions(length, 2) * state.direction
    return _linearized(paths, points, energy, state.which, state.stalled, state.frame, (state, step))


def _moved(paths: Paths, state: _State, length: Tensor) -> Tensor:
    ndim = int(paths.base.ndim)
    first, inner, last = path_ends(state.points, ndim)
    step = state.frame.out_of(inner, append_dimensions(length, 2) * state.direction)
    return torch.cat([first, paths.base.retr(inner, step), last], state.points.ndim - ndim - 1)


def _residual(state: _State) -> Tensor:
    tiny = torch.finfo(state.slope.dtype).tiny
    return ((-state.slope).clamp_min(0) / state.energy.clamp_min(tiny)).sqrt()


def _keep(found: Search, state: _State, residual: Tensor, better: Tensor, iteration: int) -> None:
    """Write down the best path of each problem so far."""
    index = state.which[better]
    found.points[index] = state.points[better]
    found.residual[index] = residual[better]
    found.iterations[state.which] = iteration
