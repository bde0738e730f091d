"""What bounds the distances of a warped metric from both sides."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg import safe_sqrt
from ..linalg.dimensions import append_dimensions
from ..linalg.quadrature import gauss_legendre
from .potential import Potential

__all__ = ["WarpedDistance", "base_geodesic_length", "panel_rule"]

_NODES = gauss_legendre(4)


class WarpedDistance(NamedTuple):
    """A distance between two bounds of the geodesic one.

    Example:
        >>> from geowarp.manifolds import Euclidean, FairnessWarped
        >>> plane = FairnessWarped(Euclidean(1), lambda x: x.square(), alpha=1.0)
        >>> plane.dist(torch.zeros(2), torch.tensor([1.0, 0.0]), return_bounds=True)
        WarpedDistance(distance=tensor(1.4789), lower=tensor(1.4142), upper=tensor(1.4789))
    """

    distance: Tensor
    """The distance that was asked for, ``(...)``."""
    lower: Tensor
    """The length of the chord, ``(...)``."""
    upper: Tensor
    """The length of the geodesic of the base manifold, ``(...)``."""


def panel_rule(panels: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes and weights on [0, 1] of 4 nodes on each of equal panels.

    Example:
        >>> nodes, weights = panel_rule(2, torch.zeros(1))
        >>> (weights * nodes**7).sum()
        tensor(0.1250)
    """
    nodes, weights = (torch.tensor(part, dtype=torch.float64) for part in zip(*_NODES, strict=True))
    start = torch.arange(panels, dtype=torch.float64)[:, None]
    return ((start + nodes) / panels).flatten().to(like), (weights / panels).repeat(panels).to(like)


def base_geodesic_length(
    base: geoopt.Manifold,
    potential: Potential,
    x: Tensor,
    y: Tensor,
    *,
    panels: int = 16,
    keeps_graph: bool = False,
) -> Tensor:
    """Return ``∫ √(|γ̇|² + |(b∘γ)'|²) dt`` of the geodesics γ of the base, ``(...)``, b scaled by √α.

    By the Gauss–Legendre rule of 4 nodes on each of equal panels, 16 of them by default.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> base_geodesic_length(Euclidean(1), lambda x: 2 * x, torch.zeros(1), torch.ones(1))
        tensor(2.2361)
    """
    ndim = int(base.ndim)
    velocity = base.logmap(x, y)
    square = base.dist2(x, y)
    times, weights = panel_rule(panels, x)
    with torch.enable_grad():
        time = times.expand(*square.shape, len(times)).clone().requires_grad_()
        start, direction = x.unsqueeze(-ndim - 1), velocity.unsqueeze(-ndim - 1)
        heights = potential(base.expmap(start, append_dimensions(time, ndim) * direction))
        rates = [
            torch.autograd.grad(
                height.sum(), time, retain_graph=True, create_graph=keeps_graph, materialize_grads=True
            )[0]
            for height in heights.unbind(-1)
            if height.requires_grad
        ]
    speeds = safe_sqrt(square[..., None] + sum(rate.square() for rate in rates))
    return (weights * (speeds if keeps_graph else speeds.detach())).sum(-1)
