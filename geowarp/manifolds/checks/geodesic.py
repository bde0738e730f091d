"""Exponential, logarithm and geodesics."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .measure import deviation, direction, near, operation, require, rounding

__all__ = [
    "check_exponential_inverts_logarithm",
    "check_geodesic",
    "check_geodesic_length",
    "check_geodesic_speed",
    "check_logarithm_inverts_exponential",
]


def check_logarithm_inverts_exponential(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``log_x(exp_x(u)) = u`` for ``‖u‖ = radius``; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> x = Sphere().random(4, 3, dtype=torch.float64)
        >>> check_logarithm_inverts_exponential(Sphere(), x, radius=3.0) < 1e-14
        True
    """
    u = direction(manifold, x, seed, radius)
    value = deviation(manifold.logmap(x, manifold.expmap(x, u)), u)
    return require(manifold, "|log_x(exp_x(u)) − u|", value, rounding(x, tolerance))


def check_exponential_inverts_logarithm(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``exp_x(log_x(y)) = y`` for retracted points ``y``; return the largest deviation.

    Args:
        manifold: a manifold.
        x: points.
        radius: length of the tangent vectors that are retracted.
        difference: what is 0 for two tensors that stand for one point: of the entries, or of projectors.
        tolerance: the largest deviation allowed.
        seed: of the tangent vectors.

    Example:
        >>> from geowarp.manifolds import Grassmann
        >>> x = Grassmann().random(4, 6, 2, dtype=torch.float64)
        >>> span = lambda x, y: x @ x.mT - y @ y.mT
        >>> check_exponential_inverts_logarithm(Grassmann(), x, difference=span) < 1e-14
        True
    """
    y = near(manifold, x, seed, radius)
    departure = difference(manifold.expmap(x, manifold.logmap(x, y)), y)
    value = deviation(departure, torch.zeros_like(departure))
    return require(manifold, "|exp_x(log_x(y)) − y|", value, rounding(x, tolerance))


def check_geodesic_length(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``dist(x, exp_x(u)) = ‖u‖_x`` for ``u`` of length ``radius`` and a 10⁴th of it.

    Returns the largest deviation, relative to the radius.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_geodesic_length(Sphere(), Sphere().random(4, 3, dtype=torch.float64), radius=3.0) < 1e-12
        True
    """
    largest = 0.0
    for length in (radius, radius / 1e4):
        u = direction(manifold, x, seed, length)
        value = deviation(manifold.dist(x, manifold.expmap(x, u)) / length, manifold.norm(x, u) / length)
        slack = radius / length  # the coordinates of exp_x(u) are rounded to eps, not to eps ‖u‖
        require(
            manifold,
            f"|dist(x, exp_x(u)) − ‖u‖| / ‖u‖ at {length:.1e}",
            value,
            rounding(x, tolerance) * slack,
        )
        largest = max(largest, value)
    return largest


def check_geodesic_speed(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require ``‖d/dt exp_x(t u)‖ = ‖u‖_x`` at t = 0, ½ and 1, by a difference quotient of order 4.

    Returns the largest deviation. The default tolerance is that of the quotient, 100 ``eps^(4/5)``.

    Example:
        >>> from geowarp.manifolds import CanonicalMetric, Stiefel
        >>> stiefel = Stiefel(CanonicalMetric())
        >>> check_geodesic_speed(stiefel, stiefel.random(4, 6, 3, dtype=torch.float64)) < 1e-11
        True
    """
    u, eps, largest = direction(manifold, x, seed, radius), torch.finfo(x.dtype).eps, 0.0
    h = eps**0.2
    for t in (0.0, 0.5, 1.0):
        ahead, behind, far, back = (manifold.expmap(x, (t + s) * u) for s in (h, -h, 2 * h, -2 * h))
        velocity = (8 * (ahead - behind) - (far - back)) / (12 * h)
        value = deviation(manifold.norm(manifold.expmap(x, t * u), velocity), manifold.norm(x, u))
        bound = 100 * eps**0.8 if tolerance is None else tolerance
        largest = max(largest, require(manifold, f"|speed of exp_x(t u) − ‖u‖| at t = {t}", value, bound))
    return largest


def check_geodesic(
    manifold: geoopt.Manifold,
    x: Tensor,
    *,
    radius: float = 0.5,
    difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    tolerance: float | None = None,
    seed: int = 0,
) -> float:
    """Require that ``geodesic(t, x, y)`` leads from x to y, at distance ``t dist(x, y)`` from x.

    Returns the largest deviation. ``difference`` is as for ``check_exponential_inverts_logarithm``.

    Raises:
        NotImplementedError: where the manifold has no ``geodesic``.

    Example:
        >>> from geoopt import PoincareBall
        >>> ball = PoincareBall().double()
        >>> check_geodesic(ball, torch.tensor([[0.1, 0.2]], dtype=torch.float64)) < 1e-12
        True
    """
    geodesic, y = operation(manifold, "geodesic"), near(manifold, x, seed, radius)
    times = [torch.as_tensor(t).to(x) for t in (0.0, 0.25, 1.0)]
    start, quarter, end = (geodesic(t, x, y) for t in times)
    departures = [difference(start, x), difference(end, y)]
    values = [deviation(departure, torch.zeros_like(departure)) for departure in departures]
    values.append(deviation(manifold.dist(x, quarter), manifold.dist(x, y) / 4))
    what = "departure of geodesic(t, x, y) from x at 0, from y at 1, or of its length from t dist(x, y),"
    return require(manifold, what, max(values), rounding(x, tolerance))
