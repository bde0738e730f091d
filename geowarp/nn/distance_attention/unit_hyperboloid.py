"""Points of both models of hyperbolic space on the hyperboloid of curvature −1."""

from typing import TypeGuard

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Lorentz, PoincareBall
from ...manifolds.linalg.hyperbolic import Curvature, margin, widen
from ...manifolds.linalg.hyperboloid import time

__all__ = ["cosh_and_factor", "is_hyperbolic", "radius_squared", "unit_hyperboloid"]


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


def unit_hyperboloid(
    manifold: Lorentz | PoincareBall, x: Tensor, dtype: torch.dtype | None = None, *, mirrored: bool = False
) -> Tensor:
    """Return ``(x_0, x_s) / √k``, ``(..., 1 + n)``, of points of either model.

    With ``⟨x, y⟩ = −x_0 y_0 + x_sᵀy_s`` of these, distances are ``√k arcosh(−⟨x, y⟩)``.

    Args:
        manifold: the model.
        x: points, ``(..., 1 + n)`` or ``(..., n)``.
        dtype: of the result; by default float64 for float32.
        mirrored: whether to give ``(x_0, −x_s) / √k``, whose products with others are ``−⟨x, y⟩``.

    Example:
        >>> unit_hyperboloid(PoincareBall(), torch.tensor([0.5, 0.0]), torch.float32)
        tensor([1.6667, 1.3333, 0.0000])
    """
    wide = widen(x)  # once: the gradients of time and space cancel, and are added before they are rounded
    first, factor = cosh_and_factor(manifold, wide, x.dtype)
    dtype = first.dtype if dtype is None else dtype
    points = wide if dtype == wide.dtype else x.to(dtype)
    rest = points[..., 1:] if isinstance(manifold, Lorentz) else points
    return torch.cat([first.to(dtype), rest * (-factor if mirrored else factor).to(dtype)], -1)


def cosh_and_factor(manifold: Lorentz | PoincareBall, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return ``x_0 / √k``, ``(..., 1)``, and what ``x_s / √k`` is a multiple of the entries by.

    Args:
        manifold: the model.
        x: points in double precision.
        dtype: that they had before.

    Example:
        >>> cosh_and_factor(PoincareBall(), torch.tensor([0.5, 0.0]), torch.float32)
        (tensor([1.6667]), tensor([2.6667]))
    """
    if isinstance(manifold, Lorentz):
        root = manifold.k**0.5
        return time(x[..., 1:], manifold.k) / root, torch.as_tensor(1 / root, dtype=x.dtype, device=x.device)
    gap = (1 - manifold.c * x.square().sum(-1, keepdim=True)).clamp_min(margin(dtype) / 8)
    return (2 - gap) / gap, 2 * manifold.c**0.5 / gap
