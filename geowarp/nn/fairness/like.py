"""Whether points are like those that a potential was made of."""

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["check_like", "in_single"]

_HALF = (torch.float16, torch.bfloat16)


def check_like(name: str, x: Tensor, reference: Tensor, what: str) -> tuple[int, ...]:
    """Return the batch dimensions of points ``(..., *point)``, of the shape and dtype of ``(n, *point)``.

    Beside a reference in half precision they may be of any dtype.

    Raises:
        GeowarpError: for points of another shape or dtype.

    Example:
        >>> check_like("LinearPotential", torch.zeros(5, 3), torch.zeros(2, 4), "directions")
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: LinearPotential: the points have the shape (5, 3) and the dtype ...
    """
    point, dtype = tuple(reference.shape[1:]), reference.dtype
    batch = max(0, x.ndim - len(point))
    if tuple(x.shape[batch:]) != point or (x.dtype != dtype and dtype not in _HALF):
        raise GeowarpError(
            f"{name}: the points have the shape {tuple(x.shape)} and the dtype {x.dtype}; those of the "
            f"{what} are {point} and {dtype}"
        )
    return tuple(x.shape[:batch])


def in_single(x: Tensor) -> Tensor:
    """Return x without gradient, in single precision where it has less.

    Example:
        >>> in_single(torch.zeros(1, dtype=torch.float16))
        tensor([0.])
    """
    return x.detach().float() if x.dtype in _HALF else x.detach()
