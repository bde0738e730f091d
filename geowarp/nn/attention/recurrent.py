"""One position after the other: the definition, for decoding and as a reference."""

import torch
from torch import Tensor

from .arguments import Arguments

__all__ = ["recurrent_attention"]


def recurrent_attention(arguments: Arguments) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(..., T, V)`` and the last state ``(..., K, V)`` by a loop over T."""
    state = arguments.initial_state()
    length = arguments.k.shape[-2]
    outputs = []
    for t in range(length):
        output, state = _step(arguments, t, state)
        outputs.append(output)
    if outputs:
        return torch.cat(outputs, dim=-2), state
    return arguments.v.new_zeros((*arguments.batch, 0, arguments.v.shape[-1])), state.clone()


def _step(arguments: Arguments, t: int, state: Tensor) -> tuple[Tensor, Tensor]:
    q, k, v = (x[..., t : t + 1, :] for x in (arguments.q, arguments.k, arguments.v))
    if arguments.log_decay is not None:
        state = _at(arguments.log_decay, t).exp() * state
    before = q @ state if arguments.exclusive else None
    written = v if arguments.beta is None else _at(arguments.beta, t) * (v - k @ state)
    state = state + k.mT * written
    return q @ state if before is None else before, state


def _at(gate: Tensor, t: int) -> Tensor:
    """Return the gate of one position as ``(..., 1, 1)``."""
    return gate[..., min(t, gate.shape[-1] - 1), None, None]
