"""Formulas of the Poincaré ball of curvature −c, written in differences and in gaps to the boundary.

With ``a = 1 − c‖x‖²`` and ``b = 1 − c‖y‖²``, the gaps, and ``s = y − x`` all of them are sums of small terms:
nothing of size 1 is subtracted from another of size 1, near the boundary or for points close together.
Points are rows, ``(..., n)``; ``c`` is a number or a tensor of one.
"""

import torch
from torch import Tensor

from .hyperbolic import (
    Curvature,
    arc_length,
    arsinh_ratio,
    margin,
    squared_norm,
    tanh_ratio,
    vector_norm,
    widen,
)
from .spherical import normalize

__all__ = [
    "add",
    "boundary_gap",
    "christoffel",
    "coadd",
    "distance",
    "exponential",
    "exponential_at_origin",
    "gyrate",
    "hyperplane_distance",
    "logarithm",
    "logarithm_at_origin",
    "midpoint",
    "project",
    "transport",
    "wide_boundary_gap",
]


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1, keepdim=True)


def boundary_gap(x: Tensor, c: Curvature) -> Tensor:
    """Return ``1 − c‖x‖²``, ``(..., 1)``, of float32 points in float64; at least a rounding unit.

    Example:
        >>> boundary_gap(torch.tensor([0.6, 0.0]), 1.0)
        tensor([0.6400])
    """
    return wide_boundary_gap(x, c).to(x.dtype)


def wide_boundary_gap(x: Tensor, c: Curvature) -> Tensor:
    """Return ``boundary_gap`` in float64 of float32 points.

    Example:
        >>> wide_boundary_gap(torch.tensor([0.6, 0.0]), 1.0)
        tensor([0.6400], dtype=torch.float64)
    """
    return (1 - c * squared_norm(x)).clamp_min(margin(x.dtype) / 8)


def project(x: Tensor, c: Curvature) -> Tensor:
    """Return the point, or where ``1 − c‖x‖²`` is below ``margin`` that on its ray where it is the margin.

    Example:
        >>> project(torch.tensor([[0.5, 0.0], [3.0, 4.0]]), 1.0)
        tensor([[0.5000, 0.0000],
                [0.6000, 0.8000]])
    """
    largest = 1 - margin(x.dtype)
    inside = c * squared_norm(x) <= largest
    return torch.where(inside, x, (normalize(widen(x)) * (largest / c) ** 0.5).to(x.dtype))


def _half_chord(s: Tensor, a: Tensor, b: Tensor, c: Curvature) -> Tensor:
    """Return ``√(c / (ab)) ‖s‖``, the sine of which half the distance is the hyperbolic angle."""
    return c**0.5 * vector_norm(s) / (a.sqrt() * b.sqrt())


