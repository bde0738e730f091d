"""The logarithm and the distance of Grassmann, for pairs of bases and for all pairs of two sets of them."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .linalg import polar_factor, safe_sqrt, sym
from .linalg.broadcasting import broadcast_shapes
from .linalg.differentiation import once_differentiable
from .linalg.eigenfunction import symmetric_function
from .linalg.threads import over_threads
from .linalg.trigonometric import arccos_ratio

__all__ = ["distance", "logarithm", "pairwise_distance"]

_CLOSE = 0.1  # Σ sin²θ below which the cosines of the angles do not say the distance to full accuracy
_ENTRIES = 1 << 22  # of the bases that are gathered at once


def _normal(x: Tensor, y: Tensor, turn: Tensor) -> Tensor:
    """Return the part of ``y`` normal to span(x), as that of ``y − x turn``: about eps² for equal bases."""
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    normal = y - x - x @ (turn - eye)
    for _ in range(2):
        normal = normal - x @ (x.mT @ normal)
    return normal


def _aligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``xᵀŷ`` (symmetric) and ``ŷ − x xᵀŷ`` for the basis ŷ of span(y) nearest to x."""
    inner = x.mT @ y
    turn = polar_factor(inner)
    return sym(inner @ turn.mT), _normal(x, y, turn) @ turn.mT


def logarithm(x: Tensor, y: Tensor) -> Tensor:
    """Return the horizontal vector at ``x`` whose geodesic reaches span(y), ``(..., n, k)``.

    Example:
        >>> logarithm(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [-1.0]])).abs().squeeze()
        tensor([0.0000, 1.5708])
    """
    cosine, normal = _aligned(x, y)
    return normal @ symmetric_function(cosine, arccos_ratio)


def _arc_length(x: Tensor, y: Tensor) -> Tensor:
    u, cosine, vh = torch.linalg.svd(y.mT @ x)
    sine = (_normal(x, y, (u @ vh).mT) @ u).norm(dim=-2)
    length: Tensor = torch.atan2(sine, cosine).norm(dim=-1)
    return length


def _gradients(x: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    at_x, at_y = logarithm(x, y), logarithm(y, x)
    size = safe_sqrt(at_x.square().sum((-2, -1), keepdim=True))
    apart = size > torch.finfo(size.dtype).eps ** 1.5  # equal bases give eps²
    scale = torch.where(apart, -grad[..., None, None] / torch.where(apart, size, 1), 0)
    return scale * at_x, scale * at_y


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _arc_length(x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return _gradients(x, y, grad)


def distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``√Σθ²`` of the principal angles θ, ``(...)``, by ``atan2`` of their sines and cosines.

    Example:
        >>> distance(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [-1.0]]))
        tensor(1.5708)
    """
    value: Tensor = _Distance.apply(*torch.broadcast_tensors(x, y))  # type: ignore[no-untyped-call]
    return value


def _combine(points: Tensor, blocks: Tensor) -> Tensor:
    """Return ``Σ_p point_p block_pq``, ``(b, Q, n, k)``, of blocks ``(b, P, k, Q, k)``, by one product."""
    product = points.transpose(1, 2).flatten(2) @ blocks.flatten(3).flatten(1, 2)
    combined: Tensor = product.unflatten(2, blocks.shape[3:])
    return combined.transpose(1, 2)


def _gram(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x_iᵀ y_j``, ``(b, N, M, k, k)``, by one product."""
    product = x.mT.flatten(1, 2) @ y.transpose(1, 2).flatten(2)
    blocks: Tensor = product.unflatten(2, y.shape[1::2]).unflatten(1, x.shape[1::2])
    return blocks.transpose(2, 3)


def _far(gram: Tensor) -> Tensor:
    return gram.shape[-1] - gram.square().sum((-2, -1)) >= _CLOSE


def _close_pairs(gram: Tensor, entries: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield indices of batch, x and y of the close pairs, few enough at a time to gather their bases."""
    for part in (~_far(gram)).nonzero().split(max(1, _ENTRIES // entries)):
        b, i, j = part.unbind(-1)
        yield b, i, j


def _lengths(gram: Tensor, symmetric: bool) -> Tensor:
    """Return ``√Σ arccos² σ`` of the products of all pairs, ``(b, N, M)``; if symmetric, of half of them."""
    if not symmetric:
        angles: Tensor = over_threads(torch.linalg.svdvals, gram).clamp_max_(1).arccos_()
        lengths: Tensor = torch.linalg.vector_norm(angles, dim=-1)
        return lengths
    length: Tensor = gram.new_zeros(gram.shape[:3])
    i, j = torch.triu_indices(gram.shape[1], gram.shape[2], device=gram.device)
    length[:, i, j] = length[:, j, i] = _lengths(gram[:, i, j], False)
    return length


class _PairwiseDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, symmetric: bool) -> Tensor:
        gram = _gram(x, y)
        ctx.save_for_backward(x, y, gram)
        value = _lengths(gram, symmetric)
        for b, i, j in _close_pairs(gram, x.shape[-2] * x.shape[-1]):
            value[b, i, j] = _arc_length(x[b, i], y[b, j])
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y, gram = ctx.saved_tensors
        u, cosine, vh = torch.linalg.svd(gram)
        far = _far(gram)
        size = torch.where(far, cosine.clamp_max(1).arccos().norm(dim=-1), 1)
        weight = torch.where(far, -grad / size, 0)[..., None, None] * arccos_ratio(cosine)[..., None, :]
        cross = (u * weight) @ vh
        radial = weight * cosine[..., None, :]
        at_x = _combine(y, cross.permute(0, 2, 4, 1, 3)) - x @ (u * radial @ u.mT).sum(2)
        at_y = _combine(x, cross.permute(0, 1, 3, 2, 4)) - y @ (vh.mT * radial @ vh).sum(1)
        for b, i, j in _close_pairs(gram, x.shape[-2] * x.shape[-1]):
            near_x, near_y = _gradients(x[b, i], y[b, j], grad[b, i, j])
            at_x.index_put_((b, i), near_x, accumulate=True)
            at_y.index_put_((b, j), near_y, accumulate=True)
        return at_x, at_y, None


def pairwise_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the distances of all pairs ``(..., N, M)`` of ``(..., N, n, k)`` and ``(..., M, n, k)``.

    One product of N k by M k gives the cosines of all angles. Where Σ sin²θ is below 0.1 they no longer tell
    the distance to full accuracy, and the pair is computed from its bases. Where y is x itself, the angles
    of each pair are computed once. Memory is that of NM k x k matrices.

    Example:
        >>> x = torch.eye(3).unsqueeze(-1)
        >>> pairwise_distance(x[:2], x)
        tensor([[0.0000, 1.5708, 1.5708],
                [1.5708, 0.0000, 1.5708]])
    """
    if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
        return distance(x[..., :, None, :, :], y[..., None, :, :, :])
    batch, symmetric = broadcast_shapes(x.shape[:-3], y.shape[:-3]), y is x
    x, y = (points.expand(*batch, *points.shape[-3:]) for points in (x, y))
    flat = (points.reshape(batch.numel(), *points.shape[-3:]) for points in (x, y))
    value: Tensor = _PairwiseDistance.apply(*flat, symmetric)  # type: ignore[no-untyped-call]
    return value.reshape(*batch, x.shape[-3], y.shape[-3])
