"""How far attention is from uniform."""

import torch
from torch import Tensor

from ...errors import GeowarpError
from ...manifolds.linalg import full_precision

__all__ = ["attention_entropy"]


def attention_entropy(weights: Tensor, normalized: bool = True, *, mask: Tensor | None = None) -> Tensor:
    """Return the entropy ``−Σ_j w_j log w_j`` of rows of attention weights ``(..., N, M)``, ``(..., N)``.

    Normalised, it is divided by the logarithm of the number of keys that the row may attend to: 1 for uniform
    weights, 0 where all weight is on one key. A module of which every row is near 1 mixes tokens without
    looking at them, whatever its accuracy: compare it with itself under ``attention_off``.

    A row that may attend to one key has no choice; it counts as uniform, with a normalised entropy of 1. So
    does a row that may attend to none, which is all 0.

    Args:
        weights: rows that sum to 1, or are all 0.
        normalized: whether to divide.
        mask: which keys a row may attend to, True where it may, broadcastable to the weights; all by default.
            For causal attention ``torch.ones(N, M, dtype=torch.bool).tril()``.

    Raises:
        GeowarpError: for a mask that is not boolean, or does not broadcast.

    Example:
        >>> weights = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
        >>> attention_entropy(weights)
        tensor([0.5000, 0.0000, 1.0000])
        >>> attention_entropy(weights, mask=torch.tensor([True, True, False, False]))[:2]
        tensor([1., 0.])
    """
    if mask is not None and mask.dtype != torch.bool:
        raise GeowarpError(
            f"attention_entropy: the mask is {mask.dtype}; it is boolean, True where a key counts"
        )
    entropy: Tensor = _entropy(weights)
    if not normalized:
        return entropy
    count = _allowed(weights, mask).sum(-1)
    choice = (count > 1) & (weights != 0).any(-1)
    return torch.where(choice, entropy / count.clamp_min(2).to(entropy.dtype).log(), 1)


def _allowed(weights: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones_like(weights, dtype=torch.bool)
    try:
        return mask.expand(weights.shape)
    except RuntimeError as error:
        raise GeowarpError(
            f"attention_entropy: the mask has the shape {tuple(mask.shape)}; weights {tuple(weights.shape)} "
            "need one that broadcasts with them, such as (B, 1, 1, M) for padded keys of all heads"
        ) from error


@full_precision
def _entropy(weights: Tensor) -> Tensor:
    taken = weights != 0  # what is no number stays so
    return 0 - torch.where(taken, weights * torch.where(taken, weights, 1).log(), 0).sum(-1)
