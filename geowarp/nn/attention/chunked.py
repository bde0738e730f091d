"""Chunk by chunk: tables of scores within a chunk, the state between chunks."""

from typing import Any

import torch
from torch import Tensor

from ...manifolds.linalg.differentiation import once_differentiable
from .arguments import Arguments
from .chunk import Sequence
from .chunked_backward import Adjoint, Needs
from .chunked_forward import forward_sweep

__all__ = ["chunked_attention"]


def chunked_attention(arguments: Arguments, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(..., T, V)`` and the last state ``(..., K, V)``, chunk by chunk."""
    q, k, v = arguments.q, arguments.k, arguments.v
    size = default_chunk(k.shape[-2], v.shape[-1]) if chunk is None else chunk
    options = (tuple(arguments.batch), arguments.exclusive, size)
    gates = (None if gate is None else gate[..., None] for gate in (arguments.beta, arguments.log_decay))
    output, state = _ChunkedAttention.apply(None if q is k else q, k, v, *gates, arguments.state, *options)  # type: ignore[no-untyped-call]
    return output, state


def default_chunk(length: int, value_width: int) -> int:
    """Return the number of positions per chunk: all of them up to 2 V, and else V, between 32 and 128.

    Forward and backward together take about ``7 K V + 3 C K`` operations per position for C < T, and 3 T K
    for one chunk; each chunk reads and writes the state. With K = 1024 and T = 2048 on a CPU, 32 positions
    are the fastest for V = 32, 64 to 128 for V = 128, and 128 for V = 256.
    """
    return max(length, 1) if length <= 2 * value_width else min(max(value_width, 32), 128)


class _ChunkedAttention(torch.autograd.Function):
    """The sweeps as one operation: it saves its inputs and, for the delta rule, the errors."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor | None,
        k: Tensor,
        v: Tensor,
        beta: Tensor | None,
        log_decay: Tensor | None,
        state: Tensor | None,
        batch: tuple[int, ...],
        exclusive: bool,
        size: int,
    ) -> tuple[Tensor, Tensor]:
        sequence = Sequence(q, k, v, beta, log_decay, state, batch, exclusive, size)
        output, errors, last = forward_sweep(sequence)
        ctx.save_for_backward(q, k, v, beta, log_decay, state, errors)
        ctx.options = (batch, exclusive, size)
        ctx.set_materialize_grads(False)
        return output.view(*batch, *output.shape[-2:]), last.view(*batch, *last.shape[-2:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_output: Tensor | None, d_state: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, errors = ctx.saved_tensors
        sequence = Sequence(*inputs, *ctx.options)
        d_last = None if d_state is None else sequence.rows(d_state, slice(None))
        if d_output is None:
            d_output = sequence.zeros(sequence.v.shape[-1])
        else:
            d_output = sequence.rows(d_output, slice(None))
        adjoint = Adjoint(sequence, errors, d_output, d_last, Needs(*ctx.needs_input_grad[:6]))
        return (*adjoint.gradients(), None, None, None)
