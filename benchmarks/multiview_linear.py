"""What takes the place of the Grassmann stage in the ablation: linear layers and points."""

import torch
from torch import Tensor, nn

from geowarp.nn import MultiviewSubspaceNetwork

_SHARPNESS = 4.0  # of the squared distance to the own cluster, over the temperature, as for subspaces


class LinearForEach(nn.Module):
    """A linear layer for each view, ``(B, V, d)`` to ``(B, V, e)``."""

    def __init__(self, views: int, features: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(features, outputs) for _ in range(views))

    def forward(self, x: Tensor) -> Tensor:
        """Return the vectors."""
        return torch.stack([layer(part) for layer, part in zip(self.layers, x.unbind(1), strict=True)], 1)


class ClusterPoints(nn.Module):
    """Logits ``−‖x_v − μ_vc‖² / τ`` of vectors ``(V, B, e)``, as ``ClusterSubspaces`` has of subspaces.

    ``subspaces`` are the points μ, ``(V or 1, K, e)``; the name is that which the network knows.
    """

    def __init__(self, size: int, clusters: int, views: int | None) -> None:
        super().__init__()
        self.subspaces = nn.Parameter(torch.randn(1 if views is None else views, clusters, size))
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``(V, B, K)``."""
        return -self.squared_distances(x) / self.log_temperature.exp()

    def squared_distances(self, x: Tensor) -> Tensor:
        """Return ``‖x_v − μ_vc‖²``, ``(V, B, K)``."""
        centres = self.subspaces
        products = x @ centres.mT
        return x.square().sum(-1, keepdim=True) + centres.square().sum(-1)[:, None] - 2 * products

    @torch.no_grad()
    def fit_clusters(self, x: Tensor, labels: Tensor) -> None:
        """Move each point to the mean of its cluster, and set τ by how far its members are from it."""
        for cluster in labels.unique().tolist():
            mean = x[:, labels == cluster].mean(1)
            self.subspaces[:, cluster] = mean if len(self.subspaces) > 1 else mean.mean(0)
        own = self.squared_distances(x).sum(0).gather(1, labels[:, None]).mean()
        self.log_temperature.copy_((own.clamp_min(torch.finfo(own.dtype).eps) / _SHARPNESS).log())


def replace_grassmann_stage(network: MultiviewSubspaceNetwork) -> None:
    """Put a linear layer in the place of projection, full-rank map and orthonormalisation.

    Its input is the matrix of the encoder, as a vector, its output as long as the embedding of a subspace.
    Encoders, consensus, objective and the start from k-means remain. The ``subspaces`` of the output then are
    vectors, of which there is no contrastive loss by the projection metric.
    """
    views, clusters, n, _ = network.clusters.subspaces.shape
    features, size = _entries(network), n * (n + 1) // 2
    own = None if network.shared else views
    linear = nn.Linear(features, size) if own is None else LinearForEach(own, features, size)
    network.set_submodule("modelling", nn.Flatten(-2))
    network.set_submodule("full_rank_map", linear)
    network.set_submodule("re_orth", nn.Identity())
    network.set_submodule("clusters", ClusterPoints(size, clusters, own))
    network.set_submodule("embed", nn.Identity())


@torch.no_grad()
def _entries(network: MultiviewSubspaceNetwork) -> int:
    """Return how many entries the matrices of the first encoder have."""
    shape = network.view_shapes[0]
    matrix: Tensor = network.encoders[0](torch.zeros(1, *shape))
    return matrix.numel()
