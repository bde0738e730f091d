"""Scores of a clustering against the classes of its samples, and the agreement of views."""

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .._extras import import_extra
from ..errors import GeowarpError
from .labels import Labels, Partition, contingency, numbered, numbered_pair

__all__ = [
    "ClusteringScores",
    "adjusted_rand_index",
    "clustering_accuracy",
    "clustering_scores",
    "match_clusters",
    "normalized_mutual_information",
    "purity",
    "view_agreement",
]


class ClusteringScores(NamedTuple):
    """The scores of a clustering, each 1 for the classes themselves.

    Example:
        >>> clustering_scores([0, 0, 1, 1], [1, 1, 0, 0])
        ClusteringScores(accuracy=1.0, nmi=1.0, ari=1.0, purity=1.0)
    """

    accuracy: float
    """``clustering_accuracy``."""
    nmi: float
    """``normalized_mutual_information``."""
    ari: float
    """``adjusted_rand_index``."""
    purity: float
    """``purity``."""


def clustering_accuracy(labels_true: Labels, labels_pred: Labels) -> float:
    """Return the share of samples in the right class, of the best assignment of clusters to classes.

    The assignment is one to one, by the Hungarian algorithm; samples of clusters or classes that are left
    over count as wrong.

    Args:
        labels_true: the class of each sample, ``(N,)``: a tensor, an array, or a list of anything hashable.
        labels_pred: its cluster, ``(N,)``, of the same or another kind.

    Raises:
        GeowarpError: for no samples, and for different numbers of them.

    References:
        Kuhn, The Hungarian method for the assignment problem, Nav. Res. Logist. Q. 2 (1955).

    Example:
        >>> clustering_accuracy(["cat", "cat", "dog", "dog"], [1, 1, 0, 1])
        0.75
    """
    return _accuracy(*numbered_pair(labels_true, labels_pred))


def purity(labels_true: Labels, labels_pred: Labels) -> float:
    """Return the share of samples that are of the commonest class of their cluster.

    It grows with the number of clusters: 1 where each sample is one.

    Args:
        labels_true: the class of each sample, ``(N,)``.
        labels_pred: its cluster, ``(N,)``.

    Raises:
        GeowarpError: for no samples, and for different numbers of them.

    References:
        Manning, Raghavan, Schütze, Introduction to information retrieval (2008), section 16.3.

    Example:
        >>> purity(["cat", "cat", "dog", "dog"], [0, 1, 2, 3])
        1.0
    """
    table = contingency(*numbered_pair(labels_true, labels_pred))
    return float(table.max(0).sum() / table.sum())


def normalized_mutual_information(labels_true: Labels, labels_pred: Labels) -> float:
    """Return the mutual information of classes and clusters divided by the mean of their entropies.

    scikit-learn's: 0 for independent ones, 1 for the same partition.

    Args:
        labels_true: the class of each sample, ``(N,)``.
        labels_pred: its cluster, ``(N,)``.

    Raises:
        GeowarpError: for no samples, for different numbers of them, and where scikit-learn is not installed.

    References:
        Strehl, Ghosh, Cluster ensembles, J. Mach. Learn. Res. 3 (2002).

    Example:
        >>> normalized_mutual_information([0, 0, 1, 1], [0, 1, 0, 1])
        0.0
    """
    return _of_scikit("normalized_mutual_info_score", *numbered_pair(labels_true, labels_pred))


def adjusted_rand_index(labels_true: Labels, labels_pred: Labels) -> float:
    """Return the share of pairs of samples that are together in both or in neither, corrected for chance.

    scikit-learn's: 0 in the mean over random partitions of these sizes, 1 for the same partition.

    Args:
        labels_true: the class of each sample, ``(N,)``.
        labels_pred: its cluster, ``(N,)``.

    Raises:
        GeowarpError: for no samples, for different numbers of them, and where scikit-learn is not installed.

    References:
        Hubert, Arabie, Comparing partitions, J. Classif. 2 (1985).

    Example:
        >>> adjusted_rand_index([0, 0, 1, 1], [0, 1, 0, 1])
        -0.5
    """
    return _of_scikit("adjusted_rand_score", *numbered_pair(labels_true, labels_pred))


def clustering_scores(labels_true: Labels, labels_pred: Labels) -> ClusteringScores:
    """Return all scores.

    Args:
        labels_true: the class of each sample, ``(N,)``.
        labels_pred: its cluster, ``(N,)``.

    Raises:
        GeowarpError: for no samples, for different numbers of them, and where scikit-learn is not installed.

    Example:
        >>> clustering_scores([0, 0, 1, 1], [1, 0, 1, 0])
        ClusteringScores(accuracy=0.5, nmi=0.0, ari=-0.5, purity=0.5)
    """
    return ClusteringScores(
        accuracy=clustering_accuracy(labels_true, labels_pred),
        nmi=normalized_mutual_information(labels_true, labels_pred),
        ari=adjusted_rand_index(labels_true, labels_pred),
        purity=purity(labels_true, labels_pred),
    )


