"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ...errors import GeowarpError

__all__ = ["check_text", "evaluating"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Compute without gradients and dropout; afterwards each module is in the mode that it was in.

    Example:
        >>> layer = torch.nn.Dropout(0.9)
        >>> with evaluating(layer):
        ...     layer(torch.ones(3))
        tensor([1., 1., 1.])
        >>> layer.training
        True
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def check_text(name: str, tokens: Tensor, mask: Tensor | None = None) -> None:
    """Raise GeowarpError where there is no token to look at; ``name`` begins the message.

    Example:
        >>> check_text("activation_density", torch.tensor([72, 105]))
    """
    if tokens.numel() == 0:
        raise GeowarpError(
            f"{name}: tokens of shape {tuple(tokens.shape)} are empty; give at least one token"
        )
    if mask is not None and not mask.any():
        raise GeowarpError(f"{name}: all {tokens.numel()} tokens are padding; give at least one that is not")
