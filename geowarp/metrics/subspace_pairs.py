"""Distances of subspaces and their gradients, of each pair or of all pairs of two sets of bases."""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.differentiation import once_differentiable
from ..manifolds.linalg.principal_vectors import normal_part
from .aligned_bases import Bases, aligned

__all__ = ["BasesDistance", "all_pairs", "blocks_of", "combine", "each_pair", "products_of"]

_ENTRIES = 1 << 21  # of products or bases that are held at once


class BasesDistance(Protocol):
    """A distance d of bases x and y, from them or from ``yᵀx``; see ``SubspaceDistance``.

    The gradients are ``−(y − x xᵀy) W`` at x and ``−(x − y yᵀx) Wᵀ`` at y; W is what the ``at`` methods
    return, ``(..., l, k)``.
    """

    def of_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return d from the bases ``(..., n, k)`` and ``(..., n, l)``."""
        ...

    def at_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return W from the bases."""
        ...

    def of_sets(self, x: Bases, y: Bases) -> tuple[Tensor, Tensor]:
        """Return all d, ``(b, N, M)``, and which of them are too close to be accurate."""
        ...

    def at_products(self, products: Tensor, distance: Tensor) -> Tensor:
        """Return W from ``yᵀx``, ``(..., l, k)``, and d, ``(...)``."""
        ...


