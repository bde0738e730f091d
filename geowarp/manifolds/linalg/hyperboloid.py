"""Formulas of the hyperboloid ``⟨x, x⟩ = −k``, ``x_0 > 0``, of curvature −1/k, time first.

A point is what its space part says, and ``x_0 = √(k + ‖x_s‖²)``; a tangent vector likewise, and
``u_0 = x_sᵀu_s / x_0``. So no Minkowski product is formed whose terms, of size ``exp(2 r / √k)`` at distance
r from the origin, cancel. float32 is computed in float64. ``k`` is a number or a tensor of one.
"""

import torch
from torch import Tensor

from .elementary import safe_sqrt
from .hyperbolic import Curvature, arc_length, arsinh_ratio, margin, sinh_ratio, vector_norm, widen
from .spherical import normalize

__all__ = [
    "boost",
    "cosum",
    "distance",
    "exponential",
    "from_frame",
    "gradient",
    "hyperplane_distance",
    "lift",
    "lift_tangent",
    "logarithm",
    "space",
    "time",
    "to_frame",
    "transport",
]

_CLOSE = 0.5  # ⟨x − y, x − y⟩ / k up to which points are close
_LONGEST = 100.0  # of a step in units of √k, beyond which the end does not change


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def space(x: Tensor) -> Tensor:
    """Return the space part ``(..., n)`` of ``(..., 1 + n)``, in float64 for float32.

    Example:
        >>> space(torch.tensor([5.0, 3.0, 4.0]))
        tensor([3., 4.], dtype=torch.float64)
    """
    return widen(x[..., 1:])


def time(s: Tensor, k: Curvature) -> Tensor:
    """Return ``√(k + ‖s‖²)``, ``(..., 1)``, of a space part.

    Example:
        >>> time(torch.tensor([3.0, 4.0]), 11.0)
        tensor([6.])
    """
    return (k + _dot(s, s)).sqrt()


def lift(s: Tensor, k: Curvature, dtype: torch.dtype) -> Tensor:
    """Return the point ``(..., 1 + n)`` of a dtype with a space part.

    It is moved to the distance from the origin at which ``margin`` ends the ball, if it is beyond that.

    Example:
        >>> lift(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), 11.0, torch.float32)
        tensor([[3.3166, 0.0000, 0.0000],
                [6.0000, 3.0000, 4.0000]])
    """
    furthest = 2 / margin(dtype) - 1
    inside = _dot(s, s) <= k * (furthest * furthest - 1)
    s = torch.where(inside, s, normalize(s) * (k * (furthest * furthest - 1)) ** 0.5)
    return torch.cat([time(s, k), s], -1).to(dtype)


def lift_tangent(x: Tensor, u: Tensor, k: Curvature, dtype: torch.dtype) -> Tensor:
    """Return the tangent vector ``(xᵀu / x_0, u)`` of a dtype, of the space parts of the point and of itself.

    Example:
        >>> lift_tangent(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]), 11.0, torch.float32)
        tensor([0.5000, 1.0000, 0.0000])
    """
    x, u = torch.broadcast_tensors(x, u)
    return torch.cat([_dot(x, u) / time(x, k), u], -1).to(dtype)


def to_frame(x: Tensor, u: Tensor, k: Curvature) -> Tensor:
    """Return ``u − x xᵀu / (x_0 (x_0 + √k))``, the parallel transport of a tangent vector to the origin.

    Of and to space parts ``(..., n)``. It is an isometry onto R^n.

    Example:
        >>> to_frame(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.0]), 11.0).norm() ** 2
        tensor(7.6389)
    """
    x_0 = time(x, k)
    return u - x * (_dot(x, u) / (x_0 * (x_0 + k**0.5)))


def from_frame(x: Tensor, w: Tensor, k: Curvature) -> Tensor:
    """Return ``w + x xᵀw / (√k (x_0 + √k))``, the inverse of ``to_frame``.

    Example:
        >>> x, u = torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0])
        >>> from_frame(x, to_frame(x, u, 11.0), 11.0)
        tensor([1., 2.])
    """
    root = k**0.5
    return w + x * (_dot(x, w) / (root * (time(x, k) + root)))


def gradient(x: Tensor, g: Tensor, k: Curvature) -> Tensor:
    """Return the space part ``g_s + x_s (x_0 g_0 + x_sᵀg_s) / k`` of the Riemannian gradient.

    Args:
        x: space part of the point, ``(..., n)``.
        g: Euclidean gradient, ``(..., 1 + n)``.
        k: the curvature is ``−1/k``.

    Example:
        >>> gradient(torch.zeros(2), torch.tensor([7.0, 1.0, 2.0]), 1.0)
        tensor([1., 2.], dtype=torch.float64)
    """
    spatial = space(g)
    return spatial + x * ((time(x, k) * widen(g[..., :1]) + _dot(x, spatial)) / k)


