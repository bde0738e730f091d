"""Small BDH models of every synapse, and tokens for them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from geowarp.nn import BDH, BDHConfig

CONFIG = BDHConfig(n_layer=3, n_embd=8, dropout=0.0, n_head=2, mlp_internal_dim_multiplier=4, vocab_size=11)
SYNAPSES = ("hebbian", "decay", "delta", "gated_delta")
EVERY = pytest.mark.parametrize("synapse", SYNAPSES)


def randomise(model: BDH) -> BDH:
    """Give diagonals, decays and strengths values other than their first ones."""
    with torch.no_grad():
        for factor in (model.decoder_x, model.decoder_y, model.encoder):
            if factor.diagonal is not None:
                factor.diagonal.uniform_(0.5, 2)
        for name, parameter in model.synapse.named_parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3 if name.startswith("decay") else 1)
    return model


def build(synapse: str = "gated_delta", **changes: object) -> BDH:
    return randomise(BDH(replace(CONFIG, synapse=synapse, **changes)).double())  # type: ignore[arg-type]


def tokens(*size: int) -> Tensor:
    return torch.randint(CONFIG.vocab_size, size)
