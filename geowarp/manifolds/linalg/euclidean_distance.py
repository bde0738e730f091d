"""Euclidean distances of all pairs of vectors, by one matrix product, without its cancellation."""

from typing import Any

import torch
from torch import Tensor

from .broadcasting import broadcast_shapes
from .differentiation import once_differentiable

__all__ = ["pairwise_euclidean_distance"]

_CLOSE = 0.1  # ‖a − b‖² / (‖a‖² + ‖b‖²) below which a² + b² − 2ab has lost more than a digit
_ENTRIES = 1 << 22  # of the vectors that are gathered at once


def _centred(x: Tensor, y: Tensor, same: bool) -> tuple[Tensor, Tensor]:
    """Return both sets less their common centre, so that only pairs closer than the sets are wide cancel."""
    if same:
        centred = x - x.sum(-2, keepdim=True) / max(1, x.shape[-2])
        return centred, centred
    total = x.sum(-2, keepdim=True) + y.sum(-2, keepdim=True)
    centre = total / max(1, x.shape[-2] + y.shape[-2])
    return x - centre, y - centre


def _pairs(close: Tensor, entries: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    pairs = close.nonzero()
    return [part.unbind(-1) for part in pairs.split(max(1, _ENTRIES // max(1, entries))) if len(pairs)]


class _PairwiseDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, same: bool) -> Tensor:
        a, b = _centred(x, y, same)
        of_a = torch.linalg.vector_norm(a, dim=-1).square()
        of_b = of_a if same else torch.linalg.vector_norm(b, dim=-1).square()
        total = of_a[:, :, None] + of_b[:, None, :]
        square = torch.baddbmm(total, a, b.mT, alpha=-2)
        close = square <= total.mul_(_CLOSE)
        if same:
            square.diagonal(dim1=-2, dim2=-1).mul_(0).abs_()  # NaN stays
            close.diagonal(dim1=-2, dim2=-1).fill_(False)
        value = square.clamp_min_(0).sqrt_()
        for p, i, j in _pairs(close, x.shape[-1]):
            value[p, i, j] = torch.linalg.vector_norm(x[p, i] - y[p, j], dim=-1)
        ctx.save_for_backward(x, y, value, close)
        ctx.same = same
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, value, close = ctx.saved_tensors
        a, b = _centred(x, y, ctx.same)
        ratio = torch.where(value > 0, grad / torch.where(value > 0, value, 1), 0)
        weight = torch.where(close, 0, ratio)
        at_x = weight.sum(-1)[..., None] * a - weight @ b
        at_y = weight.sum(-2)[..., None] * b - weight.mT @ a
        for p, i, j in _pairs(close, x.shape[-1]):
            pull = ratio[p, i, j, None] * (x[p, i] - y[p, j])
            at_x.index_put_((p, i), pull, accumulate=True)
            at_y.index_put_((p, j), -pull, accumulate=True)
        return at_x, at_y, None


def pairwise_euclidean_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``‖x_i − y_j‖``, ``(..., N, M)``, of rows of ``(..., N, k)`` and ``(..., M, k)``.

    ``a² + b² − 2ab`` about the common centre of the rows; pairs much closer together than to the centre are
    computed from their differences, so that every distance is accurate to a few digits of rounding. The
    gradient is 0 where two rows are equal; it can be differentiated once.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
        >>> pairwise_euclidean_distance(x, x)
        tensor([[0., 5.],
                [5., 0.]])
    """
    if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    flat = (rows.expand(*batch, *rows.shape[-2:]).reshape(batch.numel(), *rows.shape[-2:]) for rows in (x, y))
    value: Tensor = _PairwiseDistance.apply(*flat, y is x)  # type: ignore[no-untyped-call]
    return value.reshape(*batch, x.shape[-2], y.shape[-2])
