"""Weighted averages that go along with blocks of keys."""

import torch
from torch import Tensor

__all__ = ["RunningAverage", "UnshiftedAverage"]


class UnshiftedAverage:
    """``Σ 2^l_j v_j / Σ 2^l_j`` over blocks of keys, for logits l that are nowhere positive.

    Where all logits of a query are so negative that the sum of its weights is near the smallest numbers, its
    digits are lost: ``RunningAverage`` has them.

    Args:
        rows: the number of problems and of queries.
        values: ``(P, M, d)``, for the dtype and d.

    Example:
        >>> average = UnshiftedAverage((1, 1), torch.zeros(1, 2, 1))
        >>> average.add(torch.tensor([[[0.0, -1.0]]]), torch.tensor([[[3.0], [0.0]]]))
        >>> average.result()
        (tensor([[[2.]]]), tensor([[0.5850]]))
    """

    def __init__(self, rows: tuple[int, int], values: Tensor) -> None:
        self.total = values.new_zeros(*rows, 1)
        self.average = values.new_zeros(*rows, values.shape[-1])

    def add(self, logits: Tensor, values: Tensor) -> None:
        """Add keys with logits ``(p, n, m)`` in base 2, which are written on, and values ``(p, m, d)``."""
        weights = logits.exp2_()
        self.total += weights.sum(-1, keepdim=True)
        self.average.baddbmm_(weights, values)

    def level(self) -> Tensor:
        """Return the base 2 logarithm of the sum of the weights, and +∞ where there was none, ``(p, n)``."""
        return torch.where(self.total > 0, self.total.log2(), torch.inf).squeeze(-1)

    def result(self) -> tuple[Tensor, Tensor]:
        """Return the averages ``(p, n, d)``, 0 where there was no key, and the levels ``(p, n)``."""
        return self.average / torch.where(self.total > 0, self.total, 1), self.level()

    def least(self) -> float:
        """Return the smallest sum of weights."""
        return float(self.total.amin())


class RunningAverage(UnshiftedAverage):
    """The same for any logits: weights are relative to the largest one so far.

    References:
        Milakov, Gimelshein, Online normalizer calculation for softmax, arXiv:1805.02867 (2018).

    Example:
        >>> average = RunningAverage((1, 1), torch.zeros(1, 2, 1))
        >>> for logit, value in ((-2000.0, 0.0), (-1999.0, 3.0)):
        ...     average.add(torch.tensor([[[logit]]]), torch.tensor([[[value]]]))
        >>> average.result()
        (tensor([[[2.]]]), tensor([[-1998.4150]]))
    """

    def __init__(self, rows: tuple[int, int], values: Tensor) -> None:
        super().__init__(rows, values)
        self.peak = torch.full_like(self.total, -torch.inf)

    def add(self, logits: Tensor, values: Tensor) -> None:
        """Add keys as ``UnshiftedAverage`` does."""
        peak = torch.maximum(self.peak, logits.amax(-1, keepdim=True))
        shift = torch.where(peak.isneginf(), 0, peak)
        fade = (self.peak - shift).exp2_()
        self.total.mul_(fade)
        self.average.mul_(fade)
        self.peak = peak
        super().add(logits.sub_(shift), values)

    def level(self) -> Tensor:
        """Return the base 2 logarithm of the sum of the weights, and +∞ where there was none, ``(p, n)``."""
        return torch.where(self.total > 0, self.peak.squeeze(-1)[..., None] + self.total.log2(), torch.inf)[
            ..., 0
        ]
