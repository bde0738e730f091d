"""How many of a BDH model's neurons are active."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..bdh import BDH
from .evaluation import check_text, evaluating

__all__ = ["ActivationDensity", "activation_density"]


class ActivationDensity(NamedTuple):
    """The shares of activations that are not zero, for each layer.

    Args:
        x: of the neurons' activations ``x``, ``(L,)``, in float64.
        y: of the gated activations ``y``, ``(L,)``; never more, since y is x times a gate.

    Example:
        >>> ActivationDensity(torch.tensor([0.5]), torch.tensor([0.25])).x
        tensor([0.5000])
    """

    x: Tensor
    y: Tensor


def activation_density(model: BDH, tokens: Tensor, mask: Tensor | None = None) -> ActivationDensity:
    """Return, for each layer, the share of neurons and positions where x, and where y, is not zero.

    A model that has learned nothing has about half of x and a quarter of y; training makes both sparse, and
    decoding and the state profit from it. Dropout is off.

    Args:
        model: any BDH model.
        tokens: texts ``(..., T)``; the shares are over all of them.
        mask: ``(..., T)``, False where a token is padding on the left; padding does not count.

    Raises:
        GeowarpError: where there is no token, or as ``BDH.activations``.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), section 6.4.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=16))
        >>> density = activation_density(model, torch.arange(50))
        >>> density.x.shape, bool((density.y <= density.x).all())
        (torch.Size([2]), True)
    """
    check_text("activation_density", tokens, mask)
    positions = tokens.numel() if mask is None else int(mask.sum())
    with evaluating(model):
        counts = [(a.x.count_nonzero(), a.y.count_nonzero()) for a in model.activations(tokens, mask=mask)]
    shares = torch.tensor(counts, dtype=torch.float64) / (positions * model.config.n_neurons)
    return ActivationDensity(*shares.unbind(1))
