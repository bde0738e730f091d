"""Scores of clusterings against scikit-learn, permutations one by one, and loops."""

import itertools
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics as scikit

from geowarp.errors import GeowarpError
from geowarp.metrics import (
    ClusteringScores,
    adjusted_rand_index,
    clustering_accuracy,
    clustering_scores,
    match_clusters,
    normalized_mutual_information,
    purity,
    view_agreement,
)

SIZES = [(3, 3), (2, 5), (5, 2), (4, 1), (1, 4), (6, 6)]
sizes = pytest.mark.parametrize(("classes", "clusters"), SIZES)
ALL = [clustering_accuracy, purity, normalized_mutual_information, adjusted_rand_index, match_clusters]
every = pytest.mark.parametrize("score", [*ALL, clustering_scores], ids=lambda score: score.__name__)


def labels(classes: int, clusters: int, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return labels that agree in part."""
    generator = np.random.default_rng(7 * classes + clusters)
    true = generator.integers(classes, size=count)
    noise = generator.integers(clusters, size=count)
    return true, np.where(generator.random(count) < 0.5, (true + 1) % clusters, noise)


def best_of_all_permutations(true: np.ndarray, pred: np.ndarray, classes: int, clusters: int) -> float:
    """Return the accuracy of the best one-to-one map of clusters to classes, of all such maps."""
    padded = max(classes, clusters)
    maps = (np.array(order) for order in itertools.permutations(range(padded)))
    return max(float((order[pred] == true).mean()) for order in maps)


@sizes
def test_accuracy_is_that_of_the_best_permutation(classes: int, clusters: int) -> None:
    true, pred = labels(classes, clusters)
    assert clustering_accuracy(true, pred) == best_of_all_permutations(true, pred, classes, clusters)


@sizes
def test_scores_are_those_of_scikit_learn(classes: int, clusters: int) -> None:
    true, pred = labels(classes, clusters)
    table = scikit.cluster.contingency_matrix(true, pred)
    scores = clustering_scores(true, pred)
    expected = ClusteringScores(
        accuracy=best_of_all_permutations(true, pred, classes, clusters),
        nmi=scikit.normalized_mutual_info_score(true, pred),
        ari=scikit.adjusted_rand_score(true, pred),
        purity=table.max(0).sum() / len(true),
    )
    assert scores == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in scores)


@sizes
def test_scores_do_not_depend_on_names_or_order(classes: int, clusters: int) -> None:
    true, pred = labels(classes, clusters)
    order = np.random.default_rng(0).permutation(len(true))
    expected = clustering_scores(true, pred)
    assert clustering_scores(true[order], pred[order]) == pytest.approx(expected, abs=1e-12)
    assert clustering_scores(-3 * true, 100 - pred) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "kind",
    [
        list,
        torch.tensor,
        torch.Tensor,
        lambda x: [f"class {value}" for value in x],
        lambda x: np.array([f"class {value}" for value in x]),
        lambda x: np.array([f"class {value}" for value in x], dtype=object),
        lambda x: [(value, None) for value in x],
        lambda x: list(torch.tensor(x)),
        lambda x: [value if value else "zero" for value in x],
    ],
    ids=["list", "tensor", "float", "str", "str array", "objects", "tuples", "scalars", "mixed"],
)
def test_kinds_of_labels(kind: object) -> None:
    true, pred = labels(4, 4)
    assert callable(kind)
    expected = clustering_scores(true, pred)
    assert clustering_scores(kind(true), pred) == pytest.approx(expected, abs=1e-12)
    assert clustering_scores(true, kind(pred)) == pytest.approx(expected, abs=1e-12)


def test_numbers_and_their_strings_are_different_labels() -> None:
    assert clustering_accuracy([1, "1", 1, "1"], [0, 1, 0, 1]) == 1.0
    assert clustering_accuracy([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5


@sizes
def test_matched_clusters_are_right_as_often_as_the_accuracy_says(classes: int, clusters: int) -> None:
    true, pred = labels(classes, clusters)
    for names in (true, true.astype(float), np.array(list("abcdef"))[true]):
        found = match_clusters(names, pred)
        assert found.dtype.kind == names.dtype.kind
        assert (found == names).mean() == clustering_accuracy(true, pred)
        assert adjusted_rand_index(found, pred) == 1.0  # the same partition
        left = len(np.unique(pred)) - min(len(np.unique(pred)), len(np.unique(true)))
        assert len(np.setdiff1d(found, names)) == left


def test_names_of_clusters_that_are_left_over() -> None:
    assert match_clusters([5, 5, -1, 5], [0, 1, 2, 0]).tolist() == [5, 6, -1, 5]
    assert match_clusters([0.5, 0.5], ["a", "b"]).tolist() == [0.5, 1.0]
    assert match_clusters(["unmatched 0"] * 3, [0, 0, 1]).tolist() == ["unmatched 0"] * 2 + ["unmatched 1"]
    assert match_clusters([("a", 1), None], [0, 1]).tolist() == [("a", 1), None]
    assert match_clusters([True, True, False], [0, 1, 2]).tolist() == [True, "unmatched 0", False]


@pytest.mark.parametrize("matched", [False, True])
def test_agreement_of_views(matched: bool) -> None:
    generator = np.random.default_rng(0)
    views = generator.integers(4, size=(3, 50))
    views[2] = np.where(generator.random(50) < 0.7, views[0], views[2])
    expected = [
        [clustering_accuracy(a, b) if matched else sum(x == y for x, y in zip(a, b, strict=True)) / 50]
        for a, b in itertools.product(views, views)
    ]
    table = view_agreement(views, matched=matched)
    np.testing.assert_array_equal(table, np.reshape(expected, (3, 3)))
    np.testing.assert_array_equal(table, table.T)
    for kind in (torch.tensor(views), views.tolist(), list(views)):
        np.testing.assert_array_equal(view_agreement(kind, matched=matched), table)
    shifted = (views + np.array([[0], [1], [2]])) % 4
    unchanged = np.allclose(view_agreement(shifted, matched=matched), table)
    assert unchanged == matched


def test_agreement_compares_labels_and_not_their_ranks() -> None:
    table = view_agreement([["a", "b", "b"], ["b", "c", "c"]])
    np.testing.assert_array_equal(table, np.eye(2))


@every
def test_errors(score: object) -> None:
    assert callable(score)
    with pytest.raises(GeowarpError, match="labels_true has 3 samples and labels_pred 2; "):
        score([0, 1, 2], [0, 1])
    with pytest.raises(GeowarpError, match="labels_true has no samples"):
        score([], [])
    with pytest.raises(GeowarpError, match="labels_pred has no samples"):
        score([1], np.zeros(0))
    with pytest.raises(GeowarpError, match=r"labels_pred has the shape \(3, 2\); it needs \(N,\)"):
        score([0, 1, 2], torch.zeros(3, 2))
    with pytest.raises(GeowarpError, match="labels_true has labels that cannot be hashed"):
        score([[0], [1]], [0, 1])
    with pytest.raises(GeowarpError, match="labels_true is a int; it must have a label for each sample"):
        score(3, [0, 1])
    with pytest.raises(GeowarpError, match="labels_true is a str"):
        score("abc", [0, 1, 2])
    with pytest.raises(GeowarpError, match="labels_pred is a range_iterator"):
        score([0, 1, 2], iter(range(3)))


def test_errors_of_views() -> None:
    with pytest.raises(GeowarpError, match="view 0 has 2 samples and view 1 3; "):
        view_agreement([[0, 1], [0, 1, 2]])
    with pytest.raises(GeowarpError, match="there are no views"):
        view_agreement([])
    with pytest.raises(GeowarpError, match="view 0 has no samples"):
        view_agreement(np.zeros((2, 0)))
    with pytest.raises(GeowarpError, match="view 0 is a int"):
        view_agreement([1, 2, 3])  # type: ignore[list-item]


@pytest.mark.parametrize("score", [normalized_mutual_information, adjusted_rand_index, clustering_scores])
def test_scikit_learn_is_asked_for_only_where_it_is_used(
    score: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert callable(score)
    with pytest.raises(GeowarpError, match=r"needs scikit-learn: pip install 'geowarp\[cluster\]'"):
        score([0, 1], [0, 1])
    assert clustering_accuracy([0, 1], [0, 1]) == purity([0, 1], [1, 0]) == 1.0
