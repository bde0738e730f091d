"""How well a classifier, or a clustering, finds the group of an embedding."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..._extras import import_extra
from ...errors import GeowarpError
from ..arrays import Array, accepts_arrays, tensors
from ..clustering import clustering_accuracy
from ..labels import Labels, numbered
from .points import check_embeddings

__all__ = ["ProbeLeakage", "probe_leakage"]


class ProbeLeakage(NamedTuple):
    """Accuracies of probes; ``majority`` where nothing leaks.

    Example:
        >>> ProbeLeakage(linear=1.0, rbf=0.98, kmeans=0.9, majority=0.5).linear
        1.0
    """

    linear: float
    """Of logistic regression on samples that were left out."""
    rbf: float
    """Of a support vector machine with Gaussian kernel on samples that were left out."""
    kmeans: float
    """Of clusters by k-means, best matched to the groups; no label is seen, none is left out."""
    majority: float
    """Of the largest group for all."""


@accepts_arrays
def probe_leakage(x: Array, labels: Labels, *, folds: int = 5, seed: int = 0) -> ProbeLeakage:
    """Return how well probes find the group of a point, by the entries of the points.

    Each coordinate is standardised on the training samples of a fold. A warped metric removes nothing from
    the entries: measure it by the points ``(x, √α b(x))`` of its graph. scikit-learn's probes at their
    default strengths; its folds are stratified and shuffled.

    Args:
        x: ``(n, *point)``.
        labels: the group of each point, ``(n,)``: a tensor, an array, or a list of anything hashable.
        folds: the number of folds, at most the size of the smallest group.
        seed: of the folds and of k-means.

    Raises:
        GeowarpError: for no points, one group, labels that do not fit, groups smaller than ``folds``, and
            where scikit-learn is not installed.
        NonFiniteError: for a point that is infinite or not a number.

    References:
        Gonen, Goldberg, Lipstick on a pig, NAACL 2019.

    Example:
        >>> x = torch.tensor([[-1.0], [-1.1], [-0.9], [1.0], [1.1], [0.9]])
        >>> probe_leakage(x, ["f", "f", "f", "m", "m", "m"], folds=3)
        ProbeLeakage(linear=1.0, rbf=1.0, kmeans=1.0, majority=0.5)
    """
    points = tensors(x)
    check_embeddings("probe_leakage", "x", points)
    groups = numbered(labels, "probe_leakage: labels")
    sizes = np.bincount(groups.codes)
    _check_labels(len(points), sizes, groups.names, folds)
    data = _array(points)
    return ProbeLeakage(
        linear=_cross_validated(
            data, groups.codes, "linear_model.LogisticRegression", folds, seed, max_iter=1000
        ),
        rbf=_cross_validated(data, groups.codes, "svm.SVC", folds, seed),
        kmeans=_kmeans(data, groups.codes, len(sizes), seed),
        majority=float(sizes.max() / sizes.sum()),
    )


def _check_labels(points: int, sizes: NDArray[Any], names: list[Any], folds: int) -> None:
    if sizes.sum() != points:
        raise GeowarpError(f"probe_leakage: {sizes.sum()} labels for {points} points; it needs one for each")
    if len(sizes) < 2:
        raise GeowarpError(f"probe_leakage: all labels are {names[0]!r}; it needs at least 2 groups")
    if folds < 2 or folds > sizes.min():
        name = names[int(sizes.argmin())]
        raise GeowarpError(
            f"probe_leakage: {folds} folds, and the group {name!r} has {sizes.min()} points; folds must be "
            f"from 2 to that"
        )


def _array(x: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = x.detach().flatten(1).double().cpu().numpy()
    return array


def _scikit(name: str) -> Any:
    module, _, kind = name.rpartition(".")
    return getattr(import_extra(f"sklearn.{module}", "cluster", "probe_leakage"), kind)


def _cross_validated(
    x: NDArray[Any], codes: NDArray[Any], probe: str, folds: int, seed: int, **settings: Any
) -> float:
    pipeline = _scikit("pipeline.make_pipeline")(
        _scikit("preprocessing.StandardScaler")(), _scikit(probe)(**settings)
    )
    split = _scikit("model_selection.StratifiedKFold")(folds, shuffle=True, random_state=seed)
    return float(_scikit("model_selection.cross_val_score")(pipeline, x, codes, cv=split).mean())


def _kmeans(x: NDArray[Any], codes: NDArray[Any], number: int, seed: int) -> float:
    clusters = _scikit("cluster.KMeans")(number, n_init=10, random_state=seed).fit_predict(x)
    return clustering_accuracy(codes, clusters)
