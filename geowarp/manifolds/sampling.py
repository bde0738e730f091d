"""Shared pieces of ``random``: sizes and Gaussian samples."""

import operator
from typing import SupportsIndex

import torch
from torch import Tensor

__all__ = ["gaussian", "shape_of"]


def shape_of(size: tuple[SupportsIndex | tuple[SupportsIndex, ...], ...]) -> tuple[int, ...]:
    """Return the shape that ``random(2, 3)`` or ``random((2, 3))`` asks for.

    Sizes are whole numbers of any kind, numpy's too.

    Raises:
        TypeError: for another size.

    Example:
        >>> shape_of(((2, 3),)), shape_of((2, 3))
        ((2, 3), (2, 3))
    """
    sizes = size[0] if len(size) == 1 and isinstance(size[0], tuple | list) else size
    return tuple(operator.index(number) for number in sizes)  # type: ignore[arg-type]


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
