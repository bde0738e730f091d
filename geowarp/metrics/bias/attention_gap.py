"""How much more attention a point pays to one group than to another."""

from collections.abc import Sequence
from typing import Generic, NamedTuple

import torch

from ...errors import GeowarpError
from ..arrays import Array, accepts_arrays, tensors
from .points import PairwiseDistance, check_embeddings, check_groups, check_numbers, squared_distance
from .ranks import pearson

__all__ = ["AttentionGap", "attention_gap"]


class AttentionGap(NamedTuple, Generic[Array]):
    """Shares of attention of targets to groups.

    Example:
        >>> AttentionGap(mean=0.2, rows=torch.tensor([0.2]), shares=torch.tensor([[0.6, 0.4]])).mean
        0.2
    """

    mean: float
    """The mean of ``rows``."""
    rows: Array
    """The largest share minus the smallest of each target, ``(n,)``."""
    shares: Array
    """The share of each group, ``(n, groups)``; they add up to 1."""
    correlation: float | None = None
    """Pearson's, of the share of the first group and the stereotype, where one was given."""


@accepts_arrays
def attention_gap(
    targets: Array,
    groups: Sequence[Array],
    tau: float,
    *,
    distance: PairwiseDistance | None = None,
    stereotype: Array | None = None,
) -> AttentionGap[Array]:
    """Return the shares of softmax attention ``exp(−d²/τ)`` that targets pay to each group, and their gap.

    Each target attends to the members of all groups; the share of a group is the sum of the weights of its
    members. The gap of a target is the largest share minus the smallest, ``|p_1 − p_2|`` of two groups, and
    0 where attention has parity. Groups of different sizes have different shares under equal distances.
    ``rows`` and ``shares`` carry gradients.

    Args:
        targets: ``(n, *point)``.
        groups: two or more sets of points ``(n_g, *point)``.
        tau: the temperature, positive.
        distance: all distances ``(n, m)`` of two sets of points; by default Euclidean, of normalised rows.
        stereotype: a number for each target, ``(n,)``, such as how far people think of it as of the first
            group, to correlate with. The correlation has no scale: where the gap is 0 it is that of noise.

    Raises:
        GeowarpError: for an empty set, one group, points of different shapes, tau that is not positive, and
            a row that is zero by default.
        NonFiniteError: for a point or stereotype that is infinite or not a number.

    Example:
        >>> gap = attention_gap(torch.tensor([[1.0, 0.0]]), [torch.eye(2)[:1], torch.eye(2)[1:]], tau=1.0)
        >>> gap.shares
        tensor([[0.8808, 0.1192]])
        >>> print(f"{gap.mean:.4f}")
        0.7616
    """
    check_embeddings("attention_gap", "targets", targets, directions=distance is None)
    check_groups("attention_gap", "groups", groups, directions=distance is None)
    if not 0 < tau < float("inf"):
        raise GeowarpError(f"attention_gap: tau = {tau}; it must be positive")
    x, sets, score = tensors(targets, groups, stereotype)
    if score is not None:
        check_numbers("attention_gap", "stereotype", score, len(x))
    squares = [squared_distance(x, group, distance) for group in sets]
    nearest = torch.cat([part.detach() for part in squares], -1).amin(-1, keepdim=True)
    logits = [((nearest - part) / tau).logsumexp(-1) for part in squares]
    shares = torch.stack(logits, -1).softmax(-1)
    rows = shares.amax(-1) - shares.amin(-1)
    correlation = None if score is None else pearson(shares[:, 0].detach(), score)
    return AttentionGap(float(rows.detach().mean()), tensors(rows), tensors(shares), correlation)
