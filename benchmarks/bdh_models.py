"""The models that the BDH benchmarks compare: the official form, and geowarp's with the same weights."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from bdh_official import OfficialBDH
from torch import Tensor, nn

from geowarp.nn import BDH, BDHConfig
from geowarp.optim import RiemannianAdam, param_groups

SIZE = BDHConfig(
    n_layer=6, n_embd=128, n_head=4, mlp_internal_dim_multiplier=32, factors="euclidean", synapse="hebbian"
)
OFFICIAL_SIZE = replace(SIZE, n_embd=256, mlp_internal_dim_multiplier=128)
QUICK_SIZE = replace(SIZE, n_layer=2, n_embd=32, mlp_internal_dim_multiplier=8)

VARIANTS: dict[str, dict[str, Any]] = {
    "geowarp": {},
    "geowarp stiefel": {"factors": "stiefel"},
    "geowarp gated_delta": {"synapse": "gated_delta"},
    "geowarp stiefel gated_delta": {"factors": "stiefel", "synapse": "gated_delta"},
}
RIVALS = [*VARIANTS, "official"]
FEW = ["geowarp", "geowarp stiefel gated_delta", "official"]
CHECKPOINTED = "geowarp checkpointed"


def build(name: str, config: BDHConfig, device: torch.device) -> nn.Module:
    """Return a rival; ``geowarp`` has the weights of ``official``, and computes the same."""
    torch.manual_seed(0)
    if name in ("official", "geowarp"):
        official = OfficialBDH(config)
        model = official if name == "official" else BDH.from_official(official.state_dict(), config)
        return model.to(device)
    changes = {"checkpoint": True} if name == CHECKPOINTED else VARIANTS[name]
    return BDH(replace(config, **changes)).to(device)


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Return the logits of either model."""
    out: Tensor = model(tokens) if isinstance(model, OfficialBDH) else model(tokens)[0]
    return out


def training_step(
    model: nn.Module,
    tokens: Tensor,
    optimizer: torch.optim.Optimizer | None = None,
    autocast: torch.dtype | None = None,
) -> Callable[[], None]:
    """Return a call that does forward, cross-entropy and backward on ``tokens (B, T + 1)``, and a step."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(tokens.device.type, autocast, enabled=autocast is not None):
            logits = logits_of(model, tokens[:, :-1]).flatten(0, 1)
            loss = F.cross_entropy(logits, tokens[:, 1:].flatten())
        loss.backward()
        if optimizer is not None:
            optimizer.step()

    return run


def optimizer_for(model: nn.Module) -> torch.optim.Optimizer:
    """Return RiemannianAdam where a factor is on a manifold, and otherwise AdamW, with tiny steps."""
    if isinstance(model, BDH) and model.config.factors == "stiefel":
        return RiemannianAdam(param_groups(model), lr=1e-6)
    return torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.1)


def random_tokens(batch: int, length: int, device: torch.device) -> Tensor:
    """Return the same random tokens ``(batch, length)`` at each call."""
    return torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(1)).to(device)
