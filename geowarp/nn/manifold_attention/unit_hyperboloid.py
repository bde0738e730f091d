"""Points of both models of hyperbolic space on the hyperboloid of curvature −1."""

from typing import TypeGuard

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Lorentz, PoincareBall
from ...manifolds.linalg import ball
from ...manifolds.linalg.hyperbolic import Curvature, widen
from ...manifolds.linalg.hyperboloid import space, time

__all__ = ["is_hyperbolic", "radius_squared", "unit_hyperboloid"]


def is_hyperbolic(manifold: geoopt.Manifold) -> TypeGuard[Lorentz | PoincareBall]:
    """Return whether it is a model of hyperbolic space.

    Example:
        >>> is_hyperbolic(Lorentz())
        True
    """
    return isinstance(manifold, Lorentz | PoincareBall)


def radius_squared(manifold: Lorentz | PoincareBall) -> Curvature:
    """Return k, where the curvature is −1/k.

    Example:
        >>> radius_squared(PoincareBall(0.25))
        4.0
    """
    return manifold.k if isinstance(manifold, Lorentz) else 1 / manifold.c


def unit_hyperboloid(manifold: Lorentz | PoincareBall, x: Tensor) -> Tensor:
    """Return ``(x_0, x_s) / √k``, ``(..., 1 + n)``, of points of either model, in float64 of float32.

    With ``⟨x, y⟩ = −x_0 y_0 + x_sᵀy_s`` of these, distances are ``√k arcosh(−⟨x, y⟩)``.

    Example:
        >>> unit_hyperboloid(PoincareBall(), torch.tensor([0.5, 0.0]))
        tensor([1.6667, 1.3333, 0.0000], dtype=torch.float64)
    """
    if isinstance(manifold, Lorentz):
        part = space(x) / manifold.k**0.5
    else:
        part = widen(x) * (2 * manifold.c**0.5 / ball.wide_boundary_gap(x, manifold.c))
    return torch.cat([time(part, 1.0), part], -1)
