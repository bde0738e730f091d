"""Subspaces as vectors whose Euclidean distance is the chordal one."""

import math

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision

__all__ = ["ProjectionEmbedding"]


class ProjectionEmbedding(nn.Module):
    """The upper triangle of ``UUᵀ`` as a vector: ``(..., n, k)`` to ``(..., n(n+1)/2)``.

    Diagonal entries are divided by √2, so that the Euclidean distance of two vectors is the chordal distance
    ``‖UUᵀ − VVᵀ‖_F / √2`` of the subspaces.

    References:
        Conway, Hardin, Sloane, Packing lines, planes, etc.: packings in Grassmannian spaces, Experiment.
        Math. 5 (1996), section 5.

    Example:
        >>> ProjectionEmbedding()(torch.tensor([[0.6], [0.8]]))
        tensor([0.2546, 0.4800, 0.4525])
    """

    def forward(self, u: Tensor) -> Tensor:
        """Return the vector ``(..., n(n+1)/2)`` of an orthonormal basis ``(..., n, k)``."""
        if u.dim() < 2:
            raise GeowarpError(f"ProjectionEmbedding: the input has shape {tuple(u.shape)}, not (..., n, k)")
        vector: Tensor = full_precision(_embed)(u)
        return vector


def _embed(u: Tensor) -> Tensor:
    n = u.shape[-2]
    row, column = torch.triu_indices(n, n, device=u.device)
    weight = torch.ones(row.shape, dtype=u.dtype, device=u.device)
    weight = torch.where(row == column, 1 / math.sqrt(2), weight)
    projector = u @ u.mT
    return projector.flatten(-2).index_select(-1, row * n + column) * weight
