"""Rotary positions: pairs of neighbouring features, turned by angles that grow with the position."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["rotary_table", "rotate_pairs"]

_STRIDE = 16


def rotary_table(
    length: int,
    width: int | Sequence[int],
    *,
    theta: float = 2.0**16,
    start: int = 0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of positions ``start, …, start + length − 1``, each ``(length, width/2)``.

    Pair j turns by ``θ^(−2j/width)/2π`` cycles per position. Phases are taken modulo one cycle in float64 and
    rounded at the end: in float32 they are off by 5e-2 rad at position 10⁶.

    Args:
        length: number of positions.
        width: number of features, even; or the widths of several blocks side by side, each with its own j.
        theta: ratio of the fastest to the slowest frequency.
        start: the first position.
        dtype: of the result; by default torch's default.
        device: of the result.

    References:
        Su et al., RoFormer: Enhanced transformer with rotary position embedding, arXiv 2104.09864 (2021),
        section 3.2; frequencies of Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025).

    Example:
        >>> cos, sin = rotary_table(2, 4)
        >>> cos[1, 0], sin[1, 0]  # the first pair turns by one radian
        (tensor(0.5403), tensor(0.8415))
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    widths = (width,) if isinstance(width, int) else tuple(width)
    frequency = torch.cat([cycles_per_position(w, theta, device) for w in widths])
    # e^{i(a + b)} for a coarse and a fine grid: sixteen times fewer sines than positions
    coarse = torch.arange(start, start + length, _STRIDE, dtype=torch.float64, device=device)
    fine = torch.arange(_STRIDE, dtype=torch.float64, device=device)
    a, b = ((z[:, None] * frequency).frac() * (2 * math.pi) for z in (coarse, fine))
    a = a.unsqueeze(1)
    cos = a.cos() * b.cos() - a.sin() * b.sin()
    sin = a.sin() * b.cos() + a.cos() * b.sin()
    return cos.flatten(0, 1)[:length].to(dtype), sin.flatten(0, 1)[:length].to(dtype)


def cycles_per_position(
    width: int, theta: float = 2.0**16, device: torch.device | str | None = None
) -> Tensor:
    """Return by how many cycles each pair turns per position, in float64; see ``rotary_table``."""
    exponent = torch.arange(0, width, 2, dtype=torch.float64, device=device) / width
    return theta**-exponent / (2 * math.pi)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return ``x (..., T, width)`` with each pair of features 2j, 2j + 1 turned by its angle.

    Half-precision features are turned in the table's dtype.

    Args:
        x: features of T positions.
        cos: ``(T, width/2)``, from ``rotary_table``.
        sin: the same.

    Example:
        >>> rotate_pairs(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6]]), torch.tensor([[0.8]]))
        tensor([[0.6000, 0.8000]])
    """
    pairs = x.to(torch.promote_types(x.dtype, cos.dtype)).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        first, second = pairs.unbind(-1)
        return torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1).flatten(-2)
    turned = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos, sin)
    return torch.view_as_real(turned).flatten(-2)
