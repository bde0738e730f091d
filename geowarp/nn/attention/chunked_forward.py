"""The forward pass of chunked attention: one sweep that carries the state from chunk to chunk."""

import torch
from torch import Tensor

from .chunk import Chunk, Sequence

__all__ = ["forward_sweep"]


def forward_sweep(sequence: Sequence) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the outputs ``(N, T, V)``, the errors (None for the Hebbian rule) and the last state.

    Per chunk, with U = V or β Err, A and P the weighed ``K Kᵀ`` and ``Q Kᵀ``, and S the state before it::

        (I + A diag(β)) Err = V − e^b K S          one solve with a unit triangle
        O = P U + e^b Q S;  A U + e^b K S where a read is the prediction
        S ← e^{b_C} S + (e^{b_C−b} K)ᵀ U

    A prediction is ``V − Err``, but that difference would cancel where little is predicted.
    """
    width = sequence.v.shape[-1]
    output = sequence.empty(width)
    errors = None if sequence.beta is None else sequence.empty(width)
    before: Tensor | None = None
    state = sequence.initial_state()
    for chunk in sequence.chunks():
        written = sequence.rows(sequence.v, chunk.rows)
        if errors is not None and chunk.beta is not None:
            before = None if state is None else chunk.decay.since_start(chunk.k @ state)
            errors[:, chunk.rows] = error = _errors(chunk, chunk.beta, written, before)
            written = chunk.beta * error
        if sequence.reads_predictions:
            output[:, chunk.rows] = _add(before, chunk.overlaps(), written)
        else:
            read = None if state is None else chunk.decay.since_start(chunk.queries @ state)
            output[:, chunk.rows] = _add(read, chunk.weights(), written)
        state = chunk.write(state, written)
    if state is None:
        state = output.new_zeros((output.shape[0], sequence.k.shape[-1], width))
    return output, errors, state


def _errors(chunk: Chunk, beta: Tensor, values: Tensor, before: Tensor | None) -> Tensor:
    """Return the errors, given what the state before the chunk predicts."""
    wanted = values if before is None else values - before
    system = chunk.overlaps() * beta.mT
    error: Tensor = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    return error


def _add(read: Tensor | None, table: Tensor, written: Tensor) -> Tensor:
    """Return what is read of the state, in its memory, with what is read of the chunk's own writes."""
    return table @ written if read is None else read.baddbmm_(table, written)
