"""Geodesics of ``g + Σ db_k ⊗ db_k`` from a point and a velocity, by a variational integrator."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .flow_end import FlowEnd, speed_drift
from .frame import inner_product
from .graph_metric import gradients, lowered, raised, slopes
from .potential import Potential

__all__ = ["graph_flow"]

_NEWTON = 15


def graph_flow(
    base: geoopt.Manifold,
    potential: Potential,
    x: Tensor,
    u: Tensor,
    steps: int,
    *,
    keeps_graph: bool = False,
) -> FlowEnd:
    """Return where the geodesic of velocity u from x, ``(B, *point)``, is at time 1, after so many steps.

    The discrete Euler–Lagrange equations of the energy ``Σ d_g(x_i, x_{i+1})² + ‖b(x_{i+1}) − b(x_i)‖²``: of
    x_i and its impulse q_i, the next point is ``exp_{x_i}(q_i − Σ s_k grad b_k(x_i))``, where K numbers
    ``s = b(x_{i+1}) − b(x_i)`` are solved for by Newton's method, and its impulse is
    ``−log_{x_{i+1}}(x_i) + Σ s_k grad b_k(x_{i+1})``. The method is of order 2, symmetric and symplectic.

    Args:
        base: the base manifold.
        potential: √α b, maps ``(..., *point)`` to ``(..., K)``.
        x: the start.
        u: the velocity.
        steps: their number.
        keeps_graph: whether the end is to be differentiated, by x, u or what the potential has learned.

    References:
        Marsden, West, Discrete mechanics and variational integrators, Acta Numerica 10 (2001), section 1.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x, u = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]])
        >>> graph_flow(Euclidean(1), lambda x: 3 * x[..., :1], x, u, 4).point  # a linear b: straight lines
        tensor([[1., 2.]])
    """
    ndim = int(base.ndim)
    values, lifts = gradients(base, potential, x, create_graph=keeps_graph)
    speed = inner_product(base, x, u, u) + slopes(base, x, lifts, u).square().sum(-1)
    impulse = lowered(base, x, lifts, u / steps)
    start, chords = x, torch.zeros_like(speed)
    for _ in range(steps):
        guess = slopes(base, x, lifts, raised(base, x, lifts, impulse))
        rise = _rise(base, potential, x, impulse, values, lifts, guess, keeps_graph)
        before, x = x, _end(base, x, impulse, lifts, rise)
        chords = chords + base.dist2(before.detach(), x.detach()) + rise.detach().square().sum(-1)
        values, lifts = gradients(base, potential, x, create_graph=keeps_graph)
        impulse = (append_dimensions(rise, ndim) * lifts).sum(-ndim - 1) - base.logmap(x, before)
    return FlowEnd(x, speed_drift(base, start, speed, steps * chords))


def _end(base: geoopt.Manifold, x: Tensor, impulse: Tensor, lifts: Tensor, rise: Tensor) -> Tensor:
    ndim = int(base.ndim)
    end: Tensor = base.expmap(x, impulse - (append_dimensions(rise, ndim) * lifts).sum(-ndim - 1))
    return end


def _rise(
    base: geoopt.Manifold,
    potential: Potential,
    x: Tensor,
    impulse: Tensor,
    values: Tensor,
    lifts: Tensor,
    guess: Tensor,
    keeps_graph: bool,
) -> Tensor:
    """Return the s with ``b(end(s)) − b(x) = s``; its derivatives are those of the last Newton step."""

    def departure(rise: Tensor) -> Tensor:
        return potential(_end(base, x, impulse, lifts, rise)) - values - rise

    rise, slope = guess.detach(), torch.zeros(())
    eps, before = torch.finfo(x.dtype).eps, x.new_full(x.shape[:1], torch.inf)
    going = torch.ones_like(before, dtype=torch.bool)
    for _ in range(_NEWTON):
        gap, slope = _linearized(departure, rise)
        change = torch.linalg.solve_ex(slope, gap[..., None])[0][..., 0]
        size = (change.abs() / (1 + rise.abs() + values.detach().abs())).amax(-1)
        rise = torch.where(going[:, None], rise - change, rise)
        going, before = going & (size >= 4 * eps) & (size < before), size
        if not bool(going.any()):
            break
    if not keeps_graph:
        return rise
    exact: Tensor = rise - torch.linalg.solve(slope, departure(rise)[..., None])[..., 0]
    return exact


def _linearized(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values ``(B, K)`` and the derivatives ``(B, K, K)``, both without a graph."""
    with torch.enable_grad():
        variable = at.detach().requires_grad_()
        values = function(variable)
        count = values.shape[-1]
        rows = [
            torch.autograd.grad(values[..., k].sum(), variable, retain_graph=True)[0] for k in range(count)
        ]
    return values.detach(), torch.stack(rows, -2)
