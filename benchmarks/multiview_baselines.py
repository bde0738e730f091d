"""Clustering of the concatenated views by k-means and by spectral clustering."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances

from geowarp.cluster.initialization import graph_clusters
from geowarp.cluster.neighbors import nearest_neighbors

Points = NDArray[np.float64]
Clusterer = Callable[[Points, int, int], NDArray[Any]]
"""Of points ``(N, d)``, the number of clusters and a seed, to labels ``(N,)``."""


def raw(views: Sequence[NDArray[Any]]) -> Points:
    """Return the views as they are, side by side, ``(N, d)``."""
    return np.concatenate([view.reshape(len(view), -1) for view in views], 1).astype(np.float64)


def standardised(views: Sequence[NDArray[Any]]) -> Points:
    """Return the views side by side, each feature of mean 0 and variance 1, 0 where it is constant."""
    points = raw(views)
    points -= points.mean(0)
    deviation = points.std(0)
    return points / np.where(deviation > 0, deviation, 1)


def of_equal_weight(views: Sequence[NDArray[Any]]) -> Points:
    """Return standardised views side by side, each divided by the square root of its number of features."""
    return np.concatenate([standardised([view]) / np.sqrt(view[0].size) for view in views], 1)


def k_means(points: Points, clusters: int, seed: int) -> NDArray[Any]:
    """Return the labels of k-means, the best of ten starts."""
    labels: NDArray[Any] = KMeans(clusters, n_init=10, random_state=seed).fit_predict(points)
    return labels


def spectral(points: Points, clusters: int, seed: int, **affinity: Any) -> NDArray[Any]:
    """Return the labels of spectral clustering."""
    with warnings.catch_warnings():  # well separated clusters are not connected
        warnings.filterwarnings("ignore", message="Graph is not fully connected", category=UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: NDArray[Any] = SpectralClustering(clusters, random_state=seed, **affinity).fit_predict(points)
    return labels


def spectral_neighbors(points: Points, clusters: int, seed: int) -> NDArray[Any]:
    """Return the labels of spectral clustering of the graph of 10 nearest neighbours."""
    return spectral(points, clusters, seed, affinity="nearest_neighbors", n_neighbors=10)


def spectral_rbf(points: Points, clusters: int, seed: int) -> NDArray[Any]:
    """Return the labels of spectral clustering with the affinity exp(−d²/m), m the median of all d²."""
    squares = pairwise_distances(points, metric="sqeuclidean")
    return spectral(points, clusters, seed, affinity="rbf", gamma=1 / np.median(squares))


def start_without_network(points: Points, clusters: int, seed: int) -> NDArray[Any]:
    """Return how clusters of ``MultiviewSubspaceClustering`` would start from points without a network."""
    graph = nearest_neighbors([torch.from_numpy(points)], 5)
    return graph_clusters(graph, points.astype(np.float32), clusters, seed)


@dataclass(frozen=True)
class Baseline:
    """Points made of views, and how they are clustered."""

    points: Callable[[Sequence[NDArray[Any]]], Points]
    cluster: Clusterer

    def __call__(self, views: Sequence[NDArray[Any]], clusters: int, seed: int) -> NDArray[Any]:
        """Return labels ``(N,)``."""
        return self.cluster(self.points(views), clusters, seed)


OF_IMAGES = {
    "k-means, raw": Baseline(raw, k_means),
    "spectral, raw, 10 neighbours": Baseline(raw, spectral_neighbors),
    "the estimator's start, of raw views": Baseline(of_equal_weight, start_without_network),
}
OF_VECTORS = {
    "k-means": Baseline(standardised, k_means),
    "k-means, views of equal weight": Baseline(of_equal_weight, k_means),
    "spectral, rbf": Baseline(standardised, spectral_rbf),
    "spectral, rbf, views of equal weight": Baseline(of_equal_weight, spectral_rbf),
    "spectral, 10 neighbours": Baseline(standardised, spectral_neighbors),
    "spectral, 10 neighbours, views of equal weight": Baseline(of_equal_weight, spectral_neighbors),
    "the estimator's start, of raw views": Baseline(of_equal_weight, start_without_network),
}
