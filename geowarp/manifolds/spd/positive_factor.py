"""A positive function that agrees with ``1 + x`` to second order at 0."""

import torch
from torch import Tensor

__all__ = ["positive_factor"]

_LEAST = 0.25


def _quadratic(x: Tensor) -> Tensor:
    return 1 - x + x.square()


class _PositiveFactor:
    """``1 + x`` for ``x >= 0``; ``c + (1 − c) / (1 − y + y²)``, ``y = x / (1 − c)``, c = ¼, for ``x < 0``.

    It increases from ¼ at −∞, and is ``1 + x + O(x³)`` at 0.

    Example:
        >>> positive_factor(torch.tensor([-1e9, -0.01, 0.0, 2.0]))
        tensor([0.2500, 0.9900, 1.0000, 3.0000])
    """

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        y = eigenvalue / (1 - _LEAST)
        return torch.where(y < 0, _LEAST + (1 - _LEAST) / _quadratic(y.clamp_max(0)), 1 + eigenvalue)

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        low, high = torch.minimum(a, b) / (1 - _LEAST), torch.maximum(a, b) / (1 - _LEAST)
        negative, rest = low.clamp_max(0), high.clamp_max(0)
        below = (1 - negative - rest) / (_quadratic(negative) * _quadratic(rest))
        fall = -negative * (1 - negative) / _quadratic(negative)
        width = high - negative
        across = (high + fall) / torch.where(width > 0, width, 1)
        return torch.where(low >= 0, 1, torch.where(high <= 0, below, across))


positive_factor = _PositiveFactor()
