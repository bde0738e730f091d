"""All positions at once, by the T x T table of their scores."""

import torch
from torch import Tensor

from ...manifolds.linalg.broadcasting import broadcast_shapes
from .arguments import Arguments
from .decay import Decay, decay_of

__all__ = ["quadratic_attention"]


def quadratic_attention(arguments: Arguments) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(..., T, V)`` and the last state ``(..., K, V)`` by tables of T x T."""
    q, k, v, state = arguments.q, arguments.k, arguments.v, arguments.state
    decay = decay_of(arguments.log_decay, k.shape[-2], v.dtype)
    written = v if arguments.beta is None else _written(arguments, arguments.beta, decay)
    output = decay.weigh(q @ k.mT, arguments.exclusive) @ written
    last = k.mT @ decay.until_end(written)
    if state is not None:
        output = output + decay.since_start(q @ state)
        last = last + decay.across(state)
    return output, last.expand(*arguments.batch, *last.shape[-2:]).contiguous()


def _written(arguments: Arguments, beta: Tensor, decay: Decay) -> Tensor:
    """Return ``β Err`` of the system ``(I + (K Kᵀ ⊙ D) diag(β)) Err = V − e^b K S``, D strictly lower."""
    k, wanted = arguments.k, arguments.v
    strength = beta.expand(*beta.shape[:-1], k.shape[-2])
    if arguments.state is not None:
        wanted = wanted - decay.since_start(k @ arguments.state)
    system = decay.weigh(k @ k.mT, exclusive=True) * strength[..., None, :]
    batch = broadcast_shapes(system.shape[:-2], wanted.shape[:-2])
    system = system.expand(*batch, *system.shape[-2:])
    wanted = wanted.expand(*batch, *wanted.shape[-2:])
    error: Tensor = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    return strength[..., None] * error
