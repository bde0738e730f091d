"""Hyperbolic functions and their ratios, and the precision in which hyperbolic geometry is computed."""

import torch
from torch import Tensor

from .elementary import safe_sqrt

__all__ = [
    "Curvature",
    "arc_length",
    "arsinh_ratio",
    "margin",
    "sinh_ratio",
    "squared_norm",
    "tanh_ratio",
    "vector_norm",
    "widen",
]

Curvature = float | Tensor


def widen(x: Tensor) -> Tensor:
    """Return a float32 tensor in float64, where the device has it: squares of its entries are exact there.

    Example:
        >>> widen(torch.ones(1)).dtype
        torch.float64
    """
    return x.double() if x.dtype == torch.float32 and x.device.type != "mps" else x


def margin(dtype: torch.dtype) -> float:
    """Return the least ``1 − c‖x‖²`` of a point of the ball, 8 rounding units.

    A step of one rounding unit in the entries is there a distance of about 1/8.

    Example:
        >>> margin(torch.float32)
        9.5367431640625e-07
    """
    return 8 * torch.finfo(dtype).eps


def squared_norm(x: Tensor) -> Tensor:
    """Return ``‖x‖²`` along the last dimension, kept as 1, of a float32 vector in float64.

    Example:
        >>> squared_norm(torch.tensor([3e-30, 4e-30])).sqrt()
        tensor([5.0000e-30], dtype=torch.float64)
    """
    return widen(x).square().sum(-1, keepdim=True)


def _ratio(value: Tensor, x: Tensor) -> Tensor:
    some = x > 0
    return torch.where(some, value / torch.where(some, x, 1), 1)


def sinh_ratio(t: Tensor) -> Tensor:
    """Return ``sinh(t) / t`` for ``t >= 0``, 1 at 0.

    Example:
        >>> sinh_ratio(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 1.1752])
    """
    return _ratio(t.sinh(), t)


def tanh_ratio(t: Tensor) -> Tensor:
    """Return ``tanh(t) / t`` for ``t >= 0``, 1 at 0.

    Example:
        >>> tanh_ratio(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.7616])
    """
    return _ratio(t.tanh(), t)


def arsinh_ratio(q: Tensor) -> Tensor:
    """Return ``arsinh(q) / q`` for ``q >= 0``, 1 at 0.

    Example:
        >>> arsinh_ratio(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.8814])
    """
    return _ratio(0.5 * arc_length(q), q)


def arc_length(q: Tensor) -> Tensor:
    """Return ``2 arsinh(q)`` for ``q >= 0``: the distance, at curvature −1, of points with half-chord ``q``.

    As ``log1p(2q(q + √(1 + q²)))``, which is accurate at every q, and several times faster than ``asinh``.

    Example:
        >>> arc_length(torch.tensor([1e-20, 1.0]))
        tensor([2.0000e-20, 1.7627e+00])
    """
    return torch.log1p(2 * q * (q + (1 + q * q).sqrt()))


def vector_norm(x: Tensor) -> Tensor:
    """Return ``‖x‖`` along the last dimension, kept as 1; its gradient at 0 is 0.

    Example:
        >>> vector_norm(torch.tensor([3e-30, 4e-30]))
        tensor([5.0000e-30])
    """
    return safe_sqrt(squared_norm(x)).to(x.dtype)
