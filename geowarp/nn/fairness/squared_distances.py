"""All squared distances to a few points, differentiable as often as the distance is."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..distance_attention.flat_coordinates import flat_coordinates
from ..distance_attention.scores import Score, SquaredDistance

__all__ = ["all_squares"]


def all_squares(score: Score, base: geoopt.Manifold, x: Tensor, members: Tensor) -> Tensor:
    """Return minus the score, ``(..., N, M)``, of points ``(..., N, *point)`` and members ``(M, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> all_squares(SquaredDistance(), Euclidean(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[25.]])
    """
    if type(score) is SquaredDistance:
        first = flat_coordinates(base, x)
        second = None if first is None else flat_coordinates(base, members)
        if first is not None and second is not None:
            return _flat_squares(first, second)
        squares: Tensor = base.dist2(x.unsqueeze(-base.ndim - 1), members)
        return squares
    return -score.logits(base, x, members)


def _flat_squares(x: Tensor, y: Tensor) -> Tensor:
    """Return ``‖x − y‖²`` with the digits of the differences and the derivatives of the expanded square."""
    centre = y.detach().mean(-2)
    a, b = x - centre, y - centre
    expanded = a.square().sum(-1)[..., None] + b.square().sum(-1) - 2 * a @ b.mT
    exact = torch.cdist(x.detach(), y.detach(), compute_mode="donot_use_mm_for_euclid_dist").square()
    return expanded + (exact - expanded).detach()
