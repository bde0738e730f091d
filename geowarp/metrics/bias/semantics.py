"""What is left of the meaning of embeddings: distances against judgements of people."""

import torch
from torch import Tensor

from ...errors import GeowarpError
from ..arrays import Array, accepts_arrays, tensors
from .points import PairwiseDistance, check_embeddings, check_numbers, similarity
from .ranks import spearman

__all__ = ["semantic_preservation"]

_BLOCK = 32


@accepts_arrays
def semantic_preservation(
    x: Array, pairs: Array, scores: Array, *, distance: PairwiseDistance | None = None
) -> float:
    """Return Spearman's correlation of the similarity of pairs of points with scores by people.

    Compare it before and after debiasing, on sets of word pairs such as SimLex-999, MEN and WordSim-353.

    Args:
        x: ``(n, *point)``.
        pairs: the indices of the points of each pair, ``(pairs, 2)``.
        scores: how similar people find them, ``(pairs,)``.
        distance: all distances ``(n, m)`` of two sets of points, called on a few pairs at a time; by default
            Euclidean, of normalised rows.

    Raises:
        GeowarpError: for no points, fewer than 2 pairs, an index that is not of a point, scores that do not
            fit, and a row that is zero by default.
        NonFiniteError: for a point or score that is infinite or not a number.

    References:
        Hill, Reichart, Korhonen, SimLex-999, Computational Linguistics 41 (2015).
        Bruni, Tran, Baroni, Multimodal distributional semantics, JAIR 49 (2014).

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> semantic_preservation(x, torch.tensor([[0, 1], [1, 2], [0, 2]]), torch.tensor([9.0, 3.0, 1.0]))
        1.0
    """
    points, places, human = tensors(x, pairs, scores)
    check_embeddings("semantic_preservation", "x", points, directions=distance is None)
    if not isinstance(places, Tensor):
        raise GeowarpError(
            f"semantic_preservation: pairs is a {type(places).__name__}, neither a tensor nor an array"
        )
    if places.ndim != 2 or places.shape[-1] != 2 or len(places) < 2:
        raise GeowarpError(
            f"semantic_preservation: pairs has the shape {tuple(places.shape)}; it needs (pairs, 2), for at "
            "least 2 pairs"
        )
    check_numbers("semantic_preservation", "scores", human, len(places))
    similarities = [
        similarity(points[block[:, 0]], points[block[:, 1]], distance).diagonal()
        for block in _indices(places, len(points)).split(_BLOCK)
    ]
    return spearman(torch.cat(similarities), human)


def _indices(pairs: Tensor, points: int) -> Tensor:
    indices = pairs.long()
    if bool((indices != pairs).any()):
        raise GeowarpError(
            "semantic_preservation: pairs has an entry that is no integer; it needs indices of x"
        )
    if bool(((indices < 0) | (indices >= points)).any()):
        wrong = int(indices.max()) if int(indices.max()) >= points else int(indices.min())
        raise GeowarpError(f"semantic_preservation: pairs has the index {wrong}; x has {points} points")
    return indices
