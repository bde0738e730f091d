"""Distances of all pairs, some of them computed in another way."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["close_pairs", "replace_pairs"]

_ENTRIES = 1 << 22  # of the matrices that are gathered at once


def _gather(parts: Iterable[Tensor], batch: torch.Size, lead: int, index: tuple[Tensor, Tensor]) -> Any:
    """Return the same named tuple of the tensors ``(..., N, *rest)`` at indices of batch and of N."""
    rows = []
    for part in parts:
        shape = part.shape[lead - 1 :]
        rows.append(part.expand(*batch, *shape).reshape(batch.numel(), *shape)[index])
    return type(parts)(*rows)


def close_pairs(distance: Tensor, of_x: Tensor, of_y: Tensor, *, ratio: float) -> Tensor:
    """Return the indices ``(K, 3)`` of batch and of both sets where ``0 < d_ij < ratio (s_i + t_j)``.

    Args:
        distance: ``(..., N, M)``; the batch dimensions are counted as one.
        of_x: the sizes s, ``(..., N)``; the batch dimensions broadcast.
        of_y: the sizes t, ``(..., M)``.
        ratio: a number.

    Example:
        >>> ones = torch.ones(2)
        >>> close_pairs(torch.tensor([[0.0, 0.1], [0.1, 3.0]]), ones, ones, ratio=0.5)
        tensor([[0, 0, 1],
                [0, 1, 0]])
    """
    if distance.numel() == 0:
        return distance.new_zeros(0, 3, dtype=torch.long)
    *batch, n, m = distance.shape
    count = torch.Size(batch).numel()
    flat = distance.reshape(count, n, m)
    pairs = (flat < ratio * (of_x.max() + of_y.max())).nonzero()  # few, most often none
    b, i, j = pairs.unbind(-1)
    x = of_x.expand(*batch, n).reshape(count, n)[b, i]
    y = of_y.expand(*batch, m).reshape(count, m)[b, j]
    value = flat[b, i, j]
    return pairs[(value > 0) & (value < ratio * (x + y))]


def replace_pairs(
    distance: Tensor,
    pairs: Tensor,
    first: Iterable[Tensor],
    second: Iterable[Tensor],
    function: Callable[[Any, Any], Tensor],
) -> Tensor:
    """Return distances ``(..., N, M)`` with those of some pairs computed by a function of the pair.

    Args:
        distance: ``(..., N, M)``.
        pairs: indices ``(K, 3)`` of those to replace, the batch dimensions counted as one.
        first: a named tuple of tensors that begin with ``(..., N)``; the batch dimensions broadcast.
        second: one of tensors that begin with ``(..., M)``.
        function: takes two named tuples of K rows and gives ``(K,)``; it is called for few rows at a time.

    Example:
        >>> from typing import NamedTuple
        >>> Points = NamedTuple("Points", [("matrix", torch.Tensor)])
        >>> x = Points(torch.arange(3.0).reshape(3, 1, 1))
        >>> pairs = torch.tensor([[0, 1, 2], [0, 2, 2]])
        >>> replace_pairs(torch.zeros(3, 3), pairs, x, x, lambda a, b: (a.matrix + b.matrix).squeeze())
        tensor([[0., 0., 0.],
                [0., 0., 3.],
                [0., 0., 4.]])
    """
    if pairs.shape[0] == 0:
        return distance
    *batch, n, m = distance.shape
    size = torch.Size(batch)
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
