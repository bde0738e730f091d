"""Shared pieces of ``random``: sizes and Gaussian samples."""

import torch
from torch import Tensor

__all__ = ["gaussian", "shape_of"]


def shape_of(size: tuple[int | tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return the shape that ``random(2, 3)`` or ``random((2, 3))`` asks for.

    Example:
        >>> shape_of(((2, 3),)), shape_of((2, 3))
        ((2, 3), (2, 3))
    """
    if len(size) == 1 and not isinstance(size[0], int):
        return tuple(size[0])
    return tuple(s for s in size if isinstance(s, int))


def gaussian(
    size: tuple[int | tuple[int, ...], ...],
    dtype: torch.dtype | None,
    device: torch.device | str | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Return independent standard normal entries of the size asked for.

    Example:
        >>> gaussian((2, 3), torch.float64, None, None).shape
        torch.Size([2, 3])
    """
    return torch.randn(shape_of(size), dtype=dtype, device=device, generator=generator)
