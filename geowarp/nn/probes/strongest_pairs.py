"""The largest entries of a product of matrices that is too large to be kept."""

import torch
from torch import Tensor

__all__ = ["strongest_pairs"]


_SLACK = 1.001  # for the rounding of norms and products, far above it


def strongest_pairs(a: Tensor, b: Tensor, k: int, entries: int = 2**22) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k largest positive entries of ``aᵀ b``, and their rows and columns, the largest first.

    Exact; there are fewer than k where fewer are positive. The product is computed in blocks of rows, the
    longest columns of a and b first, and only where ``‖a_i‖ ‖b_j‖``, which no entry exceeds, is above the
    k-th largest entry so far.

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
    (a, a_norm, a_order), (b, b_norm, b_order) = _longest_first(a), _longest_first(b)
    best, rows, columns = a.new_empty(0), a_order[:0], b_order[:0]
    step = max(1, entries // max(1, len(b_norm)))
    for start in range(0, len(a_norm), step):
        least = best[-1] if len(best) == k else best.new_zeros(())
        width = int((a_norm[start] * b_norm * _SLACK > least).sum())
        if not width:
            break
        block = (a[:, start : start + step].mT @ b[:, :width]).flatten()
        top, index = block.topk(min(k, len(block)))
        best, rows = torch.cat((best, top)), torch.cat((rows, start + index // width))
        columns = torch.cat((columns, index % width))
        best, order = best.topk(min(k, len(best)))
        rows, columns = rows[order], columns[order]
    positive = best > 0
    return best[positive], a_order[rows[positive]], b_order[columns[positive]]


def _longest_first(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the columns in the order of their norms, the norms, and where the columns were."""
    norm, order = a.norm(dim=0).sort(descending=True)
    return a[:, order], norm, order
