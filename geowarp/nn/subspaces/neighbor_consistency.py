"""The loss that gives neighbours the same cluster."""

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision

__all__ = ["NeighborConsistencyLoss"]


class NeighborConsistencyLoss(nn.Module):
    """``−log Σ_k q_ik q_jk``, the mean over pairs of neighbours: minus the log of the odds of one cluster.

    It is 0 where both are sure of the same cluster. Of a sample and itself it makes assignments certain.

    Shape:
        Soft assignments ``(..., B, K)`` of samples and of a neighbour of each, to a scalar.

    Raises:
        GeowarpError: for shapes that differ.

    References:
        Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool, SCAN: learning to classify images without
        labels, ECCV 2020, equation 2.

    Example:
        >>> loss = NeighborConsistencyLoss()
        >>> loss(torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0]]))
        tensor(0.6931)
    """

    def forward(self, assignments: Tensor, neighbors: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        if assignments.shape != neighbors.shape:
            raise GeowarpError(
                f"NeighborConsistencyLoss: the assignments have the shapes {tuple(assignments.shape)} and "
                f"{tuple(neighbors.shape)}; each sample needs one neighbour"
            )
        loss: Tensor = _loss(assignments, neighbors)
        return loss


@full_precision
def _loss(assignments: Tensor, neighbors: Tensor) -> Tensor:
    agreement = (assignments * neighbors).sum(-1)
    return -agreement.clamp_min(torch.finfo(agreement.dtype).tiny).log().mean()
