"""Where flows of several step sizes end, extrapolated."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import NumericalWarning
from ..linalg.dimensions import append_dimensions
from .extrapolation import halvings, romberg
from .frame import rounding_length

__all__ = ["extrapolated_end"]

_APART = 0.25  # as a share of the way
_ROUNDINGS = 1e4


def extrapolated_end(
    base: geoopt.Manifold, flow: Callable[[int], Tensor], segments: int, x: Tensor, u: Tensor
) -> Tensor:
    """Return the limit of the ends ``(B, *point)`` that a flow of 4, 8, ..., N steps reaches.

    Errors that are a series in 1/N² are extrapolated in the tangent space at the last end. Where that moves
    the end by more than the last doubling of the steps did, they are no such series, and it is the last end.

    Args:
        base: the base manifold.
        flow: from a number of steps to the ends.
        segments: N.
        x: the start.
        u: the velocity, which says with the way travelled how far ends may be apart.

    Warns:
        NumericalWarning: where the last two ends are far apart.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x, u = torch.zeros(1), torch.ones(1)
        >>> extrapolated_end(Euclidean(0), lambda n: torch.tensor([1 + n**-2]), 8, x, u)
        tensor([1.])
    """
    ends = [flow(level) for level in halvings(segments)]
    last: Tensor = ends[-1]
    changes = [base.logmap(last, end) for end in ends[:-1]]
    limit, _ = romberg([*changes, torch.zeros_like(last)])
    if changes:
        limit = torch.where(_converging(base, x, u, last, changes[-1], limit), limit, 0)
    end: Tensor = base.expmap(last, limit)
    return end


@torch.no_grad()
def _converging(
    base: geoopt.Manifold, x: Tensor, u: Tensor, last: Tensor, change: Tensor, limit: Tensor
) -> Tensor:
    gap, correction = (base.norm(last, vectors) for vectors in (change, limit))
    way = torch.maximum(base.norm(x, u), base.dist(x, last))
    far = ~(gap <= _APART * way + _ROUNDINGS * rounding_length(base, last))
    if bool(far.any()):
        warn(
            f"the steps of {int(far.sum())} of {far.numel()} geodesics are too long: half as many end up to "
            f"{float(gap.max()):.1e} away; shorten the velocity, or raise segments",
            NumericalWarning,
        )
    converging: Tensor = append_dimensions(correction <= gap, int(base.ndim))
    return converging
