"""Where the clusters of a network start."""

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ..nn.subspaces import MultiviewOutput, MultiviewSubspaceNetwork
from .neighbors import average_over_neighbors

__all__ = ["initialize_clusters"]

_AVERAGES = 4
_STARTS = 10


def initialize_clusters(
    network: MultiviewSubspaceNetwork,
    views: Sequence[Tensor],
    graph: scipy.sparse.csr_array,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Move the cluster subspaces of a network to those of k-means, whose labels ``(N,)`` are returned.

    k-means is of the embeddings, averaged over neighbours, which makes clusters compact.

    Args:
        network: whose ``clusters`` are moved.
        views: tensors ``(N, ...)``.
        graph: of neighbours, ``(N, N)``.
        batch_size: of the network's batches.
        seed: of k-means.
    """
    outputs = _outputs(network, views, batch_size)
    embedding = torch.cat([output.embedding for output in outputs])
    points = average_over_neighbors(graph, embedding.cpu().numpy(), _AVERAGES)
    labels = torch.from_numpy(_k_means(points, network.clusters.subspaces.shape[1], seed)).long()
    bases = torch.cat([output.subspaces for output in outputs], 1)
    network.clusters.fit_clusters(bases, labels.to(bases.device))
    return labels


@torch.no_grad()
def _outputs(
    network: MultiviewSubspaceNetwork, views: Sequence[Tensor], batch_size: int
) -> list[MultiviewOutput]:
    device = network.clusters.subspaces.device
    batches = zip(*(view.split(batch_size) for view in views), strict=True)
    return [network([view.to(device) for view in batch]) for batch in batches]


def _k_means(points: NDArray[np.float32], clusters: int, seed: int) -> NDArray[np.int32]:
    with warnings.catch_warnings():  # averaged points may coincide
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: NDArray[np.int32] = (
            KMeans(clusters, n_init=_STARTS, random_state=seed % 2**32).fit(points).labels_
        )
    return labels
