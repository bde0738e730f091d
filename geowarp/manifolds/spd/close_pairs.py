"""Distances of all pairs, some of them computed in another way."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["replace_pairs"]

_ENTRIES = 1 << 22  # of the matrices that are gathered at once


def _gather(parts: Iterable[Tensor], batch: torch.Size, lead: int, index: tuple[Tensor, Tensor]) -> Any:
    """Return the same named tuple of the tensors ``(..., N, *rest)`` at indices of batch and of N."""
    rows = []
    for part in parts:
        shape = part.shape[lead - 1 :]
        rows.append(part.expand(*batch, *shape).reshape(batch.numel(), *shape)[index])
    return type(parts)(*rows)


def replace_pairs(
    distance: Tensor,
    where: Tensor,
    first: Iterable[Tensor],
    second: Iterable[Tensor],
    function: Callable[[Any, Any], Tensor],
) -> Tensor:
    """Return distances ``(..., N, M)`` with those of some pairs computed by a function of the pair.

    Args:
        distance: ``(..., N, M)``.
        where: which pairs to replace, of the same shape.
        first: a named tuple of tensors that begin with ``(..., N)``; the batch dimensions broadcast.
        second: one of tensors that begin with ``(..., M)``.
        function: takes two named tuples of K rows and gives ``(K,)``; it is called for few rows at a time.

    Example:
        >>> from typing import NamedTuple
        >>> Points = NamedTuple("Points", [("matrix", torch.Tensor)])
        >>> x = Points(torch.arange(3.0).reshape(3, 1, 1))
        >>> where = torch.eye(3, dtype=torch.bool)
        >>> replace_pairs(torch.zeros(3, 3), where, x, x, lambda a, b: (a.matrix + b.matrix).squeeze())
        tensor([[0., 0., 0.],
                [0., 2., 0.],
                [0., 0., 4.]])
    """
    *batch, n, m = distance.shape
    size = torch.Size(batch)
    pairs = where.reshape(size.numel(), n, m).nonzero()
    if pairs.shape[0] == 0:
        return distance
    matrix = next(iter(first))
    rows = max(1, _ENTRIES // max(1, matrix.shape[-2] * matrix.shape[-1]))
    values = []
    for part in pairs.split(rows):
        b, i, j = part.unbind(-1)
        x = _gather(first, size, next(iter(first)).ndim - 2, (b, i))
        y = _gather(second, size, next(iter(second)).ndim - 2, (b, j))
        values.append(function(x, y))
    flat = distance.reshape(size.numel(), n, m)
    replaced: Tensor = flat.index_put(tuple(pairs.unbind(-1)), torch.cat(values)).reshape(distance.shape)
    return replaced
