"""Bures–Wasserstein distances of all pairs of two sets of matrices."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..linalg.broadcasting import broadcast_shapes
from ..linalg.differentiation import once_differentiable
from ..linalg.threads import over_threads
from .optimal_transport import couple, transport_distance, transport_gradients
from .points import cholesky

__all__ = ["pairwise_transport_distance"]

_CLOSE = 0.1  # d² / (tr P + tr Q) below which the trace formula has lost a digit
_ENTRIES = 1 << 22  # of the matrices that are gathered at once


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _parts(pairs: tuple[Tensor, Tensor, Tensor], entries: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield indices of batch, p and q, few enough at a time to gather their matrices."""
    yield from zip(*(index.split(max(1, _ENTRIES // max(1, entries))) for index in pairs), strict=True)


def _all_pairs(p: Tensor, q: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices of all pairs; of two equal sets those with ``i < j``."""
    pairs = torch.ones(p.shape[0], p.shape[1], q.shape[1], dtype=torch.bool, device=p.device)
    b, i, j = (pairs.triu(1) if same else pairs).nonzero().unbind(-1)
    return b, i, j


def _distances(p: Tensor, q: Tensor, factors: tuple[Tensor, Tensor], pairs: tuple[Tensor, ...]) -> Tensor:
    """Return the distances of some pairs, by the trace formula, and of the close ones by aligned factors."""
    b, i, j = pairs
    values = over_threads(torch.linalg.svdvals, factors[1][b, j].mT @ factors[0][b, i])
    total = _trace(p)[b, i] + _trace(q)[b, j]
    square = total - 2 * values.sum(-1)
    close = (square <= _CLOSE * total).nonzero().squeeze(-1)
    distance: Tensor = square.clamp_min(0).sqrt()
    b, i, j = (index[close] for index in (b, i, j))
    distance[close] = torch.linalg.matrix_norm(couple(p[b, i], q[b, j]).difference)
    return distance


class _PairwiseDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, of_p: Tensor, of_q: Tensor, same: bool) -> Tensor:
        value = p.new_zeros(p.shape[0], p.shape[1], q.shape[1])
        for pairs in _parts(_all_pairs(p, q, same), p.shape[-1] ** 2):
            value[pairs] = _distances(p, q, (of_p, of_q), pairs)
        value = value + value.mT if same else value
        ctx.save_for_backward(p, q, value)
        ctx.same = same
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        p, q, value = ctx.saved_tensors
        at_p, at_q = torch.zeros_like(p), torch.zeros_like(q)
        grad = grad + grad.mT if ctx.same else grad
        for b, i, j in _parts(_all_pairs(p, q, ctx.same), p.shape[-1] ** 2):
            first, second = transport_gradients(couple(p[b, i], q[b, j]), value[b, i, j], grad[b, i, j])
            at_p.index_put_((b, i), first, accumulate=True)
            at_q.index_put_((b, j), second, accumulate=True)
        return at_p, at_q, None, None, None


def pairwise_transport_distance(p: Tensor, q: Tensor) -> Tensor:
    """Return the distances of all pairs ``(..., N, M)`` of ``(..., N, n, n)`` and ``(..., M, n, n)``.

    ``tr P + tr Q − 2 Σσ`` of the singular values of ``Kᵀ C``, and for pairs where that cancels what
    ``transport_distance`` gives. Beside the result, memory does not grow with N and M. Where q is the tensor
    p, half of the pairs are computed.

    Example:
        >>> p = torch.tensor([1.0, 4.0, 9.0]).reshape(3, 1, 1)
        >>> pairwise_transport_distance(p[:1], p)
        tensor([[0., 1., 2.]])
    """
    if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
        return transport_distance(p[..., :, None, :, :], q[..., None, :, :, :])
    with torch.no_grad():
        of_p = cholesky(p)
        of_q = of_p if q is p else cholesky(q)
    batch = broadcast_shapes(p.shape[:-3], q.shape[:-3])
    flat = (x.expand(*batch, *x.shape[-3:]).reshape(batch.numel(), *x.shape[-3:]) for x in (p, q, of_p, of_q))
    value: Tensor = _PairwiseDistance.apply(*flat, q is p)  # type: ignore[no-untyped-call]
    return value.reshape(*batch, p.shape[-3], q.shape[-3])
