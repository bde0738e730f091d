"""All positions at once, by the T x T table of their scores."""

import torch
from torch import Tensor

from ...manifolds.linalg.precision import working_precision
from .arguments import Arguments

__all__ = ["decay_table", "quadratic_attention"]


def quadratic_attention(arguments: Arguments) -> tuple[Tensor, Tensor]:
    """Return the outputs ``(..., T, V)`` and the last state ``(..., K, V)`` by tables of T x T."""
    q, k, v, beta = arguments.q, arguments.k, arguments.v, arguments.beta
    state = arguments.initial_state()
    total = _cumulative(arguments)
    since = total.exp()[..., None].to(v.dtype)
    written = v
    if beta is not None:
        strength = beta[..., None].expand(*beta.shape[:-1], k.shape[-2], 1)
        table = (k @ k.mT) * decay_table(total, exclusive=True).to(v.dtype) * strength.mT
        known = v - since * (k @ state)
        error = torch.linalg.solve_triangular(table, known, upper=False, unitriangular=True)
        written = strength * error
    scores = (q @ k.mT) * decay_table(total, exclusive=arguments.exclusive).to(v.dtype)
    output = scores @ written + since * (q @ state)
    left = (total[..., -1:] - total).exp()[..., None].to(v.dtype)
    last = total[..., -1:].exp()[..., None].to(v.dtype) if k.shape[-2] else 1
    return output, last * state + (left * k).mT @ written


def decay_table(total: Tensor, exclusive: bool) -> Tensor:
    """Return ``exp(b_i − b_j)`` for j ≤ i, or j < i if exclusive, and 0 elsewhere, of sums b ``(..., T)``."""
    length = total.shape[-1]
    kept = total.new_ones((length, length), dtype=torch.bool).tril(-1 if exclusive else 0)
    return (total[..., :, None] - total[..., None, :]).masked_fill(~kept, -torch.inf).exp()


def _cumulative(arguments: Arguments) -> Tensor:
    """Return the sums of the log decays up to each position, ``(..., T)``, in float64."""
    length = arguments.k.shape[-2]
    gate = arguments.log_decay
    if gate is None:
        return working_precision(arguments.k.new_zeros(length))
    return working_precision(gate).expand(*gate.shape[:-1], length).cumsum(-1)
