"""Drawing the next token from logits."""

import torch
from torch import Tensor

from ..errors import GeowarpError

__all__ = ["sample_tokens"]


def sample_tokens(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one token per row from ``softmax(logits/temperature)``, or take the likeliest at temperature 0.

    Args:
        logits: ``(..., vocabulary)``.
        temperature: at least 0.
        top_k: keep only the k likeliest tokens.
        generator: source of randomness, on the device of the logits.

    Returns:
        Token indices ``(...)``.

    Raises:
        GeowarpError: for a negative temperature or ``top_k`` below 1.

    Example:
        >>> sample_tokens(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0)
        tensor([1])
    """
    if not temperature >= 0:
        raise GeowarpError(f"sample_tokens: temperature = {temperature} must be at least 0")
    if top_k is not None and top_k < 1:
        raise GeowarpError(f"sample_tokens: top_k = {top_k} must be at least 1")
    if temperature == 0:
        return logits.argmax(-1)
    kept, index = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    probability = (kept / temperature).softmax(-1)
    flat = torch.multinomial(probability.reshape(-1, kept.shape[-1]), 1, generator=generator)
    return index.gather(-1, flat.view(*kept.shape[:-1], 1)).squeeze(-1)
