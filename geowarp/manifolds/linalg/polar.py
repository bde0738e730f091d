"""The orthonormal polar factor, with a backward that is finite at orthonormal matrices."""

from typing import Any

import torch
from torch import Tensor

from .differentiation import once_differentiable

__all__ = ["newton_schulz", "polar_factor"]


def newton_schulz(x: Tensor) -> Tensor:
    """One Newton–Schulz step ``X (3I − XᵀX) / 2``: squares the departure from orthonormality.

    Args:
        x: nearly orthonormal columns, ``(..., n, k)``.

    Example:
        >>> newton_schulz(torch.tensor([[1.001], [0.0]]))
        tensor([[1.0000],
                [0.0000]])
    """
    return 1.5 * x - 0.5 * x @ (x.mT @ x)


class _PolarFactor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        ctx.save_for_backward(matrix, u, s, vh)
        return newton_schulz(u @ vh)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _, u, s, vh = ctx.saved_tensors
        tiny = torch.finfo(s.dtype).tiny
        inner = u.mT @ grad @ vh.mT
        rotation = (inner - inner.mT) / (s[..., :, None] + s[..., None, :]).clamp_min(tiny)
        normal = (grad @ vh.mT - u @ inner) / s[..., None, :].clamp_min(tiny)
        result: Tensor = (u @ rotation + normal) @ vh
        return result


def polar_factor(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with orthonormal columns, ``A (AᵀA)^{-1/2}``.

    The gradient divides by sums of singular values, so it is finite where singular values repeat; it can be
    differentiated once.

    Args:
        matrix: ``(..., n, k)`` with ``k <= n``; rank-deficient input gives one of its nearest points.

    References:
        Higham, Computing the polar decomposition, SIAM J. Sci. Stat. Comput. 7 (1986).

    Example:
        >>> polar_factor(torch.tensor([[2.0], [0.0]]))
        tensor([[1.],
                [0.]])
    """
    factor: Tensor = _PolarFactor.apply(matrix)  # type: ignore[no-untyped-call]
    return factor
