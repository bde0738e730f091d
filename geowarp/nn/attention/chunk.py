"""One chunk of positions of an attention, and what is computed within it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor

from .decay import Decay, decay_of

__all__ = ["Chunk", "Sequence"]


class Chunk:
    """C positions of N sequences, with what is computed from their keys and queries alone.

    Args:
        rows: which positions.
        q: queries ``(N, C, K)``, or None where they are the keys.
        k: keys ``(N, C, K)``.
        beta: write strengths ``(N, C, 1)``, or None for the Hebbian rule.
        decay: the decays within the chunk.
        exclusive: whether a position reads before it writes.
    """

    def __init__(
        self, rows: slice, q: Tensor | None, k: Tensor, beta: Tensor | None, decay: Decay, exclusive: bool
    ) -> None:
        self.rows = rows
        self.queries = k if q is None else q
        self.k = k
        self.beta = beta
        self.decay = decay
        self.exclusive = exclusive
        self._gram: Tensor | None = None
        self._scores: Tensor | None = None

    def gram(self) -> Tensor:
        """Return ``K Kᵀ``, which is computed once."""
        if self._gram is None:
            self._gram = self.k @ self.k.mT
        return self._gram

    def scores(self) -> Tensor:
        """Return ``Q Kᵀ``, which is computed once, and not at all where the queries are the keys."""
        if self.queries is self.k:
            return self.gram()
        if self._scores is None:
            self._scores = self.queries @ self.k.mT
        return self._scores

    def weights(self) -> Tensor:
        """Return ``P = Q Kᵀ ⊙ D``: how much of each write a position reads."""
        return self.decay.weigh(self.scores(), self.exclusive)

    def overlaps(self) -> Tensor:
        """Return ``A = K Kᵀ ⊙ D`` below the diagonal: how much of each write a position predicts."""
        return self.decay.weigh(self.gram(), exclusive=True)

    def write(self, state: Tensor | None, written: Tensor) -> Tensor:
        """Return ``e^{b_C} S + (e^{b_C − b} K)ᵀ U``, in the memory of S."""
        kept = self.decay.until_end(written)
        if state is None:
            return self.k.mT @ kept
        return self.decay.across_(state).baddbmm_(self.k.mT, kept)


@dataclass(frozen=True)
class Sequence:
    """The inputs of an attention, as they came, and how to cut them into chunks.

    Args:
        q: queries, or None where they are the keys.
        k: keys.
        v: values.
        beta: write strengths, broadcastable to ``(..., T, 1)``, or None.
        log_decay: log decays, broadcastable to ``(..., T, 1)``, or None.
        state: the state before the first position, or None for zeros.
        batch: the broadcast leading dimensions; N is their product.
        exclusive: whether a position reads before it writes.
        size: positions per chunk.
    """

    q: Tensor | None
    k: Tensor
    v: Tensor
    beta: Tensor | None
    log_decay: Tensor | None
    state: Tensor | None
    batch: tuple[int, ...]
    exclusive: bool
    size: int

    @property
    def length(self) -> int:
        """T."""
        return self.k.shape[-2]

    @property
    def reads_predictions(self) -> bool:
        """Whether a read is the prediction ``V − Err`` of the value: then it needs no scores."""
        return self.q is None and self.exclusive and self.beta is not None

    def rows(self, tensor: Tensor, rows: slice) -> Tensor:
        """Return rows of a tensor ``(..., T, W)`` as ``(N, C, W)``; a view, where strides allow."""
        part = tensor[..., rows, :]
        return part.expand(*self.batch, *part.shape[-2:]).reshape(prod(self.batch), *part.shape[-2:])

    def inputs(self) -> tuple[Tensor | None, ...]:
        """Return the tensors, in the order of the fields."""
        return self.q, self.k, self.v, self.beta, self.log_decay, self.state

    def initial_state(self) -> Tensor | None:
        """Return a copy of the state before the first position, ``(N, K, V)``."""
        return None if self.state is None else self.rows(self.state, slice(None)).clone()

    def empty(self, width: int) -> Tensor:
        """Return memory for ``(N, T, width)``."""
        return self.v.new_empty((prod(self.batch), self.length, width))

    def zeros(self, width: int) -> Tensor:
        """Return zeros ``(N, T, width)``."""
        return self.empty(width).zero_()

    def chunks(self, backwards: bool = False) -> Iterator[Chunk]:
        """Yield the chunks, in order or from the last."""
        starts = range(0, self.length, self.size)
        for start in reversed(starts) if backwards else starts:
            yield self._chunk(slice(start, min(start + self.size, self.length)))

    def _chunk(self, rows: slice) -> Chunk:
        q = None if self.q is None else self.rows(self.q, rows)
        beta = None if self.beta is None else self._column(self.beta, rows)
        log_decay = None if self.log_decay is None else self._column(self.log_decay, rows).squeeze(-1)
        decay = decay_of(log_decay, rows.stop - rows.start, self.v.dtype)
        return Chunk(rows, q, self.rows(self.k, rows), beta, decay, self.exclusive)

    def _column(self, gate: Tensor, rows: slice) -> Tensor:
        """Return rows of a gate as ``(N, C, 1)``."""
        return self.rows(gate.expand(*gate.shape[:-2], self.length, 1), rows)
