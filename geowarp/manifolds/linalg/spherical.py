"""Great-circle formulas for unit vectors along one dimension of a tensor."""

import math

import torch
from torch import Tensor

from .elementary import safe_sqrt, sinc

__all__ = [
    "angle",
    "curvature",
    "exponential",
    "logarithm",
    "normalize",
    "pairwise_angle",
    "project",
    "reflect",
    "transport",
    "vector_norm",
]


def _dot(x: Tensor, y: Tensor, dim: int) -> Tensor:
    return (x * y).sum(dim, keepdim=True)


def vector_norm(x: Tensor, dim: int = -1) -> Tensor:
    """Return ``‖x‖`` along ``dim``, kept as 1; its gradient at 0 is 0.

    Example:
        >>> vector_norm(torch.tensor([3.0, 4.0]))
        tensor([5.])
    """
    return safe_sqrt(_dot(x, x, dim))


def normalize(x: Tensor, dim: int = -1) -> Tensor:
    """Return ``x / ‖x‖``, and the first unit vector for ``x = 0``; NaN for entries that are not finite.

    Example:
        >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [1.0000, 0.0000]])
    """
    largest = x.detach().abs().amax(dim, keepdim=True)  # so that no square overflows or underflows
    x = x / torch.where(largest == 0, 1, largest)
    norm = vector_norm(x, dim)
    return torch.where(norm == 0, _unit(x, 0, dim), x / torch.where(norm == 0, 1, norm))


def project(x: Tensor, u: Tensor, dim: int = -1) -> Tensor:
    """Return ``u − x xᵀu``, the part of ``u`` that is orthogonal to the unit vector ``x``.

    Example:
        >>> project(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 3.0]))
        tensor([0., 3.])
    """
    return u - x * _dot(x, u, dim)


def exponential(x: Tensor, u: Tensor, dim: int = -1) -> Tensor:
    """Return ``x cos‖u‖ + u sin‖u‖ / ‖u‖``, smooth at ``u = 0``.

    Example:
        >>> exponential(torch.tensor([1.0, 0.0]), torch.tensor([0.0, torch.pi / 6]))
        tensor([0.8660, 0.5000])
    """
    norm = vector_norm(u, dim)
    y = x * norm.cos() + u * sinc(norm)
    return y * (1.5 - 0.5 * _dot(y, y, dim))


def angle(x: Tensor, y: Tensor, dim: int = -1) -> Tensor:
    """Return ``2 atan2(‖x − y‖, ‖x + y‖)`` along ``dim``, kept as 1, accurate at every angle.

    References:
        Kahan, How futile are mindless assessments of roundoff in floating-point computation (2006),
        section 12.

    Example:
        >>> angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]) / 2)
        tensor([1.5708])
    """
    return 2 * torch.atan2(vector_norm(x - y, dim), vector_norm(x + y, dim))


def pairwise_angle(x: Tensor, y: Tensor) -> Tensor:
    """Return the angles ``(..., N, M)`` between rows of ``(..., N, n)`` and ``(..., M, n)``, as accurately.

    Example:
        >>> pairwise_angle(torch.eye(2), torch.eye(2))
        tensor([[0.0000, 1.5708],
                [1.5708, 0.0000]])
    """
    mode = "donot_use_mm_for_euclid_dist"
    return 2 * torch.atan2(torch.cdist(x, y, compute_mode=mode), torch.cdist(x, -y, compute_mode=mode))


def logarithm(x: Tensor, y: Tensor, dim: int = -1) -> Tensor:
    """Return ``θ (y − x cosθ) / sinθ``; for ``y = −x`` one of its values, of norm π.

    Example:
        >>> logarithm(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
        tensor([[0.0000, 1.5708],
                [0.0000, 3.1416]])
    """
    # y − x or y + x, whichever is small, differs from y by a multiple of x and has no rounding error
    cosine = _dot(x, y, dim)
    towards = project(x, torch.where(cosine < 0, y + x, y - x), dim)
    sine = vector_norm(towards, dim)
    ratio = torch.where(sine > 0, torch.atan2(sine, cosine) / torch.where(sine > 0, sine, 1), 1)
    opposite = (sine == 0) & (cosine < 0)
    return torch.where(opposite, math.pi * _perpendicular(x, dim), towards * ratio)


def reflect(x: Tensor, y: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Return ``v − 2 m mᵀv``, m the midpoint of x and y: parallel transport of a tangent vector at x to y.

    For ``y = −x`` the geodesic is that of ``logarithm(x, y)``.

    Example:
        >>> x, y = torch.eye(3)[0], torch.eye(3)[1]
        >>> reflect(x, y, y)
        tensor([-1.,  0.,  0.])
    """
    total, difference = x + y, x - y
    # they are orthogonal but for rounding, which matters near y = −x
    length = _dot(difference, difference, dim)
    overlap = _dot(difference, total, dim) / torch.where(length > 2, length, 1)
    total = total - difference * torch.where(length > 2, overlap, 0)
    square = _dot(total, total, dim)
    middle = torch.where(square > 0, total, _perpendicular(x, dim))
    scale = 2 * _dot(middle, v, dim) / torch.where(square > 0, square, 1)
    return v - middle * scale


def transport(x: Tensor, u: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Return ``v − (x sinθ / θ + u (1 − cosθ) / θ²) uᵀv``, θ = ‖u‖: parallel transport along ``exp_x(t u)``.

    Example:
        >>> x, y = torch.eye(3)[0], torch.eye(3)[1]
        >>> transport(x, torch.pi * y, y) + x
        tensor([ 1.0000, -1.0000,  0.0000])
    """
    norm = vector_norm(u, dim)
    return v - (x * sinc(norm) + 0.5 * u * sinc(0.5 * norm).square()) * _dot(u, v, dim)


def curvature(u: Tensor, v: Tensor, w: Tensor, dim: int = -1) -> Tensor:
    """Return ``R(u, v) w = vᵀw u − uᵀw v`` of the unit sphere.

    Example:
        >>> _, u, v = torch.eye(3)
        >>> curvature(u, v, v)
        tensor([0., 1., 0.])
    """
    return _dot(v, w, dim) * u - _dot(u, w, dim) * v


def _unit(x: Tensor, index: int, dim: int) -> Tensor:
    shape = [1] * x.ndim
    shape[dim] = x.shape[dim]
    return (torch.arange(x.shape[dim], device=x.device) == index).to(x.dtype).reshape(shape).expand_as(x)


def _perpendicular(x: Tensor, dim: int) -> Tensor:
    """Return a unit tangent vector at x, the same at −x: the first or the second unit vector, projected."""
    steep = x.narrow(dim, 0, 1).abs() > 0.7
    u = project(x, torch.where(steep, _unit(x, 1, dim), _unit(x, 0, dim)), dim)
    return u / torch.where(vector_norm(u, dim) > 0, vector_norm(u, dim), 1)
