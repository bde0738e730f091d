"""The backward pass of chunked attention: a sweep back with the state's adjoint, one forward with the state."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...manifolds.linalg.precision import working_precision
from .chunk import Chunk, Sequence

__all__ = ["Adjoint", "Needs"]


@dataclass(frozen=True)
class Needs:
    """Which inputs want a gradient; of q that are the keys, k stands for both."""

    q: bool
    k: bool
    v: bool
    beta: bool
    log_decay: bool
    state: bool

    @property
    def written(self) -> bool:
        """Whether more than the queries' gradient is wanted."""
        return self.k or self.v or self.beta or self.log_decay or self.state

    @property
    def reads(self) -> bool:
        """Whether a gradient needs the states that the chunks read."""
        return self.q or self.k or self.log_decay


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
        keys, values = sequence.k.shape[-1], sequence.v.shape[-1]
        self.d_q = sequence.empty(keys) if needs.q else None
        self.d_k = sequence.empty(keys) if needs.k else None
        self.d_known = sequence.empty(values) if needs.written else None
        self.d_beta = sequence.empty(1).squeeze(-1) if needs.beta else None
        self.d_total = working_precision(sequence.zeros(1).squeeze(-1)) if needs.log_decay else None
        self.d_carried: Tensor | None = None

    def run(self) -> None:
        """Fill the gradients."""
        for chunk in self.sequence.chunks(backwards=True):
            self._sweep_back(chunk)
        if not self.needs.reads:
            return
        state = self.sequence.initial_state()
        for chunk in self.sequence.chunks():
            state = self._sweep_forward(chunk, state)
        if self.d_total is not None and self.d_last is not None and state is not None:
            self.d_carried = (state * self.d_last).sum((-2, -1))

    def values(self) -> Tensor | None:
        """Return the gradient of the values, ``(N, T, V)``."""
        return self.d_known + self.d_output if self.sequence.reads_predictions else self.d_known

    def log_decay(self) -> Tensor:
        """Return the gradient of the log decays, ``(N, T)``."""
        summed = self.d_total.flip(-1).cumsum(-1).flip(-1)
        return summed if self.d_carried is None else summed + self.d_carried[:, None]

    def _sweep_back(self, chunk: Chunk) -> None:
        gram, products = chunk.products()
        written = self._written(chunk)
        if self.needs.written:
            self._through_write(chunk, gram, products, written)
        if self.needs.reads:
            self._through_tables(chunk, gram, products, written)
        if self.needs.written and (chunk.rows.start > 0 or self.needs.state):
            self._through_reads_of_state(chunk)

    def _written(self, chunk: Chunk) -> Tensor:
        if self.errors is None:
            return self.sequence.rows(self.sequence.v, chunk.rows)
        return chunk.beta * self.errors[:, chunk.rows]

    def _through_write(
        self, chunk: Chunk, gram: Tensor | None, products: Tensor | None, written: Tensor
    ) -> None:
        """Fill dR (dV for the Hebbian rule) and dβ of a chunk; count what its writes decay."""
        d_written = None
        if self.d_state is not None:
            d_written = chunk.decay.until_end(chunk.k @ self.d_state)
            if self.d_total is not None:
                self.d_total[:, chunk.rows] -= (written * d_written).sum(-1)
        if products is not None:
            weights = chunk.decay.weigh(products, chunk.exclusive).mT
            d_output = self.d_output[:, chunk.rows]
            d_written = weights @ d_output if d_written is None else d_written.baddbmm_(weights, d_output)
        if chunk.beta is None:
            self.d_known[:, chunk.rows] = d_written
        else:
            self._through_solve(chunk, gram, d_written)

    def _through_solve(self, chunk: Chunk, gram: Tensor, d_written: Tensor | None) -> None:
        weighed, system = chunk.system(gram)
        d_error = 0 if d_written is None else chunk.beta * d_written
        if chunk.reads_predictions:
            d_error = d_error - self.d_output[:, chunk.rows]
        d_known = torch.linalg.solve_triangular(system.mT, d_error, upper=True, unitriangular=True)
        self.d_known[:, chunk.rows] = d_known
        if self.d_beta is not None:
            effect = -(weighed.mT @ d_known) if d_written is None else d_written - weighed.mT @ d_known
            self.d_beta[:, chunk.rows] = (self.errors[:, chunk.rows] * effect).sum(-1)

    def _through_tables(
        self, chunk: Chunk, gram: Tensor | None, products: Tensor | None, written: Tensor
    ) -> None:
        """Set the rows of dQ and dK of a chunk to what its own positions and the state after it give."""
        d_products = d_gram = None
        if products is not None:
            d_products = chunk.decay.weigh(self.d_output[:, chunk.rows] @ written.mT, chunk.exclusive)
            self._count(chunk, products, d_products)
        if chunk.beta is not None and self.d_known is not None:
            d_gram = -chunk.decay.weigh(self.d_known[:, chunk.rows] @ written.mT, exclusive=True)
            self._count(chunk, gram, d_gram)
        if self.d_q is not None:
            self.d_q[:, chunk.rows] = d_products @ chunk.k
        if self.d_k is not None:
            self._keys_gradient(chunk, d_products, d_gram, written)

    def _count(self, chunk: Chunk, table: Tensor, d_table: Tensor) -> None:
        if self.d_total is not None:
            effect = table * d_table
            d_total = self.d_total[:, chunk.rows]
            d_total += effect.sum(-1, dtype=d_total.dtype) - effect.sum(-2, dtype=d_total.dtype)

    def _keys_gradient(
        self, chunk: Chunk, d_products: Tensor | None, d_gram: Tensor | None, written: Tensor
    ) -> None:
        d_k = self.d_k[:, chunk.rows]
        if chunk.q is None:
            parts = [table for table in (d_products, d_gram) if table is not None]
            d_gram, d_products = (parts[0] if len(parts) == 1 else parts[0] + parts[1]), None
        factors = [] if d_gram is None else [(d_gram + d_gram.mT, chunk.k)]
        factors += [] if d_products is None else [(d_products.mT, chunk.q)]
        factors += [] if self.d_state is None else [(chunk.decay.until_end(written), self.d_state.mT)]
        for index, (left, right) in enumerate(factors):
            d_k.baddbmm_(left, right, beta=min(index, 1))

    def _reads_of_state(self, chunk: Chunk) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return who reads the state before the chunk, with which gradient, and where its own belongs."""
        d_output = self.d_output[:, chunk.rows]
        d_known = None if chunk.beta is None or self.d_known is None else self.d_known[:, chunk.rows]
        since = chunk.decay.since_start
        if chunk.q is not None:
            reads = [(chunk.q, since(d_output), self.d_q)]
            return reads if d_known is None else [*reads, (chunk.k, since(-d_known), self.d_k)]
        if d_known is not None:
            d_output = -d_known if chunk.reads_predictions else d_output - d_known
        return [(chunk.k, since(d_output), self.d_k)]

    def _through_reads_of_state(self, chunk: Chunk) -> None:
        """Carry the gradient of the state from after the chunk to before it."""
        if self.d_state is not None:
            self.d_state = chunk.decay.across_(self.d_state)
        for reader, d_read, _ in self._reads_of_state(chunk):
            if self.d_state is None:
                self.d_state = reader.mT @ d_read
            else:
                self.d_state.baddbmm_(reader.mT, d_read)

    def _sweep_forward(self, chunk: Chunk, state: Tensor | None) -> Tensor | None:
        """Add the gradients of what the chunk reads of the state; return the state after it."""
        if state is not None:
            for reader, d_read, gradient in self._reads_of_state(chunk):
                self._through_read(chunk.rows, reader, d_read, gradient, state)
        if chunk.rows.stop == self.sequence.length and (self.d_total is None or self.d_last is None):
            return state
        return chunk.write(state, self._written(chunk))

    def _through_read(
        self, rows: slice, reader: Tensor, d_read: Tensor, gradient: Tensor | None, state: Tensor
    ) -> None:
        if self.d_total is None:
            if gradient is not None:
                gradient[:, rows].baddbmm_(d_read, state.mT)
            return
        d_reader = d_read @ state.mT
        self.d_total[:, rows] += (reader * d_reader).sum(-1)
        if gradient is not None:
            gradient[:, rows] += d_reader

    def gradients(self) -> tuple[Tensor | None, ...]:
        """Return the gradients of q, k, v, β, g and the state, each of its input's shape."""
        sequence, needs = self.sequence, self.needs
        found = (
            self.d_q,
            self.d_k,
            self.values() if needs.v else None,
            self.d_beta,
            self.log_decay() if needs.log_decay else None,
            self.d_state if needs.state else None,
        )
        inputs = (sequence.q, sequence.k, sequence.v, sequence.beta, sequence.log_decay, sequence.state)
        return tuple(self._reduced(*pair) for pair in zip(found, inputs, strict=True))

    def _reduced(self, gradient: Tensor | None, tensor: Tensor | None) -> Tensor | None:
        if gradient is None or tensor is None:
            return None
        shaped = gradient.view(*self.sequence.batch, *gradient.shape[1:])
        return shaped.sum_to_size(tensor.shape).to(tensor.dtype)
