"""The largest entries of a product of matrices that is too large to be kept."""

import torch
from torch import Tensor

__all__ = ["strongest_pairs"]


def strongest_pairs(a: Tensor, b: Tensor, k: int, entries: int = 2**22) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k largest positive entries of ``aᵀ b``, and their rows and columns, the largest first.

    Exact; there are fewer than k where fewer are positive. Rows and columns of zeros are left out, and the
    product is computed in blocks of rows.

    Args:
        a: ``(M, I)``.
        b: ``(M, J)``.
        k: how many.
        entries: of the product that are kept at once, about.

    Example:
        >>> a = torch.tensor([[1.0, 0.0, -2.0]])
        >>> strongest_pairs(a, torch.tensor([[3.0, -4.0]]), 2)
        (tensor([8., 3.]), tensor([2, 0]), tensor([1, 0]))
    """
    rows, columns = (z.any(0).nonzero().squeeze(1) for z in (a, b))
    a, b = a[:, rows].mT, b[:, columns]
    best, where, width = a.new_empty(0), rows.new_empty(0), len(columns)
    step = max(1, entries // max(1, width))
    for start in range(0, len(rows) if width else 0, step):
        block = (a[start : start + step] @ b).flatten()
        top, index = block.topk(min(k, len(block)))
        best, where = torch.cat((best, top)), torch.cat((where, index + start * width))
        best, order = best.topk(min(k, len(best)))
        where = where[order]
    best, where = best[best > 0], where[best > 0]
    if not len(best):
        return best, where, where
    return best, rows[where // width], columns[where % width]
