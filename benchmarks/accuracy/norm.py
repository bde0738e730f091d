"""The norm of vectors."""

import torch
from torch import Tensor

__all__ = ["norm"]


def norm(x: Tensor, dim: int = -1) -> Tensor:
    """Return ``‖x‖`` along a dimension."""
    length: Tensor = torch.linalg.vector_norm(x, dim=dim)
    return length
