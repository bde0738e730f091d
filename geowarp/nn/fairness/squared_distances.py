"""All squared distances to a few points, differentiable as often as the distance is."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Lorentz, Manifold, PoincareBall
from ...manifolds.linalg.hyperbolic import Curvature, widen
from ..distance_attention.flat_coordinates import flat_coordinates
from ..distance_attention.scores import Score, SquaredDistance
from .wide_squares import wide_squares

__all__ = ["all_squares"]

_SERIES = 0.03  # below it, arsinh² by 11 terms
_TERMS = 10


def all_squares(score: Score, base: geoopt.Manifold, x: Tensor, members: Tensor) -> Tensor:
    """Return minus the score, ``(N, M)``, of points ``(N, *point)`` and members ``(M, *point)``.

    The values are those of the score. Where a gradient is recorded, the squared geodesic distance has all
    its derivatives: flat and hyperbolic ones by a matrix product, in the memory of the result, others by the
    distances of pairs, as often as those have.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> all_squares(SquaredDistance(), Euclidean(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[25.]])
    """
    if type(score) is not SquaredDistance or not (torch.is_grad_enabled() and x.requires_grad):
        wide = wide_squares(score, base, x, members)
        return -score.logits(base, x, members) if wide is None else wide
    if isinstance(base, PoincareBall | Lorentz):
        return _hyperbolic_squares(base, x, members)
    first = flat_coordinates(base, x)
    second = None if first is None else flat_coordinates(base, members)
    if first is None or second is None:
        pair = x.unsqueeze(-base.ndim - 1), members
        squares: Tensor = base.dist2(*pair) if isinstance(base, Manifold) else base.dist(*pair).square()
        return squares
    return _valued(_products(first, second), -score.logits(base, x.detach(), members))


def _valued(formula: Tensor, value: Tensor) -> Tensor:
    """Return the value, with the derivatives of a formula that has fewer of its digits."""
    return formula + (value - formula).detach()


def _products(x: Tensor, y: Tensor) -> Tensor:
    centre = y.detach().mean(-2)
    a, b = x - centre, y - centre
    return a.square().sum(-1)[..., None] + b.square().sum(-1) - 2 * a @ b.mT


def _hyperbolic_squares(base: PoincareBall | Lorentz, x: Tensor, y: Tensor) -> Tensor:
    """Return ``4/c arsinh²(√z)`` with ``z = sinh²(√c d / 2)``, rational in the entries of the ball."""
    c: Curvature = base.c if isinstance(base, PoincareBall) else 1 / base.k
    with torch.no_grad():
        value = (c**0.5 / 2 * widen(base.cdist(x, y))).sinh().square()
    if isinstance(base, PoincareBall):
        formula = _ball_products(widen(x), widen(y), c)
    else:
        formula = _sheet_products(widen(x[..., 1:]), widen(y[..., 1:]), c)
    return (4 / c * _squared_arsinh(_valued(formula, value))).to(x.dtype)


def _ball_products(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    gaps = (1 - c * x.square().sum(-1))[..., None] * (1 - c * y.square().sum(-1))
    return c * _products(x, y) / gaps


def _sheet_products(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    times = ((1 + c * p.square().sum(-1)).sqrt() for p in (x, y))
    first, second = times
    return 0.5 * (first[..., None] * second - 1 - c * x @ y.mT)


def _squared_arsinh(z: Tensor) -> Tensor:
    """Return ``arsinh²(√z)``, which is analytic at 0, of ``z >= 0``."""
    small = z < _SERIES
    near, factor = torch.where(small, z, 0), torch.ones_like(z)
    for n in range(_TERMS, 0, -1):  # Σ (−1)ⁿ⁻¹ a_n zⁿ with a_1 = 1, a_n+1 / a_n = 2n² / ((2n + 1) (n + 1))
        factor = 1 - 2 * n * n / ((2 * n + 1) * (n + 1)) * near * factor
    return torch.where(small, near * factor, torch.where(small, 1, z).sqrt().asinh().square())