def distance(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    """Return ``2 arsinh(√(c / (ab)) ‖x − y‖) / √c``, ``(..., 1)``; its gradient at equal points is 0.

    Example:
        >>> distance(torch.tensor([0.0, 0.0]), torch.tensor([0.5, 0.0]), 1.0)
        tensor([1.0986])
    """
    return arc_length(_half_chord(x - y, boundary_gap(x, c), boundary_gap(y, c), c)) / c**0.5


def add(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    """Return the Möbius sum ``x ⊕ y = (a s + c‖s‖² x) / (ab + c‖s‖²)`` with ``s = x + y``.

    It is exactly 0 for ``y = −x``, and strictly inside.

    Example:
        >>> add(torch.tensor([0.5, 0.0]), torch.tensor([0.5, 0.0]), 1.0)
        tensor([0.8000, 0.0000])
    """
    s = x + y
    a, square = boundary_gap(x, c), (c * squared_norm(s)).to(s.dtype)
    return project((a * s + square * x) / (a * boundary_gap(y, c) + square), c)


def coadd(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    """Return the Möbius cosum ``x ⊞ y = (b x + a y) / (a + b − ab)``, which commutes.

    Example:
        >>> coadd(torch.tensor([0.5, 0.0]), torch.tensor([0.0, 0.5]), 1.0)
        tensor([0.4000, 0.4000])
    """
    a, b = boundary_gap(x, c), boundary_gap(y, c)
    return project((b * x + a * y) / (a + b - a * b), c)


def exponential(x: Tensor, u: Tensor, c: Curvature) -> Tensor:
    """Return ``x ⊕ v`` with ``v = tanh(t) u / (√c ‖u‖)``, ``t = √c ‖u‖ / a``, in float64 for float32.

    Example:
        >>> exponential(torch.zeros(2), torch.tensor([1.0, 0.0]), 1.0)
        tensor([0.7616, 0.0000])
    """
    a, point, step = wide_boundary_gap(x, c), widen(x), widen(u)
    t = c**0.5 * vector_norm(step) / a
    v = tanh_ratio(t) / a * step
    decay = (-2 * t).exp()
    s, b = point + v, 4 * decay / (1 + decay).square()
    square = c * squared_norm(s)
    return project(((a * s + square * point) / (a * b + square)).to(torch.promote_types(x.dtype, u.dtype)), c)


def exponential_at_origin(u: Tensor, c: Curvature) -> Tensor:
    """Return ``tanh(√c ‖u‖) u / (√c ‖u‖)``.

    Example:
        >>> exponential_at_origin(torch.tensor([1.0, 0.0]), 1.0)
        tensor([0.7616, 0.0000])
    """
    return project(tanh_ratio(c**0.5 * vector_norm(u)) * u, c)


def logarithm(x: Tensor, y: Tensor, c: Curvature) -> Tensor:
    """Return ``arsinh(q) / (q √(1 + q²)) · (a s − c‖s‖² x) / b``, ``q = √(c / (ab)) ‖s‖``, ``s = y − x``.

    Example:
        >>> logarithm(torch.zeros(2), torch.tensor([0.7616, 0.0]), 1.0)
        tensor([1.0000, 0.0000])
    """
    s = y - x
    a, b = boundary_gap(x, c), boundary_gap(y, c)
    q = _half_chord(s, a, b, c)
    length = arsinh_ratio(q) / (1 + q * q).sqrt()
    return length * (a * s - (c * squared_norm(s)).to(s.dtype) * x) / b


def logarithm_at_origin(x: Tensor, c: Curvature) -> Tensor:
    """Return ``artanh(√c ‖x‖) x / (√c ‖x‖)``, as ``arsinh`` of ``√(c / a) ‖x‖``.

    Example:
        >>> logarithm_at_origin(torch.tensor([0.7616, 0.0]), 1.0)
        tensor([1.0000, 0.0000])
    """
    root = boundary_gap(x, c).sqrt()
    return arsinh_ratio(c**0.5 * vector_norm(x) / root) / root * x


def gyrate(x: Tensor, y: Tensor, v: Tensor, c: Curvature) -> Tensor:
    """Return the rotation ``gyr[y, ⊖x] v = ⊖(y ⊖ x) ⊕ (y ⊕ (⊖x ⊕ v))``, linear in v.

    As ``v − 2c / (ab + c‖s‖²) · (((b + c‖s‖²) xᵀv + c‖x‖² sᵀv) s − (a sᵀv − c‖s‖² xᵀv) x)``, ``s = y − x``.

    References:
        Ungar, Analytic hyperbolic geometry: mathematical foundations and applications (2005), equation 3.9,
        in differences.

    Example:
        >>> x = torch.tensor([0.3, 0.1])
        >>> gyrate(x, x, torch.ones(2), 1.0)
        tensor([1., 1.])
    """
    s = y - x
    a, b = boundary_gap(x, c), boundary_gap(y, c)
    square = (c * squared_norm(s)).to(s.dtype)
    along_x, along_s = _dot(x, v), _dot(s, v)
    to_s = (b + square) * along_x + (1 - a) * along_s
    to_x = a * along_s - square * along_x
    return v - 2 * c / (a * b + square) * (to_s * s - to_x * x)


def transport(x: Tensor, y: Tensor, v: Tensor, c: Curvature) -> Tensor:
    """Return the parallel transport ``b / a · gyr[y, ⊖x] v`` from x to y.

    Example:
        >>> transport(torch.zeros(2), torch.tensor([0.6, 0.0]), torch.tensor([0.0, 1.0]), 1.0)
        tensor([0.0000, 0.6400])
    """
    return boundary_gap(y, c) / boundary_gap(x, c) * gyrate(x, y, v, c)


def christoffel(x: Tensor, u: Tensor, v: Tensor, c: Curvature) -> Tensor:
    """Return ``2c / a · (xᵀu v + xᵀv u − uᵀv x)``, the symbols of the metric ``4 uᵀv / a²``.

    Example:
        >>> x = torch.tensor([0.5, 0.0])
        >>> christoffel(x, x, x, 1.0)
        tensor([0.3333, 0.0000])
    """
    return 2 * c / boundary_gap(x, c) * (_dot(x, u) * v + _dot(x, v) * u - _dot(u, v) * x)


def midpoint(weighted: Tensor, total: Tensor, weight: Tensor, c: Curvature) -> Tensor:
    """Return ``N / (D + √(D² − c‖N‖²))``, the gyromidpoint, of sums over the points.

    Args:
        weighted: ``N = Σ w λ x``, ``(..., n)``, with the conformal factors ``λ = 2 / a``.
        total: ``D = Σ w (λ − 1)``, ``(..., 1)``.
        weight: ``Σ w``, ``(..., 1)``, of which the root is at least as large.
        c: the curvature is ``−c``.

    Example:
        >>> midpoint(torch.tensor([8.0, 0.0]) / 3, torch.tensor([5 / 3]), torch.ones(1), 0.25)
        tensor([1.0000, 0.0000])
    """
    square = torch.maximum(total * total - c * _dot(weighted, weighted), weight * weight)
    return weighted / (total + square.sqrt())


def hyperplane_distance(x: Tensor, p: Tensor, normal: Tensor, c: Curvature) -> Tensor:
    """Return ``arsinh(2√c ⟨P s − c‖s‖² p, n⟩ / (P a ‖n‖)) / √c``, ``(..., 1)``, signed, ``s = x − p``.

    P and a are the gaps of p and x. It is 0 for a normal of 0.

    References:
        Ganea, Bécigneul, Hofmann, Hyperbolic neural networks, NeurIPS (2018), theorem 5.

    Example:
        >>> x, p, normal = torch.tensor([0.5, 0.0]), torch.zeros(2), torch.tensor([1.0, 0.0])
        >>> hyperplane_distance(x, p, normal, 1.0)
        tensor([1.0986])
    """
    s = x - p
    gap, square = boundary_gap(p, c), (c * squared_norm(s)).to(s.dtype)
    size = vector_norm(normal)
    some = size > 0
    height = _dot(gap * s - square * p, normal) / (gap * boundary_gap(x, c) * torch.where(some, size, 1))
    return torch.asinh(2 * c**0.5 * torch.where(some, height, 0)) / c**0.5
