"""Matrix products fused with a sum."""

import torch
from torch import Tensor

__all__ = ["add_product"]


def add_product(c: Tensor, a: Tensor, b: Tensor, alpha: float = 1.0) -> Tensor:
    """Return ``C + alpha A B`` without a temporary of the size of C.

    Args:
        c: ``(..., n, k)``.
        a: ``(..., n, m)``.
        b: ``(..., m, k)``; the batch dimensions broadcast, and are fastest where they are equal.
        alpha: the factor of the product.

    Example:
        >>> eye = torch.eye(2)
        >>> add_product(eye, eye, eye, alpha=-0.5)
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    batch = c.shape[:-2]
    if not (a.shape[:-2] == batch == b.shape[:-2]):
        return torch.add(c, a @ b, alpha=alpha)
    if not batch:
        return torch.addmm(c, a, b, alpha=alpha)
    c, a, b = (matrix.flatten(0, -3) for matrix in (c, a, b))
    result: Tensor = torch.baddbmm(c, a, b, alpha=alpha).unflatten(0, batch)
    return result
