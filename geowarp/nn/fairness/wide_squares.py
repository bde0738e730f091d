"""Squared distances of points in single precision, by matrix products in double precision."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Lorentz, PoincareBall
from ...manifolds.linalg.hyperbolic import margin, widen
from ..distance_attention.flat_coordinates import flat_coordinates
from ..distance_attention.scores import ChordalSquaredDistance, Score, SquaredDistance
from ..distance_attention.unit_hyperboloid import is_hyperbolic

__all__ = ["wide_squares"]

_MANY = 256  # points, for which a product costs less than differences do


def wide_squares(score: Score, base: geoopt.Manifold, x: Tensor, members: Tensor) -> Tensor | None:
    """Return minus the score, ``(N, M)``, of many points ``(N, *point)``; None where another way is as good.

    That is for flat spaces, and chords of hyperbolic space. All digits of single precision are right, also
    of close points.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> x = torch.zeros(300, 2)
        >>> wide_squares(SquaredDistance(), Euclidean(1), x, torch.tensor([[3.0, 4.0]]))[0]
        tensor([25.])
    """
    known = type(score) is SquaredDistance or type(score) is ChordalSquaredDistance
    if x.dtype != torch.float32 or x.shape[0] < _MANY or not known or x.device.type != "cpu":
        return None
    if is_hyperbolic(base):
        return None if type(score) is SquaredDistance else _chords(base, x, members).to(x.dtype)
    first, second = flat_coordinates(base, x), flat_coordinates(base, members)
    return None if first is None or second is None else _squares(first, second).clamp_min(0).to(x.dtype)


def _chords(base: Lorentz | PoincareBall, x: Tensor, y: Tensor) -> Tensor:
    if isinstance(base, Lorentz):
        x, y = x[..., 1:], y[..., 1:]
        first, second = ((base.k + _length(p).square()).sqrt() for p in (x, y))
        rise = first[..., None] * second - base.k - widen(x) @ widen(y).mT
        return 2 * rise.clamp_min(0)
    least = margin(x.dtype) / 8
    gaps = ((1 - base.c * _length(p).square()).clamp_min(least) for p in (x, y))
    first, second = gaps
    return 4 * _squares(x, y).clamp_min(0) / (first[..., None] * second)


def _squares(x: Tensor, y: Tensor) -> Tensor:
    first, second = (_length(p).square() for p in (x, y))
    return torch.addmm(first[..., None], widen(x), widen(y).mT, alpha=-2).add_(second)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64)
    return length
