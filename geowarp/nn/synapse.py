"""The synapses of BDH: how the state learns from one position to the next."""

import torch
from torch import Tensor, nn

from .attention import delta_attention, linear_attention, unit_keys
from .config import BDHConfig
from .decay import Decay

__all__ = ["Synapse"]


class Synapse(nn.Module):
    """An associative memory of keys and values whose state S is a matrix of synapses; keys are the queries.

    Each position reads the state before it is written, ``read_t = k_t λ_t S_{t−1}``, and then::

        hebbian, decay      S_t = λ_t S_{t−1} + k_t v_tᵀ                    λ = 1 in hebbian
        delta, gated_delta  S_t = λ_t S_{t−1} + β k_t (v_t − read_t)ᵀ       λ = 1 in delta, |k_t| = 1

    The paper's: the Hebbian rule, and decay as the diagonal part of its U. Ours: the error-driven rule, which
    is the delta rule. One update is one step of normalised least mean squares on ``½‖v_t − k_t S‖²``; with
    β = 1 that is an exact Newton step for the loss of the current token alone, and of first order in the
    history. Keys are normalised, since the step only contracts for ``0 <= β‖k‖² <= 2``; β is ``σ(strength)``,
    learned per head, from 1/2.

    Args:
        config: ``synapse``, ``decay`` and the sizes.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), equation 8; Schlag, Irie and
        Schmidhuber, Linear transformers are secretly fast weight programmers, arXiv 2102.11174 (2021),
        equation 24; Yang, Kautz and Hatamizadeh, Gated delta networks, arXiv 2412.06464 (2024), equation 10.

    Example:
        >>> synapse = Synapse(BDHConfig(n_embd=2, n_head=1, mlp_internal_dim_multiplier=2, synapse="delta"))
        >>> keys, v = torch.eye(4)[:3].unsqueeze(0), torch.randn(3, 2)
        >>> _, state = synapse(keys, v)
        >>> (keys @ state).allclose(v / 2, atol=1e-5)  # half of each error is corrected
        True
    """

    decay: Decay | None
    strength: nn.Parameter | None

    def __init__(self, config: BDHConfig) -> None:
        super().__init__()
        decays, corrects = config.synapse in ("decay", "gated_delta"), config.synapse.endswith("delta")
        self.decay = Decay(config.n_head, config.n_embd, config.decay) if decays else None
        self.strength = nn.Parameter(torch.zeros(config.n_head)) if corrects else None

    def gates(self, v: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the log decay and β, each broadcastable to ``(h, ..., T)``, or None where there is none."""
        decay = None if self.decay is None else self.decay(v)
        if self.strength is None:
            return decay, None
        return decay, self.strength.sigmoid().view(-1, *(1 for _ in v.shape[:-1]))

    def keys(self, x: Tensor) -> Tensor:
        """Return the keys of activations x, of unit length where errors drive the synapses."""
        return x if self.strength is None else unit_keys(x)

    def forward(self, keys: Tensor, v: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what each position reads, ``(h, ..., T, d)``, and the state ``(h, ..., N, d)`` after all.

        Args:
            keys: ``(h, ..., T, N)``.
            v: ``(..., T, d)``, the values of all heads.
            state: ``(h, ..., N, d)``; by default zero.
        """
        decay, strength = self.gates(v)
        values, form = v.unsqueeze(0), "recurrent" if v.shape[-2] == 1 else "chunked"
        if strength is None:
            return linear_attention(keys, keys, values, decay, state, form, "exclusive")
        return delta_attention(keys, keys, values, strength, decay, state, form, "exclusive")
