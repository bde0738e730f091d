"""The forward pass of chunked attention: one sweep that carries the state from chunk to chunk."""

import torch
from torch import Tensor

from .chunk import Chunk, Sequence

__all__ = ["forward_sweep"]


def forward_sweep(sequence: Sequence) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the outputs ``(N, T, V)``, the errors (None for the Hebbian rule) and the last state."""
    width = sequence.v.shape[-1]
    output = sequence.empty(width)
    errors = None if sequence.beta is None else sequence.empty(width)
    state = sequence.initial_state()
    for chunk in sequence.chunks():
        values = sequence.rows(sequence.v, chunk.rows)
        read, error = _read(chunk, values, state)
        output[:, chunk.rows] = read
        if errors is not None:
            errors[:, chunk.rows] = error
        state = chunk.write(state, values if error is None else chunk.beta * error)
    if state is None:
        state = output.new_zeros((output.shape[0], sequence.k.shape[-1], width))
    return output, errors, state


def _read(chunk: Chunk, values: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the outputs of a chunk and the errors of its predictions (None for the Hebbian rule).

    With U = V or β Err and P = Q Kᵀ ⊙ D, ``O = P U + e^b Q S`` and ``(I + A diag(β)) Err = V − e^b K S``.
    """
    gram, products = chunk.products()
    written, error, known = values, None, None
    if chunk.beta is not None:
        known = None if state is None else chunk.decay.since_start(chunk.k @ state)
        error = _solve(chunk.system(gram)[1], values if known is None else values - known)
        written = chunk.beta * error
    if chunk.reads_predictions:
        return values - error, error
    if state is not None and (known is None or chunk.q is not None):
        known = chunk.decay.since_start(chunk.queries @ state)
    weights = chunk.decay.weigh(products, chunk.exclusive)
    return weights @ written if state is None else known.baddbmm_(weights, written), error


def _solve(system: Tensor, wanted: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
