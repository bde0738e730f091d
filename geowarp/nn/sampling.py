"""Drawing the next token from logits."""

import torch
from torch import Tensor

from ..errors import GeowarpError

__all__ = ["check_sampling", "sample_tokens"]


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise GeowarpError where a setting of ``sample_tokens`` is out of its range.

    Example:
        >>> check_sampling(1.0, None, 1.5)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: sampling: top_p = 1.5 must be in (0, 1]
    """
    if not 0 <= temperature < float("inf"):
        raise GeowarpError(f"sampling: temperature = {temperature} must be at least 0 and finite")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise GeowarpError(f"sampling: top_k = {top_k} must be an integer of at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise GeowarpError(f"sampling: top_p = {top_p} must be in (0, 1]")


def sample_tokens(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one token per row from ``softmax(logits/temperature)``, or take the likeliest at temperature 0.

    Args:
        logits: ``(..., vocabulary)``.
        temperature: at least 0.
        top_k: keep only the k likeliest tokens.
        top_p: of those, keep the fewest likeliest whose probability together reaches p; in (0, 1].
        generator: source of randomness, on the device of the logits.

    Returns:
        Token indices ``(...)``.

    Raises:
        GeowarpError: for a setting out of its range.

    References:
        Holtzman et al., The curious case of neural text degeneration, ICLR 2020, section 3.1, for ``top_p``.

    Example:
        >>> sample_tokens(torch.tensor([[0.0, 2.0, 1.0]]), temperature=0)
        tensor([1])
    """
    check_sampling(temperature, top_k, top_p)
    if temperature == 0:
        return logits.argmax(-1)
    kept, index = logits.topk(min(top_k or logits.shape[-1], logits.shape[-1]), dim=-1)
    kept = kept.to(torch.promote_types(kept.dtype, torch.float32))
    smallest = torch.finfo(kept.dtype).tiny  # by less, 0/0
    probability = ((kept - kept[..., :1]) / max(temperature, smallest)).softmax(-1)
    if top_p is not None:
        before = probability.cumsum(-1) - probability
        probability = probability.where(before < top_p, 0)
    flat = torch.multinomial(probability.reshape(-1, kept.shape[-1]), 1, generator=generator)
    return index.gather(-1, flat.view(*kept.shape[:-1], 1)).squeeze(-1)
