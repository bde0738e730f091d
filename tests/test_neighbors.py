"""Neighbours across views, means over them, and random pairs of them."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from geowarp.cluster.neighbors import (
    average_over_neighbors,
    modularity,
    nearest_neighbors,
    random_matching,
)


def brute_force(views: list[Tensor], count: int) -> NDArray[np.float64]:
    """Return the graph from all distances in float64, for points without ties."""
    square = np.zeros((len(views[0]),) * 2)
    for view in views:
        x = view.double().flatten(1).numpy()
        x = x / np.sqrt(x.var(axis=0).sum())
        square += np.square(x[:, None] - x).sum(-1)
    np.fill_diagonal(square, np.inf)
    nearest = np.argsort(square, axis=1)[:, :count]
    among = np.zeros_like(square)
    np.put_along_axis(among, nearest, 1, axis=1)
    return np.asarray(np.maximum(among, among.T))


VIEWS = {
    "vectors": [torch.randn(40, 2), torch.randn(40, 3)],
    "wide": [torch.randn(40, 9), torch.randn(40, 8)],
    "images": [torch.randn(40, 4, 5), torch.randn(40, 3, 4, 5)],
    "scales": [1e-6 * torch.randn(40, 3), 1e6 * torch.randn(40, 4)],
    "numbers": [torch.randn(40, 3).double(), torch.randint(0, 200, (40, 6)).to(torch.uint8)],
}


@pytest.mark.parametrize("count", [1, 5, 39])
@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
def test_neighbours_are_those_of_all_distances(views: list[Tensor], count: int) -> None:
    graph = nearest_neighbors(views, count)
    np.testing.assert_array_equal(graph.toarray(), brute_force(views, count))


def test_no_more_neighbours_than_others() -> None:
    everyone = 1 - np.eye(40)
    for count in (39, 40, 1000):
        np.testing.assert_array_equal(nearest_neighbors(VIEWS["vectors"], count).toarray(), everyone)
    pair = nearest_neighbors([torch.tensor([[1.0], [2.0]])], 10)
    np.testing.assert_array_equal(pair.toarray(), [[0, 1], [1, 0]])


def test_a_constant_view_says_nothing() -> None:
    views = VIEWS["vectors"]
    graph = nearest_neighbors([*views, torch.full((40, 3), 7.0)], 5)
    np.testing.assert_array_equal(graph.toarray(), nearest_neighbors(views, 5).toarray())


@pytest.mark.parametrize("width", [2, 20], ids=["tree", "all distances"])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_samples_that_coincide(width: int, count: int) -> None:
    """None is its own neighbour, also where more coincide than it has neighbours."""
    view = torch.randn(5, width).repeat_interleave(6, 0)
    graph = nearest_neighbors([view, view], count)
    dense = graph.toarray()
    np.testing.assert_array_equal(dense, dense.T)
    assert set(graph.data) <= {1.0}
    assert (dense.diagonal() == 0).all()
    assert (dense.sum(1) >= count).all()
    if count < 6:
        group = np.arange(30) // 6
        assert (dense[group[:, None] != group] == 0).all()
    alike = nearest_neighbors([torch.zeros(12, width)], count)  # all of them
    assert (alike.diagonal() == 0).all()


def a_graph(samples: int = 60) -> scipy.sparse.csr_array:
    generator = torch.Generator().manual_seed(samples)
    return nearest_neighbors([torch.randn(samples, 3, generator=generator)], 6)


def test_means_over_neighbours() -> None:
    graph, points = a_graph(), np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    dense = graph.toarray() + np.eye(60)
    expected = points.astype(np.float64)
    for _ in range(3):
        expected = np.stack([expected[dense[i] > 0].mean(0) for i in range(60)])
    found = average_over_neighbors(graph, points, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(average_over_neighbors(graph, points, 0), points)
    ones = np.ones((60, 1), dtype=np.float32)
    np.testing.assert_allclose(average_over_neighbors(graph, ones, 9), ones, atol=1e-6)  # weights sum to 1
    assert average_over_neighbors(graph, np.eye(60, dtype=np.float32), 1).min() == 0  # and none is negative


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("samples", [2, 7, 60])
def test_a_matching(samples: int, seed: int) -> None:
    graph = a_graph(samples)
    order, partner = random_matching(graph, generator(seed))
    assert order.dtype == partner.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(samples))
    assert torch.equal(partner[partner], torch.arange(samples))
    dense = torch.from_numpy(graph.toarray())
    paired = partner != torch.arange(samples)
    assert (dense[torch.arange(samples), partner][paired] == 1).all()
    left = (~paired).nonzero().flatten()
    assert dense[left][:, left].sum() == 0  # maximal: no two of them are neighbours
    place = torch.argsort(order)
    assert ((place - place[partner]).abs()[paired] == 1).all()  # side by side


def test_a_matching_is_the_generators() -> None:
    graph = a_graph()
    first, again, other = (random_matching(graph, generator(seed)) for seed in (3, 3, 4))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_every_neighbour_is_as_likely() -> None:
    star = np.zeros((5, 5))
    star[0, 1:] = star[1:, 0] = 1
    graph, source = scipy.sparse.csr_array(star), generator(0)
    found = [random_matching(graph, source) for _ in range(2000)]
    chosen = Counter(partner[0].item() for _, partner in found)
    assert sorted(chosen) == [1, 2, 3, 4]
    assert all(abs(count - 500) < 5 * np.sqrt(375) for count in chosen.values())
    first = Counter(order[0].item() for order, _ in found)
    assert set(first) == set(range(5))


def test_without_neighbours_and_without_samples() -> None:
    order, partner = random_matching(scipy.sparse.csr_array((4, 4)), generator(0))
    assert sorted(order.tolist()) == partner.tolist() == [0, 1, 2, 3]
    empty = random_matching(scipy.sparse.csr_array((0, 0)), generator(0))
    assert [part.shape for part in empty] == [(0,), (0,)]


@pytest.mark.parametrize("clusters", [1, 2, 7])
def test_modularity_is_that_of_all_pairs(clusters: int) -> None:
    graph, labels = a_graph(), np.random.default_rng(clusters).integers(0, clusters, 60)
    edges, degrees = graph.toarray(), graph.sum(1)
    total = degrees.sum()
    same = labels[:, None] == labels
    expected = ((edges - np.outer(degrees, degrees) / total) * same).sum() / total
    assert modularity(graph, labels) == pytest.approx(expected, abs=1e-12)


def test_modularity_without_edges() -> None:
    assert modularity(scipy.sparse.csr_array((4, 4)), np.array([0, 0, 1, 1])) == 0
