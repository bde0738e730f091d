"""Richardson's extrapolation of results whose error is a series in even powers of the step."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

__all__ = ["halvings", "romberg"]

_COARSEST = 4


def halvings(segments: int) -> list[int]:
    """Return the numbers of segments that a result is computed with, each twice the last.

    Example:
        >>> halvings(32)
        [4, 8, 16, 32]
    """
    levels = [segments]
    while levels[0] >= 2 * _COARSEST and levels[0] % 2 == 0:
        levels.insert(0, levels[0] // 2)
    return levels


def romberg(results: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the limit of results for steps h, h/2, h/4, ..., and by how much the last step changed it.

    The errors must be a series in h², h⁴, ...; with m results the first m − 1 terms are eliminated.

    References:
        Romberg, Vereinfachte numerische Integration, Det Kongelige Norske Videnskabers Selskab Forhandlinger
        28 (1955).

    Example:
        >>> import torch
        >>> romberg([torch.tensor(1 + h**2 + h**4) for h in (1.0, 0.5, 0.25)])[0]
        tensor(1.)
    """
    column, error = list(results), results[-1] - results[-1]
    for power in range(1, len(results)):
        weight = 4**power
        error = column[-1]
        column = [(weight * fine - coarse) / (weight - 1) for coarse, fine in pairwise(column)]
        error = column[-1] - error
    return column[0], error.abs()
