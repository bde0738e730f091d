"""Elementary functions that stay finite, with finite gradients, where the textbook form does not."""

import math

import torch
from torch import Tensor

__all__ = ["safe_sqrt", "sinc", "skew", "sym"]


def sym(matrix: Tensor) -> Tensor:
    """Return the symmetric part ``(A + Aᵀ) / 2`` of ``(..., k, k)``.

    Example:
        >>> sym(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[1., 1.],
                [1., 1.]])
    """
    return 0.5 * (matrix + matrix.mT)


def skew(matrix: Tensor) -> Tensor:
    """Return the skew-symmetric part ``(A − Aᵀ) / 2`` of ``(..., k, k)``.

    Example:
        >>> skew(torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        tensor([[ 0.,  1.],
                [-1.,  0.]])
    """
    return 0.5 * (matrix - matrix.mT)


def safe_sqrt(x: Tensor) -> Tensor:
    """Return ``√max(x, 0)`` elementwise, with gradient 0 (not infinity) where ``x <= 0``; NaN stays NaN.

    Example:
        >>> x = torch.tensor([0.0, 4.0], requires_grad=True)
        >>> safe_sqrt(x).sum().backward()
        >>> x.grad
        tensor([0.0000, 0.2500])
    """
    zero = x <= 0
    return torch.where(zero, torch.zeros_like(x), torch.where(zero, 1, x).sqrt())


def sinc(x: Tensor) -> Tensor:
    """Return ``sin(x) / x`` elementwise (radians), 1 at 0.

    Example:
        >>> sinc(torch.tensor([0.0, 1.0]))
        tensor([1.0000, 0.8415])
    """
    near = x.abs() < 1
    far = torch.where(near, 1, x)
    return torch.where(near, torch.sinc(torch.where(near, x, 0) / math.pi), far.sin() / far)
