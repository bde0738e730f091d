"""Retractions: where they land, and how closely they follow a geodesic."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError
from .measure import deviation, direction, point_departure, require, rounding, steps

__all__ = ["check_exponential_order", "check_retraction_lands", "check_retraction_order"]


def _separation(manifold: geoopt.Manifold, x: Tensor, y: Tensor, u: Tensor, order: int) -> Tensor:
    """Return how far y, where u is to lead from x, is from there to first or to second order."""
    if order == 1:
        error = y - x - u
    else:
        try:
            error = manifold.logmap(x, y) - u
        except NotImplementedError:
            error = y - manifold.expmap(x, u)
    size: Tensor = torch.linalg.vector_norm(error)
    return size


def _require_slope(
    manifold: geoopt.Manifold, x: Tensor, name: str, order: int, slack: float, seed: int
) -> float:
    """Return the slope of log error against log step, over the errors that are above rounding."""
    u = direction(manifold, x, seed)
    times = torch.logspace(-1, -2.5, 10, dtype=x.dtype, device=x.device)
    move = getattr(manifold, name)
    errors = torch.stack([_separation(manifold, x, move(x, t * u), t * u, order) for t in times])
    seen = ~(errors <= torch.finfo(x.dtype).eps ** 0.8 * max(1, x.numel()) ** 0.5)
    if int(seen.sum()) < 2:
        return float("inf")
    step, size = times[seen].log(), errors[seen].log()
    step = step - step.mean()
    slope = float((step * size).sum() / step.square().sum())
    if not slope >= order + 1 - slack:
        raise ConformanceError(
            f"{manifold!r}: {name} has slope {slope:.1f}, below {order + 1} for order {order}"
        )
    return slope


def check_retraction_order(
    manifold: geoopt.Manifold, x: Tensor, *, order: int = 1, slack: float = 0.2, seed: int = 0
) -> float:
    """Require that ``retr`` is of first or second order; return the slope of its error against the step.

    The error at ``t u`` is ``‖retr(x, t u) − x − t u‖`` for the first order, whose slope in a log–log plot is
    2. The second order requires also slope 3 of ``‖log_x retr(x, t u) − t u‖`` or, for want of a logarithm,
    ``‖retr(x, t u) − exp_x(t u)‖``. Only errors above rounding count; without any the slope is infinite.

    Args:
        manifold: a manifold.
        x: points.
        order: 1 or 2.
        slack: how far below ``order + 1`` the slope may be.
        seed: of the tangent vectors.

    References:
        Boumal, An Introduction to Optimization on Smooth Manifolds (2023), sections 4.8 and 6.8.

    Example:
        >>> from geowarp.manifolds import Polar, QR, Stiefel
        >>> stiefel = Stiefel(retraction=Polar())
        >>> x = stiefel.random(6, 3, dtype=torch.float64)
        >>> round(check_retraction_order(stiefel, x, order=2), 1)
        3.0
        >>> check_retraction_order(Stiefel(retraction=QR()), x, order=2)
        Traceback (most recent call last):
        geowarp.errors.ConformanceError: Stiefel(...): retr has slope 2.0, below 3 for order 2
    """
    return [_require_slope(manifold, x, "retr", degree, slack, seed) for degree in range(1, order + 1)][-1]


def check_exponential_order(
    manifold: geoopt.Manifold, x: Tensor, *, slack: float = 0.2, seed: int = 0
) -> float:
    """Require slope 2 of ``‖exp_x(t u) − x − t u‖``; return the slope. The rest is as for a retraction.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> round(check_exponential_order(Sphere(), Sphere().random(4, 3, dtype=torch.float64)), 1)
        2.0
    """
    return _require_slope(manifold, x, "expmap", 1, slack, seed)


def check_retraction_lands(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``retr`` and ``expmap``, if it exists, land on the manifold, and at ``x`` for ``u = 0``.

    Returns the largest departure over tangent vectors of length 0, 0.1, 1 and 3.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_retraction_lands(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    bound, largest = rounding(x, tolerance), 0.0
    for name in steps(manifold, x):
        move = getattr(manifold, name)
        for length in (0.1, 1.0, 3.0):
            y = move(x, direction(manifold, x, seed, length))
            what = f"departure of {name}(x, u) from the manifold, at ‖u‖ = {length},"
            largest = max(largest, require(manifold, what, point_departure(manifold, y, bound), bound))
        still = deviation(move(x, torch.zeros_like(x)), x)
        largest = max(largest, require(manifold, f"|{name}(x, 0) − x|", still, bound))
    return largest