def _gradients(distance: BasesDistance, x: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    inner = -grad[..., None, None] * distance.at_bases(x, y)
    return normal_part(y, x) @ inner, normal_part(x, y) @ inner.mT


class _EachPair(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, distance: BasesDistance) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.distance = distance
        return distance.of_bases(x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        return *_gradients(ctx.distance, x, y, grad), None


def each_pair(distance: BasesDistance, x: Tensor, y: Tensor) -> Tensor:
    """Return the distance of each pair, ``(...)``.

    Example:
        >>> from geowarp.metrics import Chordal
        >>> each_pair(Chordal(), torch.eye(2)[:, :1], torch.eye(2)[:, 1:])
        tensor(1.)
    """
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (bases.expand(*batch, *bases.shape[-2:]) for bases in (x, y))
    value: Tensor = _EachPair.apply(x, y, distance)  # type: ignore[no-untyped-call]
    return value


def products_of(rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``y_jᵀ x_i``, ``(b, N, M, l, k)``, a view of ``(b, N, k, l, M)``, by one product.

    Example:
        >>> products_of(torch.zeros(1, 4, 9, 2), torch.zeros(1, 5, 9, 3)).shape
        torch.Size([1, 4, 5, 3, 2])
    """
    flat = rows.mT.flatten(1, 2) @ columns.permute(0, 2, 3, 1).flatten(2)
    blocks: Tensor = flat.unflatten(2, columns.shape[:0:-2]).unflatten(1, rows.shape[1::2])
    return blocks.permute(0, 1, 4, 3, 2)


def combine(bases: Tensor, blocks: Tensor) -> Tensor:
    """Return ``Σ_j base_j block_ij``, ``(b, N, n, k)``, of blocks ``(b, N, M, l, k)``, by one product.

    Example:
        >>> combine(torch.zeros(1, 5, 9, 3), torch.zeros(1, 4, 5, 3, 2)).shape
        torch.Size([1, 4, 9, 2])
    """
    right = blocks.permute(0, 2, 3, 1, 4)
    flat = bases.transpose(1, 2).flatten(2) @ right.flatten(3).flatten(1, 2)
    combined: Tensor = flat.unflatten(2, right.shape[3:])
    return combined.transpose(1, 2)


def blocks_of(x: Tensor, y: Tensor, least: int = 1) -> Iterator[slice]:
    """Yield blocks of rows whose products with all of y are few enough to hold, at least ``least`` blocks.

    Example:
        >>> x = torch.zeros(1, 4, 9, 2)
        >>> list(blocks_of(x, x, least=2))
        [slice(0, 2, None), slice(2, 4, None)]
    """
    count = x.shape[1]
    row = max(1, x.shape[0] * x.shape[-1] * y.shape[1] * y.shape[-1])
    size = max(1, min(_ENTRIES // row, -(-count // least)))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _pairs(close: Tensor, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield indices of batch, row and column of the close pairs, in parts whose bases fit."""
    size = max(1, x.shape[-2] * max(x.shape[-1], y.shape[-1]))
    for part in close.nonzero().split(max(1, _ENTRIES // size)):
        p, i, j = part.unbind(-1)
        yield p, i, j


def _mirror(table: Tensor, count: int) -> None:
    """Copy the part above the diagonal of the first ``count`` rows to the columns, in place."""
    rows, columns = table[:, :count], table[:, :, :count]
    columns[:, count:] = rows[:, :, count:].mT
    square = rows[:, :, :count].triu()
    columns[:, :count] = torch.where(square == 0, square.mT, square)


class _AllPairs(torch.autograd.Function):
    """All distances from aligned bases a and b; those of close pairs from x and y, the bases as they are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, *rest: Any) -> Tensor:
        shift_a, shift_b, distance, symmetric = rest
        left, right = Bases(a, shift_a), Bases(b, shift_b)
        table = x.new_empty(x.shape[0], x.shape[1], y.shape[1])
        close = torch.empty_like(table, dtype=torch.bool)
        for rows in blocks_of(x, y, least=8 if symmetric else 1):
            columns = slice(rows.start, None) if symmetric else slice(None)
            value, near = distance.of_sets(left.part(rows), right.part(columns))
            for p, i, j in _pairs(near, x, y):
                value[p, i, j] = distance.of_bases(x[:, rows][p, i], y[:, columns][p, j])
            for whole, part in ((table, value), (close, near)):
                whole[:, rows, columns] = part
                if symmetric:
                    _mirror(whole[:, columns, columns], rows.stop - rows.start)
        ctx.save_for_backward(x, y, a, b, shift_a, shift_b, table, close)
        ctx.distance = distance
        return table.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, a, b, shift_a, shift_b, table, close = ctx.saved_tensors
        near_x, near_y, far_a, far_b = (torch.zeros_like(bases) for bases in (x, y, a, b))
        for rows in blocks_of(x, y):
            near, pull = close[:, rows], grad[:, rows]
            inner = ctx.distance.at_products(products_of(a[:, rows], b), table[:, rows])
            weight = torch.where(near, 0, -pull)[..., None, None] * inner
            far_a[:, rows] = combine(shift_b, weight)
            far_b += combine(shift_a[:, rows], weight.transpose(1, 2).mT)
            if a.shape[-1] == b.shape[-1]:  # a multiple of each base itself, which has no normal part
                far_a[:, rows] -= shift_a[:, rows] @ weight.sum(2)
                far_b -= shift_b @ weight.sum(1).mT
            for p, i, j in _pairs(near, x, y):
                at_x, at_y = _gradients(ctx.distance, x[:, rows][p, i], y[p, j], pull[p, i, j])
                near_x[:, rows].index_put_((p, i), at_x, accumulate=True)
                near_y.index_put_((p, j), at_y, accumulate=True)
        far_a, far_b = far_a - a @ (a.mT @ far_a), far_b - b @ (b.mT @ far_b)
        return near_x, near_y, None, None, far_a, far_b, None, None


def all_pairs(distance: BasesDistance, x: Tensor, y: Tensor, symmetric: bool = False) -> Tensor:
    """Return the distances of all pairs, ``(..., N, M)``.

    Args:
        distance: the distance.
        x: ``(..., N, n, k)``.
        y: ``(..., M, n, l)``.
        symmetric: whether x and y are the same tensor.

    Example:
        >>> from geowarp.metrics import Chordal
        >>> x = torch.eye(3).unsqueeze(-1)
        >>> all_pairs(Chordal(), x[:2], x)
        tensor([[0., 1., 1.],
                [1., 0., 1.]])
    """
    if torch.compiler.is_compiling():  # the number of close pairs is no shape that a graph can have
        return each_pair(distance, x[..., :, None, :, :], y[..., None, :, :, :])
    batch = broadcast_shapes(x.shape[:-3], y.shape[:-3])
    x, y = (
        bases.expand(*batch, *bases.shape[-3:]).reshape(batch.numel(), *bases.shape[-3:]) for bases in (x, y)
    )
    (a, shift_a), (b, shift_b) = aligned(x, x if symmetric else y)
    value: Tensor = _AllPairs.apply(  # type: ignore[no-untyped-call]
        x, y, a, b, shift_a, shift_b, distance, symmetric
    )
    return value.reshape(*batch, x.shape[-3], y.shape[-3])
