"""Fréchet means."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .measure import deviation, near, operation, require, rounding, stack

__all__ = ["check_mean_midpoint", "check_mean_stationary"]


def check_mean_midpoint(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that the mean m of two points is midway: ``dist(x, m) = dist(m, y) = dist(x, y)/2``.

    Returns the largest deviation.

    Raises:
        NotImplementedError: where the manifold has no ``mean``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_mean_midpoint(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    mean, y = operation(manifold, "mean"), near(manifold, x, seed, radius)
    middle = mean(stack(manifold, [x, y]))
    half = manifold.dist(x, y) / 2
    value = max(deviation(manifold.dist(x, middle), half), deviation(manifold.dist(middle, y), half))
    return require(manifold, "|dist to the mean of two points − dist(x, y)/2|", value, rounding(x, tolerance))


def check_mean_stationary(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``Σ w log_m(x_i) = 0`` at the weighted mean m of four points; return the largest entry.

    The points lie within a third of the radius, where the mean is unique.

    Raises:
        NotImplementedError: where the manifold has no ``mean``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_mean_stationary(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    points = stack(manifold, [near(manifold, x, seed + i, radius / 3) for i in range(4)])
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype, device=x.device)
    centre = operation(manifold, "mean")(points, weights)
    axis = -manifold.ndim - 1
    logs = manifold.logmap(centre.unsqueeze(axis), points)
    gradient = (weights.reshape(-1, *[1] * manifold.ndim) * logs).sum(axis)
    value = deviation(gradient, torch.zeros_like(gradient))
    return require(manifold, "|Σ w log_m(x_i)| at the mean m", value, rounding(x, tolerance))
