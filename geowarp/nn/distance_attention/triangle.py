"""Symmetric matrices as vectors of the entries of one triangle."""

import torch
from torch import Tensor

__all__ = ["pack_symmetric", "triangle_size", "unpack_symmetric"]


def pack_symmetric(matrix: Tensor) -> Tensor:
    """Return the entries of the lower triangle, ``(..., n(n+1)/2)``, row by row, of ``(..., n, n)``.

    Example:
        >>> pack_symmetric(torch.tensor([[1.0, 2.0], [2.0, 3.0]]))
        tensor([1., 2., 3.])
    """
    n = matrix.shape[-1]
    row, column = torch.tril_indices(n, n, device=matrix.device)
    return matrix.flatten(-2)[..., row * n + column]


def unpack_symmetric(entries: Tensor, n: int) -> Tensor:
    """Return the symmetric matrix ``(..., n, n)`` with these entries in its lower triangle.

    Example:
        >>> unpack_symmetric(torch.tensor([1.0, 2.0, 3.0]), 2)
        tensor([[1., 2.],
                [2., 3.]])
    """
    index = torch.arange(n, device=entries.device)
    low, high = torch.minimum(index[:, None], index), torch.maximum(index[:, None], index)
    place = (high * (high + 1)).div(2, rounding_mode="floor") + low
    square: Tensor = entries[..., place.flatten()].unflatten(-1, (n, n))
    return square


def triangle_size(n: int) -> int:
    """Return ``n(n+1)/2``, the number of entries of a triangle of n rows.

    Example:
        >>> triangle_size(3)
        6
    """
    return n * (n + 1) // 2
