"""Distances."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .measure import deviation, near, operation, require, rounding, stack

__all__ = [
    "check_distance_squared",
    "check_distance_symmetric",
    "check_distance_zero",
    "check_pairwise_distance",
    "check_triangle_inequality",
]


def check_distance_symmetric(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``dist(x, y) = dist(y, x)``, positive where y is not x; return the largest deviation.

    ``difference`` is as for ``check_exponential_inverts_logarithm``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_distance_symmetric(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    y = near(manifold, x, seed, radius)
    there, back = manifold.dist(x, y), manifold.dist(y, x)
    value = deviation(there, back)
    apart = difference(x, y).abs()
    apart = apart.flatten(there.dim()).amax(-1) if manifold.ndim else apart
    if bool((apart[there <= 0] > rounding(x, None)).any()):
        value = float("inf")
    return require(manifold, "|dist(x, y) − dist(y, x)|", value, rounding(x, tolerance))


def check_triangle_inequality(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``dist(x, z) ≤ dist(x, y) + dist(y, z)``, with z close to y and far; return the largest excess.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_triangle_inequality(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    y, largest = near(manifold, x, seed, radius / 2), 0.0
    for length in (radius / 2, radius / 100):
        z = near(manifold, y, seed, length)
        excess = manifold.dist(x, z) - manifold.dist(x, y) - manifold.dist(y, z)
        value = deviation(excess.clamp_min(0), torch.zeros_like(excess))
        require(manifold, "dist(x, z) − dist(x, y) − dist(y, z)", value, rounding(x, tolerance))
        largest = max(largest, value)
    return largest


def check_distance_zero(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``dist(x, x)`` is 0 and its gradient too; return the largest of both.

    ``seed`` has no effect.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_distance_zero(Sphere(), Sphere().random(4, 3))
        0.0
    """
    a, b = (x.detach().clone().requires_grad_() for _ in range(2))
    distance = manifold.dist(a, b)
    bound = rounding(x, tolerance)
    value = require(manifold, "|dist(x, x)|", deviation(distance, torch.zeros_like(distance)), bound)
    gradients = torch.autograd.grad(distance.sum(), (a, b))
    steepest = max(deviation(gradient, torch.zeros_like(x)) for gradient in gradients)
    return max(value, require(manifold, "|gradient of dist at (x, x)|", steepest, bound))


def check_distance_squared(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``dist2(x, y) = dist(x, y)²``, at equal points too; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_distance_squared(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    points = (x, near(manifold, x, seed, 0.7 * radius))
    value = max(deviation(manifold.dist2(x, y), manifold.dist(x, y).square()) for y in points)
    return require(manifold, "|dist2(x, y) − dist(x, y)²|", value, rounding(x, tolerance))


def check_pairwise_distance(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that ``cdist`` of (..., 3) and (..., 2) points is ``dist`` of all pairs, a common one included.

    Returns the largest deviation.

    Raises:
        NotImplementedError: where the manifold has no ``cdist``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_pairwise_distance(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    axis = -manifold.ndim - 1
    a = stack(manifold, [near(manifold, x, seed + i, radius) for i in range(3)])
    b = stack(manifold, [a.select(axis, 0), near(manifold, x, seed + 3, radius)])
    pairs = manifold.dist(a.unsqueeze(axis), b.unsqueeze(axis - 1))
    value = deviation(operation(manifold, "cdist")(a, b), pairs)
    return require(manifold, "|cdist(a, b) − dist of the pairs|", value, rounding(x, tolerance))
