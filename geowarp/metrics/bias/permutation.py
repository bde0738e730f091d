"""The word embedding association test."""

import math
from collections.abc import Iterator
from itertools import combinations, islice
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import GeowarpError
from ..arrays import Array, accepts_arrays, tensors
from .points import PairwiseDistance, check_embeddings, similarity

__all__ = ["WEAT", "weat"]

_BLOCK = 4096
_TIE = 1e-12


class WEAT(NamedTuple):
    """The associations of two sets of targets with two sets of attributes, compared.

    Example:
        >>> WEAT(effect_size=1.5, gap=0.2, p_value=0.01, exact=True).gap
        0.2
    """

    effect_size: float
    """The gap divided by the deviation of the associations; not a number where they are all equal."""
    gap: float
    """The difference of the mean associations, on the scale of the similarity."""
    p_value: float
    """One-sided: the share of partitions of all targets with at least this gap."""
    exact: bool
    """Whether all partitions were counted."""


@accepts_arrays
def weat(
    x: Array,
    y: Array,
    a: Array,
    b: Array,
    *,
    distance: PairwiseDistance | None = None,
    correction: int = 1,
    permutations: int = 20_000,
    generator: torch.Generator | None = None,
) -> WEAT:
    """Compare how two sets of targets x, y are associated with two sets of attributes a, b.

    The association of a point w is ``s(w) = mean_a s(w, a) − mean_b s(w, b)`` with the similarity
    ``s = 1 − d²/2``, the cosine where no distance is given. The gap is ``mean_x s − mean_y s``, and the
    effect size the gap divided by the standard deviation of s over all targets. The paper does not say
    which: by default it is that of a sample, ``correction = 1``; that of a population, 0, bounds the effect
    size of two sets of one size by 2.

    The effect size has no scale: where all associations shrink a thousandfold it stays what it was, and where
    debiasing leaves nothing but rounding errors it is noise of order 1. So a small gap shows that a bias is
    small, a small effect size does not, nor a large one that it is large.

    The p-value is the share of partitions of the targets into sets of these sizes whose gap is at least the
    one observed, which counts itself. All of them are counted where there are no more than ``permutations``;
    else as many are drawn at random, and it is ``(1 + count) / (1 + permutations)``.

    Args:
        x: the first targets, ``(n, *point)``.
        y: the second targets.
        a: the first attributes.
        b: the second attributes.
        distance: all distances ``(n, m)`` of two sets of points; by default Euclidean, of normalised rows.
        correction: 1 or 0, of the standard deviation.
        permutations: the most partitions to look at.
        generator: draws the partitions; by default torch's own.

    Raises:
        GeowarpError: for an empty set, points of different shapes, a row that is zero by default, and
            settings out of range.
        NonFiniteError: for a point that is infinite or not a number.

    References:
        Caliskan, Bryson, Narayanan, Semantics derived automatically from language corpora contain human-like
        biases, Science 356 (2017).

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> x, y = torch.tensor([[2.0, 1.0], [3.0, 1.0]]), torch.tensor([[1.0, 2.0], [1.0, 3.0]])
        >>> result = weat(x, y, a, b)
        >>> print(f"{result.effect_size:.4f} {result.gap:.4f} {result.p_value:.4f} {result.exact}")
        1.7071 1.0797 0.1667 True
    """
    sets = tensors(x, y, a, b)
    for name, points in zip("xyab", sets, strict=True):
        check_embeddings("weat", name, points, directions=distance is None)
    if correction not in (0, 1):
        raise GeowarpError(f"weat: correction = {correction}; it is 1 or 0")
    if permutations < 1:
        raise GeowarpError(f"weat: permutations = {permutations}; it needs at least 1")
    first, second = (_association(points, sets[2], sets[3], distance) for points in sets[:2])
    associations = torch.cat((first, second))
    gap = float(first.mean() - second.mean())
    deviation = float(associations.std(correction=correction))
    p_value, exact = _p_value(associations, len(first), permutations, generator)
    return WEAT(gap / deviation if deviation else math.nan, gap, p_value, exact)


def _association(x: Tensor, a: Tensor, b: Tensor, distance: PairwiseDistance | None) -> Tensor:
    means = [similarity(x, group, distance).detach().double().mean(-1) for group in (a, b)]
    return means[0] - means[1]


def _p_value(
    associations: Tensor, size: int, permutations: int, generator: torch.Generator | None
) -> tuple[float, bool]:
    """Return the share of partitions with at least the observed sum over the first set, and if it is exact.

    The sum over the second set is the total without it, so this orders partitions as the gap does.
    """
    number = math.comb(len(associations), size)
    exact = number <= permutations
    observed = associations[:size].sum() - _TIE * associations.abs().sum()
    draws = (
        _all(len(associations), size) if exact else _drawn(len(associations), size, permutations, generator)
    )
    count = sum(
        int((associations[chosen.to(associations.device)].sum(-1) >= observed).sum()) for chosen in draws
    )
    return (count / number, True) if exact else ((1 + count) / (1 + permutations), False)


def _all(total: int, size: int) -> Iterator[Tensor]:
    chosen = combinations(range(total), size)
    while block := list(islice(chosen, _BLOCK)):
        yield torch.tensor(block)


def _drawn(total: int, size: int, number: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    device = generator.device if generator is not None else "cpu"
    for start in range(0, number, _BLOCK):
        rows = min(_BLOCK, number - start)
        yield torch.rand(rows, total, generator=generator, device=device).argsort(-1)[:, :size]
