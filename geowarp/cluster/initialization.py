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

_AVERAGES = 10
_STARTS = 10
_ROUNDING = 64  # eps: a smaller standard deviation, relative to the size of the points, is none


def initialize_clusters(
    network: MultiviewSubspaceNetwork,
    views: Sequence[Tensor],
    graph: scipy.sparse.csr_array,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Move the cluster subspaces of a network to those of k-means, whose labels ``(N,)`` are returned.

    The embeddings are averaged over neighbours, which makes clusters compact, and k-means is of the direction
    of their leading principal components at unit variance, which makes clusters equally far from each other:
    spectral clustering of the graph, by a few steps of subspace iteration that begins at the embeddings.

    Args:
        network: whose ``clusters`` are moved.
        views: tensors ``(N, ...)``.
        graph: of neighbours, ``(N, N)``.
        batch_size: of the network's batches.
        seed: of k-means.

    References:
        Ng, Jordan, Weiss, On spectral clustering: analysis and an algorithm, NeurIPS 2001.
    """
    outputs = _outputs(network, views, batch_size)
    embedding = torch.cat([output.embedding for output in outputs])
    clusters = network.clusters.subspaces.shape[1]
    points = embedding.cpu().numpy()
    averaged = _directions(average_over_neighbors(graph, points, _AVERAGES), clusters)
    if not averaged.shape[1]:  # all samples are neighbours
        averaged = _directions(points, clusters)
    labels = torch.from_numpy(_k_means(averaged, clusters, seed)).long()
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


def _directions(points: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the leading principal components at unit variance ``(N, r)``, each sample's scaled to length 1.

    Components that are rounding are left out: r is at most ``count``, and 0 for points that coincide.
    """
    centred = points - points.mean(0, dtype=np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    kept = variances > (_ROUNDING * np.finfo(np.float32).eps) ** 2 * np.square(points, dtype=np.float64).sum()
    kept[:-count] = False
    components = centred @ (axes[:, kept] / np.sqrt(variances[kept]))
    length = np.linalg.norm(components, axis=1, keepdims=True)
    return np.asarray(components / np.where(length > 0, length, 1))


def _k_means(points: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.int32]:
    if not points.shape[1]:
        return np.zeros(len(points), dtype=np.int32)
    with warnings.catch_warnings():  # averaged points may coincide
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: NDArray[np.int32] = (
            KMeans(clusters, n_init=_STARTS, random_state=seed % 2**32).fit(points).labels_
        )
    return labels
