"""Correlations of samples and of their ranks."""

import math

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["pearson", "ranks", "spearman"]


def ranks(values: Tensor) -> Tensor:
    """Return the ranks ``(n,)`` of values, from 1 and in float64; equal values share the mean of theirs.

    Example:
        >>> ranks(torch.tensor([5.0, 2.0, 5.0]))
        tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)
    """
    _, codes, counts = torch.unique(values, return_inverse=True, return_counts=True)
    means: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()
    return means[codes]


def pearson(x: Tensor, y: Tensor) -> float:
    """Return the correlation of two samples ``(n,)``, not a number where one is constant or has no numbers.

    Raises:
        GeowarpError: for different numbers of values, and fewer than 2.

    Example:
        >>> pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0]))
        1.0
    """
    if len(x) != len(y) or len(x) < 2:
        raise GeowarpError(
            f"a correlation of {len(x)} and {len(y)} values; it needs as many of both, at least 2"
        )
    x, y = (values - values.mean() for values in (x.detach().double(), y.detach().double()))
    scale = math.sqrt(float(x @ x) * float(y @ y))
    return max(-1.0, min(1.0, float(x @ y) / scale)) if scale > 0 else math.nan


def spearman(x: Tensor, y: Tensor) -> float:
    """Return the correlation of the ranks of two samples ``(n,)``, not a number where one is constant.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 8.0, 27.0]))
        1.0
    """
    return pearson(ranks(x.detach()), ranks(y.detach()))
