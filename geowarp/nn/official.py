"""Exchange of parameters with the official BDH model."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import GeowarpError
from .config import BDHConfig

if TYPE_CHECKING:
    from .bdh import BDH

__all__ = ["from_official", "official_state_dict"]

_OFFICIAL: dict[str, Any] = {
    "factors": "euclidean",
    "synapse": "hebbian",
    "residual": "d",
    "rotary_widths": (),
}


def from_official(cls: "type[BDH]", state_dict: Mapping[str, Tensor], config: BDHConfig) -> "BDH":
    """See ``BDH.from_official``."""
    model = cls(replace(config, **_OFFICIAL))
    given = {name: tensor for name, tensor in state_dict.items() if name != "attn.freqs"}
    _check_entries(given, official_state_dict(model))
    model.to(given["encoder"].dtype)
    state = {
        "embed.weight": given["embed.weight"],
        "lm_head": given["lm_head"],
        "decoder_x.weight": given["encoder"].mT.flatten(0, 1),
        "decoder_y.weight": given["encoder_v"].mT.flatten(0, 1),
        "encoder.weight": given["decoder"],
    }
    model.load_state_dict(state)
    return model


def official_state_dict(model: "BDH") -> dict[str, Tensor]:
    """See ``BDH.official_state_dict``."""
    for name in ("synapse", "residual", "rotary_widths"):
        value = getattr(model.config, name)
        if value != _OFFICIAL[name]:
            raise GeowarpError(
                f"BDH.official_state_dict: {name} = {value!r} is not what the official model computes, "
                f"{_OFFICIAL[name]!r}; save state_dict() instead"
            )
    blocks = (model.config.n_head, model.config.neurons_per_head)
    state = {
        "embed.weight": model.embed.weight,
        "lm_head": model.lm_head,
        "encoder": model.decoder_x.effective().unflatten(0, blocks).mT,
        "encoder_v": model.decoder_y.effective().unflatten(0, blocks).mT,
        "decoder": model.encoder.effective(),
    }
    return {name: _plain(tensor) for name, tensor in state.items()}


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().as_subclass(Tensor).clone(memory_format=torch.contiguous_format)


def _check_entries(given: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    for name in sorted(given.keys() ^ wanted.keys()):
        problem = "lacks" if name in wanted else "has the unknown entry"
        raise GeowarpError(f"BDH.from_official: the state {problem} {name!r}")
    for name, tensor in wanted.items():
        shape, expected = tuple(given[name].shape), tuple(tensor.shape)
        if shape != expected:
            raise GeowarpError(
                f"BDH.from_official: {name!r} has shape {shape}, not {expected}; give that model's config"
            )