def _shrunk_difference(x: Tensor, y: Tensor, k: Curvature) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``a x − b y``, ``a = 1 / (x_0 + √k)`` and ``b = 1 / (y_0 + √k)``, of space parts.

    That is the difference of the points in the ball, up to a factor. For close points it is computed as
    ``½ (a + b) d + ½ (a − b) m``, ``d = x − y``, ``m = x + y``, where ``a − b = −ab dᵀm / (x_0 + y_0)``: that
    keeps the digits of d.
    """
    x_0, y_0, d, m = time(x, k), time(y, k), x - y, x + y
    a, b = 1 / (x_0 + k**0.5), 1 / (y_0 + k**0.5)
    apart = a * x - b * y
    close = 0.5 * (a + b) * d - 0.5 * a * b * (_dot(d, m) / (x_0 + y_0)) * m
    return torch.where(_dot(apart, apart) > _CLOSE * k * a * b, apart, close), a, b


def _chord(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    """Return ``⟨x − y, x − y⟩ = ‖a x − b y‖² / (ab)`` of the points with space parts x and y, ``(..., 1)``.

    Its relative error grows like the size of the points; that of ``‖x − y‖² − (x_0 − y_0)²`` would grow like
    the square of that.
    """
    apart, a, b = _shrunk_difference(x, y, k)
    return _dot(apart, apart) / (a * b)


def _half_chord(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    return 0.5 * safe_sqrt(_chord(x, y, k)) / k**0.5


def distance(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    """Return ``2√k arsinh(√⟨x − y, x − y⟩ / (2√k))``, ``(..., 1)``, of points with space parts x and y.

    Example:
        >>> distance(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]), 1.0)
        tensor([2.3124])
    """
    return k**0.5 * arc_length(_half_chord(x, y, k))


def exponential(x: Tensor, u: Tensor, k: Curvature) -> Tensor:
    """Return the space part of ``cosh(t) x + sinh(t) / t u``, ``t = ‖u‖_x / √k``, of space parts.

    Example:
        >>> exponential(torch.zeros(2), torch.tensor([1.0, 0.0]), 1.0)
        tensor([1.1752, 0.0000])
    """
    t = vector_norm(to_frame(x, u, k)) / k**0.5
    shorter = torch.where(t > _LONGEST, _LONGEST / torch.where(t > _LONGEST, t, 1), 1)
    t = shorter * t
    return t.cosh() * x + sinh_ratio(t) * shorter * u


def logarithm(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    """Return the space part ``arsinh(q) / (q √(1 + q²)) (y − x − 2q² x)`` of the logarithm, of space parts.

    ``q = √⟨x − y, x − y⟩ / (2√k)``.

    Example:
        >>> logarithm(torch.zeros(2), torch.tensor([1.1752, 0.0]), 1.0)
        tensor([1.0000, 0.0000])
    """
    q = _half_chord(x, y, k)
    return arsinh_ratio(q) / (1 + q * q).sqrt() * (y - x - 2 * q * q * x)


def transport(x: Tensor, y: Tensor, v: Tensor, k: Curvature) -> Tensor:
    """Return the space part ``v + (x + y) ⟨y − x, v⟩ / (2k + ½⟨y − x, y − x⟩)`` of the parallel transport.

    Example:
        >>> transport(torch.zeros(2), torch.tensor([3.0, 4.0]), torch.tensor([4.0, -3.0]), 1.0)
        tensor([ 4., -3.])
    """
    d, x_0 = y - x, time(x, k)
    rise = _dot(d, x + y) / (x_0 + time(y, k))
    product = _dot(d, v) - rise * _dot(x, v) / x_0
    return v + (x + y) * (product / (2 * k + 0.5 * _chord(x, y, k)))


def boost(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    """Return the space part of the gyrosum ``x ⊕ y``: y under the boost that moves the origin to x.

    ``(s + ½‖s‖² x / √k) / b`` with ``s = a x + b y``, ``a = 1 / (x_0 + √k)`` and b likewise. It is exactly 0
    for ``y = −x``.

    References:
        Ungar, Analytic hyperbolic geometry: mathematical foundations and applications (2005), section 3.9
        (proper velocities).

    Example:
        >>> boost(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, -2.0]), 1.0)
        tensor([0., 0.])
    """
    s, _, b = _shrunk_difference(x, -y, k)
    return (s + 0.5 / k**0.5 * _dot(s, s) * x) / b


def cosum(x: Tensor, y: Tensor, k: Curvature) -> Tensor:
    """Return the space part ``2√k (x_0 + y_0) (x + y) / (4k + ⟨x − y, x − y⟩)`` of the cosum ``x ⊞ y``.

    The image of the Möbius cosum under the isometry of the models.

    Example:
        >>> cosum(torch.tensor([0.75, 0.0]), torch.tensor([0.75, 0.0]), 1.0)
        tensor([1.8750, 0.0000])
    """
    scale = 2 * k**0.5 * (time(x, k) + time(y, k)) / (4 * k + _chord(x, y, k))
    return scale * (x + y)


def hyperplane_distance(x: Tensor, p: Tensor, normal: Tensor, k: Curvature) -> Tensor:
    """Return ``√k arsinh(⟨x, n⟩ / (√k ‖n‖_p))``, ``(..., 1)``, signed, of space parts; 0 for a normal of 0.

    The plane is of the points whose logarithm at p is orthogonal to the tangent vector n.

    Example:
        >>> p, normal = torch.zeros(2), torch.tensor([2.0, 0.0])
        >>> hyperplane_distance(torch.tensor([1.1752, 5.0]), p, normal, 1.0)
        tensor([1.0000])
    """
    d, p_0 = x - p, time(p, k)
    rise = _dot(d, x + p) / (time(x, k) + p_0)
    product = _dot(d, normal) - rise * _dot(p, normal) / p_0
    size = vector_norm(to_frame(p, normal, k))
    some = size > 0
    height = torch.where(some, product / torch.where(some, size, 1), 0)
    return k**0.5 * torch.asinh(height / k**0.5)
