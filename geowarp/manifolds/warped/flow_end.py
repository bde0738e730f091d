"""Where flows of several step sizes end, extrapolated."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import NumericalWarning
from ..linalg.dimensions import append_dimensions
from .extrapolation import halvings, romberg
from .frame import rounding_length

__all__ = ["FlowEnd", "extrapolated_end", "speed_drift"]

_DRIFT = 0.5
_ROUNDINGS = 1e5


class FlowEnd(NamedTuple):
    """Where a flow of one step size ends, ``(B, *point)``, and its ``speed_drift``, ``(B,)``.

    Example:
        >>> FlowEnd(torch.ones(1), torch.zeros(1)).drift
        tensor([0.])
    """

    point: Tensor
    drift: Tensor


@torch.no_grad()
def speed_drift(base: geoopt.Manifold, x: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return by what share of itself a squared speed has changed, ``(B,)``, and 0 where rounding explains it.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> speed_drift(Euclidean(0), torch.zeros(1), torch.tensor([4.0]), torch.tensor([5.0]))
        tensor([0.2500])
    """
    hidden = (_ROUNDINGS * rounding_length(base, x)).square() + torch.finfo(x.dtype).tiny
    return (after - before).abs() / (before + hidden)


def extrapolated_end(base: geoopt.Manifold, flow: Callable[[int], FlowEnd], segments: int) -> Tensor:
    """Return the limit of the ends ``(B, *point)`` that a flow of 4, 8, ..., N steps reaches.

    Errors that are a series in 1/N² are extrapolated in the tangent space at the last end. Where that moves
    the end by more than the last doubling of the steps did, or a flow does not keep its speed, they are no
    such series, and it is the last end.

    Warns:
        NumericalWarning: where the last flow does not keep its speed, as one does that leaps over hills.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> extrapolated_end(Euclidean(0), lambda n: FlowEnd(torch.tensor([1 + n**-2]), torch.zeros(1)), 8)
        tensor([1.])
    """
    *coarse, (last, drift) = (flow(level) for level in halvings(segments))
    astray = ~(drift <= _DRIFT)
    if bool(astray.any()):
        warn(
            f"{int(astray.sum())} of {astray.numel()} geodesics do not keep their speed: its square changes "
            f"by up to {float(drift.max()):.1e} of itself; shorten the velocity, or raise segments",
            NumericalWarning,
        )
    if not coarse:
        return last
    changes = [base.logmap(last, end.point) for end in coarse]
    limit, _ = romberg([*changes, torch.zeros_like(last)])
    gap, correction = (base.norm(last, vectors.detach()) for vectors in (changes[-1], limit))
    steady = torch.stack([end.drift <= _DRIFT for end in coarse]).all(0)
    converging = append_dimensions(steady & (correction <= gap), int(base.ndim))
    end: Tensor = base.expmap(last, torch.where(converging, limit, 0))
    return end
