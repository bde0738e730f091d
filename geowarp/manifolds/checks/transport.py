"""Transports of tangent vectors."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .measure import deviation, direction, near, require, rounding, steps, tangent_departure

__all__ = [
    "check_transport_identity",
    "check_transport_isometric",
    "check_transport_linear",
    "check_transport_tangent",
    "check_transport_with_step",
]


def check_transport_tangent(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that ``transp(x, y, v)`` is tangent at y; return the largest departure.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_transport_tangent(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    y, bound = near(manifold, x, seed, radius), rounding(x, tolerance)
    moved = manifold.transp(x, y, direction(manifold, x, seed + 1))
    what = "departure of transp(x, y, v) from the tangent space at y"
    return require(manifold, what, tangent_departure(manifold, y, moved, bound), bound)


def check_transport_linear(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that ``transp(x, y, v)`` is linear in v; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_transport_linear(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    y = near(manifold, x, seed, radius)
    v, w = direction(manifold, x, seed + 1), direction(manifold, x, seed + 2)
    expected = 2 * manifold.transp(x, y, v) - 3 * manifold.transp(x, y, w)
    value = deviation(manifold.transp(x, y, 2 * v - 3 * w), expected)
    return require(manifold, "departure of transp from linearity", value, rounding(x, tolerance))


def check_transport_isometric(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``⟨transp v, transp w⟩_y = ⟨v, w⟩_x``, for a transport that claims it.

    Returns the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_transport_isometric(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    y = near(manifold, x, seed, radius)
    v, w = direction(manifold, x, seed + 1), direction(manifold, x, seed + 2)
    moved = manifold.inner(y, manifold.transp(x, y, v), manifold.transp(x, y, w))
    value = deviation(moved, manifold.inner(x, v, w))
    return require(manifold, "|⟨transp v, transp w⟩ − ⟨v, w⟩|", value, rounding(x, tolerance))


def check_transport_identity(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require ``transp(x, x, v) = v``; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_transport_identity(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    v = direction(manifold, x, seed)
    value = deviation(manifold.transp(x, x, v), v)
    return require(manifold, "|transp(x, x, v) − v|", value, rounding(x, tolerance))


def check_transport_with_step(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that ``retr_transp`` gives the point of ``retr`` and a tangent vector there; exp, too.

    ``transp_follow_retr`` and ``transp_follow_expmap`` must give the same vectors.

    Returns the largest departure.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_transport_with_step(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    u, v = direction(manifold, x, seed, radius), direction(manifold, x, seed + 1)
    bound, largest = rounding(x, tolerance), 0.0
    for step in steps(manifold, x):
        both = f"{step}_transp"
        y, moved = getattr(manifold, both)(x, u, v)
        apart = deviation(y, getattr(manifold, step)(x, u))
        require(manifold, f"|{both}(x, u, v)[0] − {step}(x, u)|", apart, bound)
        off = tangent_departure(manifold, y, moved, bound)
        require(manifold, f"departure of {both}(x, u, v)[1] from the tangent space", off, bound)
        still = deviation(getattr(manifold, both)(x, torch.zeros_like(u), v)[1], v)
        require(manifold, f"|{both}(x, 0, v)[1] − v|", still, bound)
        follow = deviation(getattr(manifold, f"transp_follow_{step}")(x, u, v), moved)
        require(manifold, f"|transp_follow_{step}(x, u, v) − {both}(x, u, v)[1]|", follow, bound)
        largest = max(largest, apart, off, still, follow)
    return largest
