"""The decays within a run of positions, from the sums of their logarithms."""

import torch
from torch import Tensor

from ...manifolds.linalg.precision import working_precision

__all__ = ["Decay", "decay_of"]

_FORGOTTEN = -750.0  # the exponential of this is zero in float64


class Decay:
    """No decay: every factor is one. The parent of ``LogDecay``, and its limit at log decay zero."""

    def weigh(self, table: Tensor, exclusive: bool) -> Tensor:
        """Return ``table_ij · exp(b_i − b_j)`` for j ≤ i, or j < i if exclusive, and zero elsewhere."""
        return table.tril(-1 if exclusive else 0)

    def since_start(self, rows: Tensor) -> Tensor:
        """Return ``exp(b_i) rows_i``: what is left at i of the state before the first position."""
        return rows

    def until_end(self, rows: Tensor) -> Tensor:
        """Return ``exp(b_C − b_i) rows_i``: what is left after the last position of what i writes."""
        return rows

    def across(self, state: Tensor) -> Tensor:
        """Return ``exp(b_C) state``: what is left after the last position of the state before the first."""
        return state

    def across_(self, state: Tensor) -> Tensor:
        """As ``across``, in place."""
        return state


class LogDecay(Decay):
    """Decay by ``exp(g_t)`` before each write, with the sums ``b_i = Σ_{m≤i} g_m``.

    Sums and differences are taken in float64, and the upper triangle is masked before the exponential: no
    exponent is positive where g ≤ 0. Log decays below −750 count as −750, which forgets everything: so −∞ is
    one, too, and positions after a strong decay keep their digits.

    Args:
        log_decay: ``(..., C)`` in float64.
        dtype: of the factors.
    """

    def __init__(self, log_decay: Tensor, dtype: torch.dtype) -> None:
        self.total = log_decay.clamp_min(_FORGOTTEN).cumsum(-1)
        self.dtype = dtype
        self.last = self.total[..., -1:] if log_decay.shape[-1] else self.total.sum(-1, keepdim=True)
        self.length = log_decay.shape[-1]

    def weigh(self, table: Tensor, exclusive: bool) -> Tensor:
        kept = table.new_ones((self.length, self.length), dtype=torch.bool).tril(-1 if exclusive else 0)
        exponent = self.total[..., :, None] - self.total[..., None, :]
        return table * exponent.to(self.dtype).masked_fill(~kept, -torch.inf).exp()

    def since_start(self, rows: Tensor) -> Tensor:
        return rows * self._factor(self.total)

    def until_end(self, rows: Tensor) -> Tensor:
        return rows * self._factor(self.last - self.total)

    def across(self, state: Tensor) -> Tensor:
        return state * self._factor(self.last)

    def across_(self, state: Tensor) -> Tensor:
        return state.mul_(self._factor(self.last))

    def _factor(self, exponent: Tensor) -> Tensor:
        return exponent.exp().to(self.dtype)[..., None]


def decay_of(log_decay: Tensor | None, length: int, dtype: torch.dtype) -> Decay:
    """Return the decay of ``length`` positions, for a log decay that broadcasts to ``(..., length)``."""
    if log_decay is None:
        return Decay()
    return LogDecay(working_precision(log_decay).expand(*log_decay.shape[:-1], length), dtype)
