"""The matrix exponential, and ``expm(W) − I`` to full relative accuracy also where W is tiny."""

import math

import torch
from torch import Tensor

from .product import add_product

__all__ = ["doublings_for", "expm1_stages", "matrix_exp"]

_RADIUS = 0.7  # of the Taylor polynomial of degree 16, to float64 accuracy


def doublings_for(norm: float) -> int:
    """Return how many doublings matrices up to this norm need, at least 2.

    Example:
        >>> doublings_for(1.0), doublings_for(20.0)
        (2, 5)
    """
    return max(2, math.ceil(math.log2(norm / _RADIUS)))


def _taylor(w: Tensor) -> Tensor:
    square = w @ w
    cube, fourth = w @ square, square @ square

    def cubic(first: int) -> Tensor:
        a, b, c, d = (1 / math.factorial(j) for j in range(first, first + 4))
        value = torch.add(b * w, square, alpha=c).add_(cube, alpha=d)
        if first > 1:  # w itself is added last, to keep its digits
            value.diagonal(dim1=-2, dim2=-1).add_(a)
        return value

    tail = cubic(13)
    for first in (9, 5, 1):
        tail = add_product(cubic(first), fourth, tail)
    return add_product(w, w, tail)


def expm1_stages(matrix: Tensor, doublings: int) -> list[Tensor]:
    """Return ``expm(W/2^j) − I`` for ``j = 0, 1, ..., doublings``, by Taylor expansion and doubling.

    ``e ← 2e + e²`` doubles the argument without ever adding the identity, so that the relative error is a
    few eps for any small W. No branch depends on the data.

    Args:
        matrix: ``(..., m, m)``; accurate up to a norm of ``0.7 · 2^doublings``.
        doublings: how often the argument is doubled.

    Example:
        >>> w = torch.tensor([[0.0, -1e-15], [1e-15, 0.0]])
        >>> expm1_stages(w, 2)[0]
        tensor([[-5.0000e-31, -1.0000e-15],
                [ 1.0000e-15, -5.0000e-31]])
    """
    value = _taylor(matrix * 2.0**-doublings)
    stages = [value]
    for _ in range(doublings):
        value = add_product(2 * value, value, value)
        stages.append(value)
    return stages[::-1]


def matrix_exp(matrix: Tensor) -> Tensor:
    """Return ``expm(A)`` of ``(..., m, m)``, by torch, never of one matrix alone.

    torch evaluates a batch of one matrix by a polynomial of degree 8 with a wrong coefficient, to an error of
    2e-5 in float32 (https://github.com/pytorch/pytorch/issues/196592); batches of more are right.

    Example:
        >>> matrix_exp(torch.tensor([[0.0, 0.5], [-0.5, 0.0]]))
        tensor([[ 0.8776,  0.4794],
                [-0.4794,  0.8776]])
    """
    if matrix.shape[:-2].numel() != 1:
        result: Tensor = torch.linalg.matrix_exp(matrix)
        return result
    pair: Tensor = torch.linalg.matrix_exp(matrix.expand(2, *matrix.shape))
    return pair[0]
