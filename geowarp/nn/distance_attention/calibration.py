"""Temperatures of the size of the scores that they divide."""

import math

import torch
from torch import Tensor

from ...errors import GeowarpError
from ...manifolds import Manifold
from ...manifolds.linalg import full_precision
from .scores import Score

__all__ = ["calibrated_temperatures"]


@torch.no_grad()
@full_precision
def calibrated_temperatures(
    name: str, manifold: Manifold, score: Score, q: Tensor, k: Tensor, fraction: float
) -> Tensor:
    """Return a fraction of how far the scores of each head are below that of equal points, ``(heads,)``.

    That is, on average over all pairs of queries and keys, and for ``SquaredDistance()`` the mean squared
    distance.

    Args:
        name: of the module, for messages.
        manifold: of the points.
        score: s.
        q: queries, ``(..., heads, N, *point)``.
        k: keys, ``(..., heads, M, *point)``.
        fraction: of the mean.

    Raises:
        GeowarpError: where all points of a head are equal, or the score tells none apart; without points, and
            for a fraction that is not positive.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn.distance_attention.scores import SquaredDistance
        >>> q, k = torch.tensor([[[0.0], [0.0]], [[1.0], [3.0]]]), -torch.ones(2, 1, 1)
        >>> calibrated_temperatures("Layer", Euclidean(1), SquaredDistance(), q, k, 0.5)
        tensor([0.5000, 5.0000])
    """
    if not 0 < fraction < math.inf:
        raise GeowarpError(f"{name}.calibrate: fraction = {fraction}; it must be positive, such as 0.25")
    if 0 in (q.numel(), k.numel()):
        raise GeowarpError(
            f"{name}.calibrate: queries {tuple(q.shape)} and keys {tuple(k.shape)} of heads leave no pair "
            "to measure; give a batch with tokens"
        )
    first = q.narrow(-manifold.ndim - 1, 0, 1)
    below = score.logits(manifold, first, first) - score.logits(manifold, q, k)
    mean = below.movedim(-3, 0).flatten(1).mean(1)
    if not bool((mean > 0).all()):
        head = int((~(mean > 0)).nonzero()[0])
        raise GeowarpError(
            f"{name}.calibrate: the scores {score!r} of head {head} are on average {mean[head].item():.1e} "
            "below that of equal points; give points that differ, and a score that tells them apart"
        )
    return fraction * mean
