"""The objective of multiview clustering."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from .cluster_contrastive import ClusterContrastiveLoss, CosineSimilarity, balance
from .contrastive import GrassmannContrastiveLoss
from .multiview_network import MultiviewOutput
from .neighbor_consistency import NeighborConsistencyLoss

__all__ = ["MultiviewClusteringLoss"]


class MultiviewClusteringLoss(nn.Module):
    """The weighted sum of what makes clusters of samples with several views.

    - the consensus of a sample and that of a neighbour are the same cluster (``NeighborConsistencyLoss``);
    - the clusters are even (``balance`` of the consensus);
    - the subspaces of a sample's views are alike, and unlike those of others (``GrassmannContrastiveLoss``);
    - each cluster is alike in two views, and unlike every other (``ClusterContrastiveLoss``).

    A term of weight 0 is not computed.

    Args:
        consistency_weight: of the neighbours.
        balance_weight: of the evenness.
        contrastive_weight: of the subspaces.
        cluster_weight: of the clusters.
        temperature: of the subspaces, in units of the squared chordal distance.
        cluster_temperature: of the clusters, whose similarity is the cosine.

    Raises:
        GeowarpError: for a negative weight, or a temperature that is not positive.

    Example:
        >>> from geowarp.nn import MultiviewSubspaceNetwork
        >>> network = MultiviewSubspaceNetwork([(6,), (9,)], 3)
        >>> views = [torch.randn(20, 6), torch.randn(20, 9)]
        >>> MultiviewClusteringLoss()(network(views)).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        consistency_weight: float = 1.0,
        balance_weight: float = 2.0,
        contrastive_weight: float = 0.1,
        cluster_weight: float = 0.1,
        temperature: float = 1.0,
        cluster_temperature: float = 0.5,
    ) -> None:
        super().__init__()
        weights = {
            "consistency_weight": consistency_weight,
            "balance_weight": balance_weight,
            "contrastive_weight": contrastive_weight,
            "cluster_weight": cluster_weight,
        }
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise GeowarpError(f"MultiviewClusteringLoss: {name} = {weight} must be finite, 0 or more")
        self.weights = weights
        self.consistency = NeighborConsistencyLoss()
        self.contrastive = GrassmannContrastiveLoss(temperature)
        self.clusters = ClusterContrastiveLoss(cluster_temperature, CosineSimilarity())

    def forward(self, output: MultiviewOutput, neighbors: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar.

        Args:
            output: of a network, for a batch of at least two samples.
            neighbors: for each sample the place of a neighbour in the batch, ``(B,)``; by default its own,
                which makes its assignment certain.
        """
        logits, weights = output.logits.sum(0), self.weights
        other = logits if neighbors is None else logits[neighbors]
        terms: dict[str, Callable[[], Tensor]] = {
            "consistency_weight": lambda: self.consistency.of_logits(logits, other),
            "balance_weight": lambda: balance(output.consensus),
            "contrastive_weight": lambda: self.contrastive(output.subspaces),
            "cluster_weight": lambda: self.clusters(output.assignments),
        }
        values = [weights[name] * term() for name, term in terms.items() if weights[name]]
        return torch.stack(values).sum() if values else 0 * logits.sum()

    def extra_repr(self) -> str:
        """Return the weights, for ``repr``."""
        return ", ".join(f"{name}={weight:g}" for name, weight in self.weights.items())
