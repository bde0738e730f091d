"""The forward pass of chunked attention: one sweep that carries the state from chunk to chunk."""

import torch
from torch import Tensor

from .chunk import Chunk, Sequence

__all__ = ["forward_sweep"]


def forward_sweep(sequence: Sequence) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the outputs ``(N, T, V)``, the errors (None for the Hebbian rule) and the last state.

    Per chunk, with U = V or β Err, A and P the weighed ``K Kᵀ`` and ``Q Kᵀ``, and S the state before it::

        (I + A diag(β)) Err = V − e^b K S          one solve with a unit triangle
        O = P U + e^b Q S,  or V − Err where a read is the prediction
        S ← e^{b_C} S + (e^{b_C−b} K)ᵀ U
    """
    width = sequence.v.shape[-1]
    output = sequence.empty(width)
    errors = None if sequence.beta is None else sequence.empty(width)
    state = sequence.initial_state()
    for chunk in sequence.chunks():
        written = values = sequence.rows(sequence.v, chunk.rows)
        if errors is not None and chunk.beta is not None:
            errors[:, chunk.rows] = error = _errors(chunk, chunk.beta, values, state)
            written = chunk.beta * error
            values = values - error
        output[:, chunk.rows] = values if sequence.reads_predictions else _read(chunk, written, state)
        state = chunk.write(state, written)
    if state is None:
        state = output.new_zeros((output.shape[0], sequence.k.shape[-1], width))
    return output, errors, state


def _errors(chunk: Chunk, beta: Tensor, values: Tensor, state: Tensor | None) -> Tensor:
    wanted = values if state is None else values - chunk.decay.since_start(chunk.k @ state)
    system = chunk.overlaps() * beta.mT
    error: Tensor = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    return error


def _read(chunk: Chunk, written: Tensor, state: Tensor | None) -> Tensor:
    if state is None:
        return chunk.weights() @ written
    return chunk.decay.since_start(chunk.queries @ state).baddbmm_(chunk.weights(), written)
