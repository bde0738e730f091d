"""Dimensions of a tensor."""

from torch import Tensor

__all__ = ["append_dimensions"]


def append_dimensions(x: Tensor, count: int) -> Tensor:
    """Return ``x`` with ``count`` dimensions of size 1 after its own, to multiply points by numbers.

    Example:
        >>> append_dimensions(torch.zeros(2, 3), 2).shape
        torch.Size([2, 3, 1, 1])
    """
    return x.reshape(x.shape + (1,) * count)
