"""Neighbours of samples across their views: who they are, and pairs of them for training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

__all__ = ["average_over_neighbors", "modularity", "nearest_neighbors", "random_matching"]

_TREE = 6  # dimensions; a tree is slower than all distances from some 7 on


def nearest_neighbors(views: Sequence[Tensor], count: int) -> scipy.sparse.csr_array:
    """Return the graph of samples of which one is among the nearest of the other, symmetric, of ones.

    Near is meant in all views together: the squared Euclidean distances of the views add up, each divided by
    the variance of its view.

    Args:
        views: tensors ``(N, ...)``.
        count: how many nearest samples each one has; N − 1 where it is larger.

    Returns:
        ``(N, N)``.

    Example:
        >>> view = torch.tensor([[0.0], [1.0], [5.0], [6.5]])
        >>> nearest_neighbors([view, view], 1).toarray()
        array([[0., 1., 0., 0.],
               [1., 0., 0., 0.],
               [0., 0., 0., 1.],
               [0., 0., 1., 0.]])
    """
    points = torch.cat([_unit_variance(view) for view in views], 1).cpu().numpy()
    samples = len(points)
    algorithm = "auto" if points.shape[1] <= _TREE else "brute"
    search = NearestNeighbors(n_neighbors=min(count, samples - 1), algorithm=algorithm).fit(points)
    graph = scipy.sparse.csr_array(search.kneighbors_graph())  # of each sample, itself left out
    return scipy.sparse.csr_array(graph.maximum(graph.T))


def _unit_variance(view: Tensor) -> Tensor:
    flat = view.flatten(1).float()
    centred = flat - flat.mean(0)
    variance = centred.square().sum(1).mean()
    return centred / variance.clamp_min(torch.finfo(flat.dtype).tiny).sqrt()


def average_over_neighbors(
    graph: scipy.sparse.csr_array, points: NDArray[np.float32], times: int
) -> NDArray[np.float32]:
    """Return points ``(N, d)`` replaced, several times, by the mean of each and its neighbours.

    Example:
        >>> graph = scipy.sparse.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=float))
        >>> average_over_neighbors(graph, np.array([[0.0], [2.0], [5.0]], dtype=np.float32), 1)
        array([[1.],
               [1.],
               [5.]], dtype=float32)
    """
    graph = graph + scipy.sparse.eye_array(len(points))
    mean = scipy.sparse.diags_array(1 / graph.sum(1)) @ graph
    for _ in range(times):
        points = mean @ points
    return np.asarray(points, dtype=np.float32)


def modularity(graph: scipy.sparse.csr_array, labels: NDArray[np.integer[Any]]) -> float:
    """Return the share of edges within clusters beyond that of random edges, ``Σ_c (e_c − a_c²)``.

    ``e_c`` is the share of edges within cluster c and ``a_c`` that of ends of edges in it. 0 without edges.

    Args:
        graph: ``(N, N)``, symmetric.
        labels: cluster of each sample, ``(N,)``, nonnegative.

    References:
        Newman, Girvan, Finding and evaluating community structure in networks, Phys. Rev. E 69 (2004),
        equation 5.

    Example:
        >>> graph = scipy.sparse.csr_array(np.kron(np.eye(2), [[0.0, 1.0], [1.0, 0.0]]))
        >>> modularity(graph, np.array([0, 0, 1, 1])), modularity(graph, np.array([0, 1, 0, 1]))
        (0.5, -0.5)
    """
    edges = graph.tocoo()
    total = edges.data.sum()
    if not total:
        return 0.0
    within = edges.data[labels[edges.row] == labels[edges.col]].sum() / total
    ends = np.bincount(labels[edges.row], weights=edges.data) / total
    return float(within - np.square(ends).sum())


def random_matching(graph: scipy.sparse.csr_array, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a random order ``(N,)`` of samples with neighbours side by side in pairs, and their partners.

    A random maximal matching: a sample whose neighbours are all taken is its own partner.

    Args:
        graph: ``(N, N)``, symmetric.
        generator: source of the order and of the pairs.

    Returns:
        The order, and the partner of each sample, ``(N,)``, by the number of the sample.

    Example:
        >>> graph = scipy.sparse.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=float))
        >>> order, partner = random_matching(graph, torch.Generator().manual_seed(0))
        >>> sorted(order.tolist()), partner
        ([0, 1, 2], tensor([1, 0, 2]))
    """
    samples = graph.shape[0]
    rank = torch.rand(graph.nnz, generator=generator).tolist()
    starts, others = graph.indptr.tolist(), graph.indices.tolist()
    partner, order = [-1] * samples, []
    for sample in torch.randperm(samples, generator=generator).tolist():
        if partner[sample] >= 0:
            continue
        free = [edge for edge in range(starts[sample], starts[sample + 1]) if partner[others[edge]] < 0]
        other = others[min(free, key=rank.__getitem__)] if free else sample
        partner[sample], partner[other] = other, sample
        order += [sample] if other == sample else [sample, other]
    return torch.tensor(order, dtype=torch.long), torch.tensor(partner, dtype=torch.long)
