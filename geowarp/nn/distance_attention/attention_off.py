"""The same module without attention, to see what attention is worth."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from .scores import Score, Uniform

__all__ = ["attention_off"]

Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def attention_off(module: Module) -> Iterator[Module]:
    """Let every attention module within attend uniformly, to all keys that a mask lets it, and no other.

    The score of each module that has one is ``Uniform()`` meanwhile, and its own again afterwards, also after
    an exception. Weights, masks and biases of the logits are what they were. What a trained network loses by
    it is what attention is worth to it; one trained under it is the fair baseline.

    Args:
        module: an attention module, or one that contains some.

    Yields:
        The module.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import ManifoldAttention, attention_entropy
        >>> attention, x = ManifoldAttention(Sphere(), 8, heads=2), torch.randn(3, 8)
        >>> with attention_off(attention):
        ...     attention_entropy(attention.attention_weights(x)).detach()
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
        >>> attention.score
        SquaredDistance()
    """
    scored = [part for part in module.modules() if isinstance(getattr(part, "score", None), Score)]
    scores = [part.score for part in scored]
    try:
        for part in scored:
            object.__setattr__(part, "score", Uniform())  # also in front of a score that is a module
        yield module
    finally:
        for part, score in zip(scored, scores, strict=True):
            if isinstance(score, nn.Module):
                del part.__dict__["score"]
            else:
                object.__setattr__(part, "score", score)
