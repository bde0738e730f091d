"""Labels of samples, of any hashable kind, as numbers."""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import GeowarpError

__all__ = ["Labels", "Partition", "contingency", "numbered", "numbered_pair"]

Labels = Tensor | NDArray[Any] | Sequence[Hashable]
"""A label for each sample: a tensor, a numpy array or what becomes one, or a list of anything hashable."""


class Partition(NamedTuple):
    """Samples with numbers in place of their labels.

    Example:
        >>> numbered(["b", "a", "b"])
        Partition(codes=array([1, 0, 1]), names=['a', 'b'])
    """

    codes: NDArray[np.int64]
    """``(N,)``, from 0."""
    names: list[Any]
    """The labels by number."""


def numbered(labels: Labels, name: str = "labels") -> Partition:
    """Return the samples ``(N,)`` with numbers for labels, in the order of the labels where they have one.

    Raises:
        GeowarpError: for no samples, more than one dimension, and labels that cannot be hashed.

    Example:
        >>> numbered([7, 3, 7]).codes
        array([1, 0, 1])
    """
    values = _values(labels, name)
    if len(values) == 0:
        raise GeowarpError(f"{name} has no samples; it needs at least 1")
    if isinstance(values, np.ndarray):
        found, codes = np.unique(values, return_inverse=True)
        return Partition(codes.astype(np.int64), found.tolist())
    try:
        names = _ordered(dict.fromkeys(values))
        number = {value: place for place, value in enumerate(names)}
        return Partition(np.array([number[value] for value in values], dtype=np.int64), names)
    except TypeError as error:
        raise GeowarpError(f"{name} has labels that cannot be hashed: {error}") from error


def numbered_pair(labels_true: Labels, labels_pred: Labels) -> tuple[Partition, Partition]:
    """Return both partitions of the same samples.

    Raises:
        GeowarpError: as ``numbered`` does, and for different numbers of samples.

    Example:
        >>> true, predicted = numbered_pair(["a", "b"], [5, 3])
        >>> predicted.codes
        array([1, 0])
    """
    true, pred = numbered(labels_true, "labels_true"), numbered(labels_pred, "labels_pred")
    if len(true.codes) != len(pred.codes):
        raise GeowarpError(
            f"labels_true has {len(true.codes)} samples and labels_pred {len(pred.codes)}; "
            "they need a label for each of the same samples"
        )
    return true, pred


def contingency(true: Partition, pred: Partition) -> NDArray[np.int64]:
    """Return how many samples have each pair of labels, ``(classes, clusters)``.

    Example:
        >>> contingency(*numbered_pair([0, 0, 1], [1, 1, 1]))
        array([[2],
               [1]])
    """
    shape = len(true.names), len(pred.names)
    pairs = true.codes * shape[1] + pred.codes
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)


def _values(labels: Any, name: str) -> NDArray[Any] | list[Any]:
    """Return a flat array of numbers or strings, or else a list."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    elif hasattr(labels, "__array__"):
        labels = np.asarray(labels)
    elif not isinstance(labels, Sequence) or isinstance(labels, str):
        raise GeowarpError(f"{name} is a {type(labels).__name__}; it must have a label for each sample")
    if not isinstance(labels, np.ndarray):
        return [value.item() if isinstance(value, Tensor) else value for value in labels]
    if labels.ndim != 1:
        raise GeowarpError(f"{name} has the shape {labels.shape}; it needs (N,), a label for each sample")
    return labels if labels.dtype != object else labels.tolist()


def _ordered(names: Iterable[Any]) -> list[Any]:
    """Return the names sorted, or as they come where they have no order."""
    found = list(names)
    try:
        return sorted(found)
    except TypeError:
        return found
