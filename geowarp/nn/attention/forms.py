"""The three forms of an attention, which give the same numbers."""

import torch
from torch import Tensor

from .arguments import Arguments, prepare
from .chunked import chunked_attention
from .quadratic import quadratic_attention
from .recurrent import recurrent_attention

__all__ = ["attend"]


def attend(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor | float | None,
    log_decay: Tensor | float | None,
    state: Tensor | None,
    form: str,
    read: str,
    chunk: int | None,
) -> tuple[Tensor, Tensor]:
    """Return the output and the last state; a ``beta`` of None is the Hebbian rule."""
    arguments = prepare(name, q, k, v, beta, log_decay, state, form, read, chunk)
    device = v.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return _compute(arguments, form, chunk)
    with torch.autocast(device, enabled=False):
        return _compute(arguments, form, chunk)


def _compute(arguments: Arguments, form: str, chunk: int | None) -> tuple[Tensor, Tensor]:
    if form == "recurrent":
        return recurrent_attention(arguments)
    return quadratic_attention(arguments) if form == "quadratic" else chunked_attention(arguments, chunk)
