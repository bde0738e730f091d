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
from .neighbors import average_over_neighbors, modularity

__all__ = ["graph_clusters", "initialize_clusters"]

_AVERAGES = 10
_STARTS = 30
_ROUNDING = 64  # eps: a smaller standard deviation, relative to the size of the points, is none


def initialize_clusters(
    network: MultiviewSubspaceNetwork,
    views: Sequence[Tensor],
    graph: scipy.sparse.csr_array,
    batch_size: int,
    seed: int,
) -> Tensor:
    """Move the cluster subspaces of a network to the ``graph_clusters`` of its embeddings, and return these.

    Args:
        network: whose ``clusters`` are moved.
        views: tensors ``(N, ...)``.
        graph: of neighbours, ``(N, N)``.
        batch_size: of the network's batches.
        seed: of k-means.

    Returns:
        The label of each sample, ``(N,)``.
    """
    outputs = _outputs(network, views, batch_size)
    embedding = torch.cat([output.embedding for output in outputs])
    clusters = network.clusters.subspaces.shape[1]
    labels = torch.from_numpy(graph_clusters(graph, embedding.cpu().numpy(), clusters, seed)).long()
    bases = torch.cat([output.subspaces for output in outputs], 1)
    network.clusters.fit_clusters(bases, labels.to(bases.device))
    return labels


def graph_clusters(
    graph: scipy.sparse.csr_array, points: NDArray[np.float32], clusters: int, seed: int
) -> NDArray[np.int32]:
    """Return labels ``(N,)`` by k-means of points that are averaged over neighbours.

    Averages make clusters compact, and k-means is of the direction of their leading principal components at
    unit variance, which makes clusters equally far from each other: spectral clustering of the graph, by a
    few steps of subspace iteration that begins at the points. Of several starts of k-means the one of the
    largest ``modularity`` is taken: that of the least inertia often has two clusters in one.

    Args:
        graph: of neighbours, ``(N, N)``, symmetric.
        points: ``(N, d)``.
        clusters: how many.
        seed: of k-means.

    References:
        Ng, Jordan, Weiss, On spectral clustering: analysis and an algorithm, NeurIPS 2001.

    Example:
        >>> graph = scipy.sparse.csr_array(np.kron(np.eye(2), np.ones((3, 3)) - np.eye(3)))
        >>> points = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        >>> labels = graph_clusters(graph, points, 2, 0)
        >>> set(labels[:3].tolist()) != set(labels[3:].tolist())
        True
    """
    averaged = _directions(average_over_neighbors(graph, points, _AVERAGES), clusters)
    if not averaged.shape[1]:  # all samples are neighbours
        averaged = _directions(points, clusters)
    return _k_means(averaged, graph, clusters, seed)


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


def _k_means(
    points: NDArray[np.float64], graph: scipy.sparse.csr_array, clusters: int, seed: int
) -> NDArray[np.int32]:
    """Return the labels of the start whose clusters cut the fewest edges, not those of the least inertia."""
    if not points.shape[1]:
        return np.zeros(len(points), dtype=np.int32)
    random = np.random.RandomState(seed % 2**32)
    with warnings.catch_warnings():  # averaged points may coincide
        warnings.simplefilter("ignore", ConvergenceWarning)
        starts = [KMeans(clusters, n_init=1, random_state=random).fit(points).labels_ for _ in range(_STARTS)]
    return max(starts, key=lambda labels: modularity(graph, labels))
