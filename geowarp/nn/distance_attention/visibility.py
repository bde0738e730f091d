"""Which keys a query may attend to, and what is added to its logits."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Visibility", "causal_order", "over_heads"]


def causal_order(queries: range, keys: range, device: torch.device) -> Tensor:
    """Return, ``(queries, keys)``, whether the number of the query is at least that of the key.

    Example:
        >>> causal_order(range(1, 2), range(3), torch.device("cpu"))
        tensor([[ True,  True, False]])
    """
    query = torch.arange(queries.start, queries.stop, device=device)
    return query[:, None] >= torch.arange(keys.start, keys.stop, device=device)


def over_heads(tensor: Tensor | None, ndim: int) -> Tensor | None:
    """Return a mask or bias that broadcasts with ``(..., heads, N, M)``, of one without heads or with them.

    Args:
        tensor: of at most ``ndim`` dimensions without heads, of more with them; two are N and M alone.
        ndim: how many dimensions ``(..., N, M)`` has.

    Example:
        >>> over_heads(torch.zeros(8, 5, 7), ndim=3).shape, over_heads(torch.zeros(8, 2, 5, 7), ndim=3).shape
        (torch.Size([8, 1, 5, 7]), torch.Size([8, 2, 5, 7]))
    """
    if tensor is None or not 3 <= tensor.ndim <= ndim:
        return tensor
    return tensor.unsqueeze(-3)


class Visibility(NamedTuple):
    """The mask, the causal order and the bias of the logits ``(..., N, M)`` of an attention.

    Example:
        >>> Visibility(None, True, None).apply(torch.zeros(2, 3))
        tensor([[0., -inf, -inf],
                [0., 0., -inf]])
    """

    mask: Tensor | None
    """True where a query may attend to a key; broadcasts with ``(..., N, M)``."""
    is_causal: bool
    """Whether query i may attend to the keys 0 to i only."""
    bias: Tensor | None
    """Added to the logits; broadcasts with ``(..., N, M)``."""

    def apply(self, logits: Tensor) -> Tensor:
        """Return the logits with the bias added, and −∞ where a query may not look."""
        if self.bias is not None:
            logits = logits + self.bias
        allowed = self.allowed(logits.shape[-2], logits.shape[-1], logits.device)
        return logits if allowed is None else torch.where(allowed, logits, -math.inf)

    def allowed(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """Return the mask and the causal order as one mask, or None."""
        if not self.is_causal:
            return self.mask
        order = causal_order(range(queries), range(keys), device)
        return order if self.mask is None else self.mask & order

    def batch(self) -> list[torch.Size]:
        """Return the batch dimensions of the mask and of the bias."""
        return [tensor.shape[:-2] for tensor in (self.mask, self.bias) if tensor is not None]
