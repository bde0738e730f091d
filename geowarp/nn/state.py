"""What a BDH model remembers of the tokens that it has read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import GeowarpError
from .config import BDHConfig

__all__ = ["BDHState"]


@dataclass(frozen=True, eq=False)
class BDHState:
    """The synapses of every layer, and the number of tokens read; its size does not depend on that number.

    Args:
        synapses: for each layer ``(..., h, N, d)``, in float32 or float64.
        position: how many positions have been read.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> _, state = model(torch.tensor([72, 105]))
        >>> state.position, state.synapses[0].shape
        (2, torch.Size([2, 32, 16]))
        >>> again = BDHState.from_state_dict(state.state_dict())
        >>> again.position
        2
    """

    synapses: tuple[Tensor, ...]
    position: int

    def detach(self) -> "BDHState":
        """Return the state cut off from what computed it, for truncated backpropagation through time."""
        return replace(self, synapses=tuple(s.detach() for s in self.synapses))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "BDHState":
        """Return the state on another device, or in another dtype."""
        return replace(self, synapses=tuple(s.to(device=device, dtype=dtype) for s in self.synapses))

    def state_dict(self) -> dict[str, Tensor]:
        """Return contiguous tensors, for ``torch.save`` or safetensors; they may share the state's memory."""
        layers = {f"synapses.{i}": s.detach().contiguous() for i, s in enumerate(self.synapses)}
        return {"position": torch.tensor(self.position), **layers}

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> "BDHState":
        """Return the state that ``state_dict`` described.

        Raises:
            GeowarpError: where an entry is missing or unknown.
        """
        names = [f"synapses.{i}" for i in range(len(state_dict) - 1)]
        wrong = sorted({"position", *names} ^ state_dict.keys())
        if wrong:
            raise GeowarpError(f"BDHState: {wrong[0]!r} is missing or unknown; give what state_dict returned")
        return cls(tuple(state_dict[name] for name in names), int(state_dict["position"]))

    def check(self, config: BDHConfig, batch: torch.Size) -> None:
        """Raise GeowarpError where this is not the state of a model of that config for that batch."""
        if len(self.synapses) != config.n_layer:
            raise GeowarpError(f"BDHState: it has {len(self.synapses)} layers, the model {config.n_layer}")
        expected = (*batch, config.n_head, config.neurons_per_head, config.n_embd)
        for layer, synapses in enumerate(self.synapses):
            if tuple(synapses.shape) != expected:
                raise GeowarpError(
                    f"BDHState: the synapses of layer {layer} have shape {tuple(synapses.shape)}, not "
                    f"{expected} = (batch, n_head, neurons per head, n_embd); give a state of this model "
                    "and batch"
                )