def match_clusters(labels_true: Labels, labels_pred: Labels) -> NDArray[Any]:
    """Return the clusters ``(N,)`` named after the classes, by the assignment of ``clustering_accuracy``.

    Clusters that are left over stay apart, under names that no class has: the next whole numbers where
    classes are numbers, else ``"unmatched 0"`` and so on.

    Args:
        labels_true: the class of each sample, ``(N,)``.
        labels_pred: its cluster, ``(N,)``.

    Raises:
        GeowarpError: for no samples, and for different numbers of them.

    Example:
        >>> match_clusters([0, 0, 1, 1], ["q", "q", "p", "r"])
        array([0, 0, 1, 2])
        >>> match_clusters(["cat", "cat", "dog"], [1, 1, 0])
        array(['cat', 'cat', 'dog'], dtype='<U3')
    """
    true, pred = numbered_pair(labels_true, labels_pred)
    classes, clusters = _assignment(contingency(true, pred))
    names: list[Any] = [None] * len(pred.names)
    for place, cluster in zip(classes, clusters, strict=True):
        names[cluster] = true.names[place]
    spare = _spare_names(true.names)
    matched = set(clusters.tolist())
    names = [name if place in matched else next(spare) for place, name in enumerate(names)]
    return _array(names)[pred.codes]


def view_agreement(
    labels: Tensor | NDArray[Any] | Sequence[Labels], *, matched: bool = False
) -> NDArray[np.float64]:
    """Return the share of samples on which each two views agree, ``(V, V)``.

    Args:
        labels: the clusters of N samples in V views, ``(V, N)``.
        matched: whether the clusters of two views are first matched one to one, for views that were clustered
            each on its own; else clusters of one name are one cluster.

    Raises:
        GeowarpError: for no views or samples, and views of different numbers of samples.

    Example:
        >>> labels = [[0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 0]]
        >>> view_agreement(labels)
        array([[1.  , 0.75, 0.  ],
               [0.75, 1.  , 0.25],
               [0.  , 0.25, 1.  ]])
        >>> view_agreement(labels, matched=True)
        array([[1.  , 0.75, 1.  ],
               [0.75, 1.  , 0.75],
               [1.  , 0.75, 1.  ]])
    """
    views = _views(labels)
    share = _accuracy if matched else _share_alike
    return np.array([[share(one, other) for other in views] for one in views])


def _views(labels: Any) -> list[Partition]:
    """Return the views with numbers that mean the same label in each."""
    rows = [numbered(row, f"view {place}") for place, row in enumerate(labels)]
    if not rows:
        raise GeowarpError("view_agreement: there are no views; it needs labels (V, N)")
    for place, row in enumerate(rows):
        if len(row.codes) != len(rows[0].codes):
            raise GeowarpError(
                f"view_agreement: view 0 has {len(rows[0].codes)} samples and view {place} "
                f"{len(row.codes)}; they need a label for each of the same samples"
            )
    names = list(dict.fromkeys(name for row in rows for name in row.names))
    number = {name: place for place, name in enumerate(names)}
    return [Partition(np.array([number[name] for name in row.names])[row.codes], names) for row in rows]


def _share_alike(one: Partition, other: Partition) -> float:
    return float((one.codes == other.codes).mean())


def _accuracy(true: Partition, pred: Partition) -> float:
    table = contingency(true, pred)
    return float(table[_assignment(table)].sum() / table.sum())


def _assignment(table: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns that are matched, with the largest sum of the table."""
    from scipy.optimize import linear_sum_assignment  # slow to import, as are scikit-learn's metrics

    rows, columns = linear_sum_assignment(table, maximize=True)
    return rows, columns


def _spare_names(taken: list[Any]) -> Iterator[Any]:
    """Yield names of one kind with those that are taken, where they are numbers, and else strings."""
    kind = type(taken[0])
    if kind in (int, float) and all(type(name) is kind and math.isfinite(name) for name in taken):
        yield from (kind(number) for number in count(math.floor(max(taken)) + 1))
    names = (f"unmatched {number}" for number in count())
    yield from (name for name in names if name not in taken)


def _array(names: list[Any]) -> NDArray[Any]:
    """Return an array of numbers or strings, or else of objects."""
    kinds = {type(name) for name in names}
    if len(kinds) == 1 and kinds <= {int, float, str}:
        return np.array(names)
    array = np.empty(len(names), dtype=object)
    array[:] = names
    return array


def _of_scikit(score: str, true: Partition, pred: Partition) -> float:
    function = getattr(import_extra("sklearn.metrics.cluster", "cluster", score), score)
    return float(function(true.codes, pred.codes))
