"""Associations of embeddings with groups: the coherence of their order, and inner products."""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from ...errors import GeowarpError
from ...manifolds.linalg.precision import full_precision
from ..arrays import Array, accepts_arrays, tensors
from .points import PairwiseDistance, check_embeddings, check_groups, similarity
from .ranks import spearman

__all__ = ["ect", "ripa"]


@accepts_arrays
def ect(targets: Array, groups: Sequence[Array], *, distance: PairwiseDistance | None = None) -> float:
    """Return the embedding coherence test: whether groups order the targets by similarity in the same way.

    Spearman's correlation over the targets of the mean similarities ``s = 1 − d²/2`` to two groups; of more
    groups, the least correlation of two. 1 is the absence of bias. With the cosine the order is that of the
    similarities to the mean vector of each group. Not a number where a group is equally far from all targets.

    Args:
        targets: ``(n, *point)``, at least 2 of them.
        groups: two or more sets of points ``(n_g, *point)``.
        distance: all distances ``(n, m)`` of two sets of points; by default Euclidean, of normalised rows.

    Raises:
        GeowarpError: for an empty set, one group, points of different shapes, and a row that is zero by
            default.
        NonFiniteError: for a point that is infinite or not a number.

    References:
        Dev, Phillips, Attenuating bias in word vectors, AISTATS 2019, section 3.

    Example:
        >>> targets = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
        >>> ect(targets, [torch.tensor([[1.0, 0.1, 0.0]]), torch.tensor([[1.0, 0.0, 0.1]])])
        1.0
        >>> ect(targets, [torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])]) < 0
        True
    """
    check_embeddings("ect", "targets", targets, directions=distance is None)
    check_groups("ect", "groups", groups, directions=distance is None)
    x, sets = tensors(targets, groups)
    means = [similarity(x, group, distance).mean(-1) for group in sets]
    correlations = [spearman(one, other) for one, other in combinations(means, 2)]
    return math.nan if any(map(math.isnan, correlations)) else min(correlations)


@accepts_arrays
def ripa(x: Array, first: Array, second: Array) -> Array:
    """Return the relational inner product association ``⟨x, r⟩`` with a relation of words, ``(n,)``.

    r is the unit vector along ``first − second`` of one pair of words. Of several pairs it is the first
    principal axis, not centred, of the differences, with the sign of their mean. It is linear in the
    entries: it measures a coordinate, not a distance, and no metric changes it.

    Args:
        x: ``(n, d)``.
        first: ``(d,)`` or ``(pairs, d)``, as "he".
        second: of the shape of ``first``, as "she".

    Raises:
        GeowarpError: for shapes or dtypes that do not fit, and pairs whose differences are zero.
        NonFiniteError: for a point that is infinite or not a number.

    References:
        Ethayarajh, Duvenaud, Hirst, Understanding undesirable word embedding associations, ACL 2019.

    Example:
        >>> ripa(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]))
        tensor([3., 0.])
    """
    points, one, other = tensors(x, first, second)
    check_embeddings("ripa", "x", points)
    for name, words in (("first", one), ("second", other)):
        check_embeddings(
            "ripa", name, words[None] if isinstance(words, Tensor) and words.ndim == 1 else words
        )
    if one.shape != other.shape or one.ndim > 2 or points.shape[1:] != one.shape[-1:]:
        raise GeowarpError(
            f"ripa: x, first and second have the shapes {tuple(points.shape)}, {tuple(one.shape)} and "
            f"{tuple(other.shape)}; they need (n, d), and (d,) or (pairs, d) of both"
        )
    if not points.dtype == one.dtype == other.dtype:
        raise GeowarpError(
            f"ripa: x, first and second have the dtypes {points.dtype}, {one.dtype} and {other.dtype}; they "
            "need one dtype"
        )
    if bool((one == other).all()):
        raise GeowarpError("ripa: first and second are the same points; they must differ along the relation")
    result: Array = tensors(_along(points, one - other))
    return result


@full_precision
def _along(x: Tensor, differences: Tensor) -> Tensor:
    differences = torch.atleast_2d(differences)
    if len(differences) == 1:
        return x @ torch.nn.functional.normalize(differences[0], dim=0)
    axis = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    return x @ torch.where(differences.mean(0) @ axis < 0, -axis, axis)
