"""Linear maps of vectors, one for each head."""

from torch import Tensor

__all__ = ["linear"]


def linear(matrix: Tensor, x: Tensor) -> Tensor:
    """Return ``A x``, ``(..., m)``, of ``(..., n)`` and one matrix ``(m, n)`` or those of heads.

    Args:
        matrix: ``(m, n)``, or ``(heads, 1, m, n)`` for x ``(..., heads or 1, N, n)``.
        x: ``(..., n)``.

    Example:
        >>> import torch
        >>> linear(torch.ones(2, 1, 3, 4), torch.ones(5, 1, 7, 4)).shape
        torch.Size([5, 2, 7, 3])
    """
    return x @ (matrix if matrix.ndim == 2 else matrix.squeeze(-3)).mT
