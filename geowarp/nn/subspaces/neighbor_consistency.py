"""The loss that gives neighbours the same cluster."""

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision

__all__ = ["NeighborConsistencyLoss"]


class NeighborConsistencyLoss(nn.Module):
    """``−log Σ_k q_ik q_jk``, the mean over pairs of neighbours: of the probability of one cluster.

    It is 0 where both are sure of the same cluster. Of a sample and itself it makes assignments certain.
    Where both are sure of different clusters, to rounding, it is that of the least positive probability and
    has no gradient; ``of_logits`` has both then.

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
        _check_shapes(assignments, neighbors)
        loss: Tensor = _loss(assignments, neighbors)
        return loss

    def of_logits(self, logits: Tensor, neighbors: Tensor) -> Tensor:
        """Return the loss of the softmax of logits ``(..., B, K)``, exact also where that is certain.

        Example:
            >>> NeighborConsistencyLoss().of_logits(torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]]))
            tensor(89.3069)
        """
        _check_shapes(logits, neighbors)
        loss: Tensor = _loss_of_logits(logits, neighbors)
        return loss


def _check_shapes(assignments: Tensor, neighbors: Tensor) -> None:
    if assignments.shape != neighbors.shape:
        raise GeowarpError(
            f"NeighborConsistencyLoss: the assignments have the shapes {tuple(assignments.shape)} and "
            f"{tuple(neighbors.shape)}; each sample needs one neighbour"
        )


@full_precision
def _loss_of_logits(logits: Tensor, neighbors: Tensor) -> Tensor:
    return -(logits.log_softmax(-1) + neighbors.log_softmax(-1)).logsumexp(-1).mean()


@full_precision
def _loss(assignments: Tensor, neighbors: Tensor) -> Tensor:
    agreement = (assignments * neighbors).sum(-1)
    return -agreement.clamp_min(torch.finfo(agreement.dtype).tiny).log().mean()
