"""Bias before and after, as a small table."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ...metrics.bias import attention_gap, ect
from ...metrics.bias.points import PairwiseDistance, similarity

__all__ = ["BiasMeasures", "BiasReport", "measure_bias"]


class BiasMeasures(NamedTuple):
    """How differently targets relate to groups under a distance.

    Example:
        >>> BiasMeasures(attention_gap=0.0, ect=1.0, raw_gap=0.0).ect
        1.0
    """

    attention_gap: float
    """The largest share of attention of a group minus the smallest, mean over the targets. 0 is parity."""
    ect: float
    """The embedding coherence test: whether groups order the targets in the same way. 1 if they do."""
    raw_gap: float
    """The largest mean similarity ``1 − d²/2`` to a group minus the smallest, mean over the targets."""


class BiasReport(NamedTuple):
    """Measures under the distance of the base and under the warped chord distance.

    Example:
        >>> before, after = BiasMeasures(0.09, 0.66, 0.05), BiasMeasures(0.0, 1.0, 0.0)
        >>> print(BiasReport(before, after, {"she": 8, "he": 8}, targets=320, alpha=0.25, tau=0.5))
        320 targets; groups: she 8, he 8; alpha = 0.25, tau = 0.5
                        before    after
        attention gap   0.0900   0.0000
        ECT             0.6600   1.0000
        raw gap         0.0500   0.0000
    """

    before: BiasMeasures
    after: BiasMeasures
    groups: dict[str, int]
    """How many members each group has."""
    targets: int
    """How many targets there are."""
    alpha: float
    tau: float
    """The temperature of the attention gap."""

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {size}" for name, size in self.groups.items())
        lines = [
            f"{self.targets} targets; groups: {sizes}; alpha = {self.alpha:g}, tau = {self.tau:.4g}",
            f"{'':13}  {'before':>7}  {'after':>7}",
        ]
        for name, before, after in zip(
            ("attention gap", "ECT", "raw gap"), self.before, self.after, strict=True
        ):
            lines.append(f"{name:13}  {before:7.4f}  {after:7.4f}")
        return "\n".join(lines)


def measure_bias(
    targets: Tensor, groups: Sequence[Tensor], tau: float, distance: PairwiseDistance
) -> BiasMeasures:
    """Return the measures of targets ``(n, *point)`` and groups ``(n_g, *point)`` under a distance.

    Example:
        >>> she, he = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> x = torch.tensor([[0.0, 0.5], [0.0, 0.0]])
        >>> [round(value, 4) for value in measure_bias(x, [she, he], 1.0, torch.cdist)]
        [0.2311, -1.0, 0.25]
    """
    means = [similarity(targets, group, distance).mean(-1) for group in groups]
    largest, smallest = means[0], means[0]
    for mean in means[1:]:
        largest, smallest = largest.maximum(mean), smallest.minimum(mean)
    coherence = float(ect(targets, groups, distance=distance)) if len(targets) > 1 else float("nan")
    gap = attention_gap(targets, groups, tau, distance=distance).mean
    return BiasMeasures(gap, coherence, float((largest - smallest).mean()))
