"""Chunk by chunk: tables within a chunk, the state between chunks."""

from dataclasses import replace

import torch
from torch import Tensor

from .arguments import Arguments
from .quadratic import quadratic_attention

__all__ = ["chunked_attention"]


def chunked_attention(arguments: Arguments, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(..., T, V)`` and the last state ``(..., K, V)``, chunk by chunk."""
    size, length = chunk or 128, arguments.k.shape[-2]
    outputs, state = [], arguments.initial_state()
    for start in range(0, max(length, 1), size):
        output, state = quadratic_attention(_part(arguments, start, size, state))
        outputs.append(output)
    return torch.cat(outputs, dim=-2), state


def _part(arguments: Arguments, start: int, size: int, state: Tensor) -> Arguments:
    rows = slice(start, start + size)
    q, k, v = (x[..., rows, :] for x in (arguments.q, arguments.k, arguments.v))
    gates = (arguments.beta, arguments.log_decay)
    beta, log_decay = (g if g is None or g.shape[-1] == 1 else g[..., rows] for g in gates)
    return replace(arguments, q=q, k=k, v=v, beta=beta, log_decay=log_decay, state=state)
