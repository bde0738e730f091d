"""Inner products of the projectors of all pairs in one set of subspaces, without their checks."""

from typing import Any

import torch
from torch import Tensor

from ...manifolds.linalg.differentiation import once_differentiable

__all__ = ["projector_gram"]

_ENTRIES = 1 << 19  # of products that are held at once: some MB, which caches hold


def projector_gram(x: Tensor) -> Tensor:
    """Return ``⟨x_i x_iᵀ, x_j x_jᵀ⟩ = ‖x_iᵀ x_j‖_F²`` of all pairs, ``(N, N)``.

    By k x k products, in blocks of rows. Where ``n < 2k`` the projectors themselves are no larger than a pair
    of bases and far cheaper than the products of all pairs: n² numbers to multiply for each pair, in place
    of n k².

    Args:
        x: ``(N, n, k)``, in float32 or float64; orthonormal columns are not needed.

    Example:
        >>> projector_gram(torch.eye(3)[:2, :, None])
        tensor([[1., 0.],
                [0., 1.]])
    """
    if x.shape[-2] < 2 * x.shape[-1]:
        projectors = (x @ x.mT).flatten(1)
        return projectors @ projectors.mT
    gram: Tensor = _Gram.apply(x)  # type: ignore[no-untyped-call]
    return gram


def _row_blocks(count: int, k: int) -> list[slice]:
    size = max(1, _ENTRIES // max(1, count * k * k))
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the entries of ``x_iᵀ x_j``, ``(b, k², N)``, from ``(b, k, n)`` and ``(k, N, n)``."""
    flat = rows.flatten(0, 1) @ columns.flatten(0, 1).mT
    return flat.view(len(rows), -1, columns.shape[1])


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        rows, columns = x.mT.contiguous(), x.permute(2, 0, 1).contiguous()
        gram = x.new_empty(len(x), len(x))
        for block in _row_blocks(len(x), x.shape[-1]):  # the others are known by symmetry
            products = _products(rows[block], columns[:, block.start :])
            part = products.square_().sum(1)
            gram[block, block.start :] = part
            gram[block.start :, block] = part.mT
        return gram

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        rows, columns = x.mT.contiguous(), x.permute(2, 0, 1).contiguous()
        weight = 2 * (grad + grad.mT)
        gradient = torch.empty_like(rows)
        for block in _row_blocks(len(x), x.shape[-1]):
            products = _products(rows[block], columns).mul_(weight[block, None, :])
            flat = products.view(-1, columns.shape[0] * columns.shape[1])
            gradient[block] = (flat @ columns.flatten(0, 1)).view_as(gradient[block])
        return gradient.mT
