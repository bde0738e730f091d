"""The backward pass of chunked attention: a sweep back with dS, then a sweep forward with S."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...manifolds.linalg.precision import working_precision
from .chunk import Chunk, Sequence

__all__ = ["Adjoint", "Needs"]


class Needs(NamedTuple):
    """Which inputs want a gradient; where the queries are the keys, k stands for both."""

    q: bool
    k: bool
    v: bool
    beta: bool
    log_decay: bool
    state: bool

    @property
    def writes(self) -> bool:
        """Whether more than the gradient of the queries is wanted."""
        return self.k or self.v or self.beta or self.log_decay or self.state

    @property
    def reads(self) -> bool:
        """Whether a gradient needs the products of keys, or the states that the chunks read."""
        return self.q or self.k or self.log_decay


@dataclass(frozen=True)
class Read:
    """A reading of the memory by the positions of a chunk, and the gradient of what is read.

    Args:
        reader: queries or keys ``(N, C, K)``.
        exclusive: whether a position reads before it writes.
        d_read: the gradient of the reads ``(N, C, V)``.
        d_reader: where the gradient of the reader is summed, or None.
    """

    reader: Tensor
    exclusive: bool
    d_read: Tensor
    d_reader: Tensor | None


class Adjoint:
    """The gradients of the inputs of a chunked attention, from those of its output and last state.

    With A, P, U, b, D as in the forward pass, ``R = V − e^b K S_in`` and ``dS`` the gradient of the state
    after a chunk, the sweep back gives per chunk::

        dU   = Pᵀ dO + e^{b_C−b} K dS
        dErr = β dU,  −dO where O = V − Err         dR = (I + A diag(β))^{−T} dErr
        dV   = dR,  +dO where O = V − Err           dβ = rowsum(Err ⊙ (dU − Aᵀ dR))
        dP   = (dO Uᵀ) ⊙ D                          dG = −(dR Uᵀ) ⊙ D, strictly
        dQ   = dP K                                 dK = (dG + dGᵀ) K + dPᵀ Q + e^{b_C−b} U dSᵀ
        dS  ← e^{b_C} dS + (e^b Q)ᵀ dO − (e^b K)ᵀ dR

    and the sweep forward, with the state computed again from K and U, adds what the state's reads give::

        dQ  += e^b dO S_inᵀ                         dK −= e^b dR S_inᵀ

    For the Hebbian rule U = V, ``dV = dU``, and there is no R. The derivative of a sum b_i is what i reads
    less what i writes, ``db = rowsum(Q ⊙ dQ) + rowsum(K ⊙ dK as reader) − rowsum(K ⊙ dK as writer)``, and
    ``dg_t = Σ_{i≥t} db_i + ⟨S_T, dS_T⟩`` over the whole sequence.

    Only dS, S and one chunk's tables are held beside the gradients and dR: ``O(T (K + V) + K V + C²)``.

    Args:
        sequence: the inputs.
        errors: of the forward pass, or None for the Hebbian rule.
        d_output: ``(N, T, V)``.
        d_state: of the last state ``(N, K, V)``, or None where it is zero.
        needs: which gradients to compute.
    """

    def __init__(
        self,
        sequence: Sequence,
        errors: Tensor | None,
        d_output: Tensor,
        d_state: Tensor | None,
        needs: Needs,
    ) -> None:
        self.sequence = sequence
        self.errors = errors
        self.d_output = d_output
        self.d_last = d_state
        self.d_state = None if d_state is None else d_state.clone()
        self.needs = needs
        self.d_q = sequence.zeros(sequence.k.shape[-1]) if needs.q else None
        self.d_k = sequence.zeros(sequence.k.shape[-1]) if needs.k else None
        self.d_values = sequence.zeros(sequence.v.shape[-1])
        self.d_beta = sequence.zeros(1)
        self.d_sums = working_precision(sequence.zeros(1))

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k, v, β, g and the state, each of its input's shape."""
        for chunk in self.sequence.chunks(backwards=True):
            self._sweep_back(chunk)
        last = self._sweep_forward() if self.needs.reads else None
        found = (self.d_q, self.d_k, self._d_v(), self.d_beta, self._d_log_decay(last), self.d_state)
        triples = zip(self.sequence.inputs(), found, self.needs, strict=True)
        return tuple(self._reduced(x, gradient) if needed else None for x, gradient, needed in triples)

    def _sweep_back(self, chunk: Chunk) -> None:
        written = self._written(chunk)
        if self.needs.writes:
            self._through_write(chunk, written)
        if self.needs.reads:
            self._within(chunk, written)
        if self.needs.writes and (chunk.rows.start > 0 or self.needs.state):
            self._before(chunk)

    def _written(self, chunk: Chunk) -> Tensor:
        if self.errors is None or chunk.beta is None:
            return self.sequence.rows(self.sequence.v, chunk.rows)
        return chunk.beta * self.errors[:, chunk.rows]

    def _through_write(self, chunk: Chunk, written: Tensor) -> None:
        """Set the rows of dR (dV for the Hebbian rule) and dβ."""
        d_output = self.d_output[:, chunk.rows]
        if self.d_state is None:
            d_written = torch.zeros_like(d_output)
        else:
            d_written = chunk.decay.until_end(chunk.k @ self.d_state)
            self.d_sums[:, chunk.rows] -= (written * d_written).sum(-1, keepdim=True)
        if not self.sequence.reads_predictions:
            d_written = d_written.baddbmm_(chunk.weights().mT, d_output)
        if self.errors is not None and chunk.beta is not None:
            d_written = self._through_solve(chunk, chunk.beta, self.errors[:, chunk.rows], d_written)
        self.d_values[:, chunk.rows] = d_written

    def _through_solve(self, chunk: Chunk, beta: Tensor, errors: Tensor, d_written: Tensor) -> Tensor:
        d_error = beta * d_written
        if self.sequence.reads_predictions:
            d_error = d_error - self.d_output[:, chunk.rows]
        overlaps = chunk.overlaps()
        system = (overlaps * beta.mT).mT
        d_wanted: Tensor = torch.linalg.solve_triangular(system, d_error, upper=True, unitriangular=True)
        if self.needs.beta:
            effect = d_written - overlaps.mT @ d_wanted
            self.d_beta[:, chunk.rows] = (errors * effect).sum(-1, keepdim=True)
        return d_wanted

    def _reads(self, chunk: Chunk) -> list[Read]:
        """Return the reads of a chunk: of its outputs, and of its predictions for the delta rule."""
        rows, reads = chunk.rows, []
        d_k = None if self.d_k is None else self.d_k[:, rows]
        if not self.sequence.reads_predictions:
            d_q = None if self.d_q is None else self.d_q[:, rows]
            d_reader = d_k if chunk.queries is chunk.k else d_q
            reads.append(Read(chunk.queries, chunk.exclusive, self.d_output[:, rows], d_reader))
        if self.errors is not None:
            reads.append(Read(chunk.k, True, -self.d_values[:, rows], d_k))
        return reads

    def _within(self, chunk: Chunk, written: Tensor) -> None:
        """Add to dQ and dK what the chunk's own positions and the state after it give."""
        d_k = None if self.d_k is None else self.d_k[:, chunk.rows]
        if self.d_state is not None:
            _add_product(d_k, chunk.decay.until_end(written), self.d_state.mT)
        for read in self._reads(chunk):
            d_products = chunk.decay.weigh(read.d_read @ written.mT, read.exclusive)
            if self.needs.log_decay:
                self._count(chunk, read, d_products)
            if read.reader is chunk.k:
                _add_product(d_k, d_products + d_products.mT, chunk.k)
            else:
                _add_product(read.d_reader, d_products, chunk.k)
                _add_product(d_k, d_products.mT, read.reader)

    def _count(self, chunk: Chunk, read: Read, d_products: Tensor) -> None:
        products = chunk.gram() if read.reader is chunk.k else chunk.scores()
        effect = working_precision(products * d_products)
        self.d_sums[:, chunk.rows] += (effect.sum(-1) - effect.sum(-2))[..., None]

    def _before(self, chunk: Chunk) -> None:
        """Carry the gradient of the state from after the chunk to before it."""
        if self.d_state is not None:
            self.d_state = chunk.decay.across_(self.d_state)
        for read in self._reads(chunk):
            d_read = chunk.decay.since_start(read.d_read)
            if self.d_state is None:
                self.d_state = read.reader.mT @ d_read
            else:
                self.d_state.baddbmm_(read.reader.mT, d_read)

    def _sweep_forward(self) -> Tensor | None:
        """Add to dQ and dK what the reads of states give; return the last state, where it is needed."""
        state = self.sequence.initial_state()
        for chunk in self.sequence.chunks():
            if state is not None:
                self._from_state(chunk, state)
            if chunk.rows.stop < self.sequence.length or (self.needs.log_decay and self.d_last is not None):
                state = chunk.write(state, self._written(chunk))
        return state

    def _from_state(self, chunk: Chunk, state: Tensor) -> None:
        for read in self._reads(chunk):
            d_read = chunk.decay.since_start(read.d_read)
            if not self.needs.log_decay:
                _add_product(read.d_reader, d_read, state.mT)
                continue
            d_reader = d_read @ state.mT
            self.d_sums[:, chunk.rows] += (read.reader * d_reader).sum(-1, keepdim=True)
            if read.d_reader is not None:
                read.d_reader.add_(d_reader)

    def _d_v(self) -> Tensor:
        return self.d_values + self.d_output if self.sequence.reads_predictions else self.d_values

    def _d_log_decay(self, last: Tensor | None) -> Tensor:
        """Return the sums of db from each position on; all of them also decay what the last state keeps."""
        summed = self.d_sums.flip(1).cumsum(1).flip(1)
        if last is None or self.d_last is None:
            return summed
        return summed + (last * self.d_last).sum((-2, -1))[:, None, None]

    def _reduced(self, tensor: Tensor | None, gradient: Tensor | None) -> Tensor | None:
        """Return the gradient summed to the shape of a tensor that was broadcast."""
        if tensor is None or gradient is None:
            return None
        shaped = gradient.view(*self.sequence.batch, *gradient.shape[1:])
        return shaped.sum_to_size(tensor.shape).to(tensor.dtype)


def _add_product(total: Tensor | None, left: Tensor, right: Tensor) -> None:
    if total is not None:
        total.baddbmm_(left, right)
