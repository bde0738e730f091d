"""BDH, the Dragon Hatchling: a language model of three low-rank factors and a linear attention."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import GeowarpError
from ..manifolds import Stiefel
from .attention import linear_attention
from .config import BDHConfig
from .low_rank import LowRankFactor
from .rotary import rotary_table, rotate_pairs
from .sampling import sample_tokens

__all__ = ["BDH"]


class BDH(nn.Module):
    """The BDH-GPU language model, with the paper's free factors or with factors on Stiefel manifolds.

    With d features, n neurons in h heads, ``LN`` the LayerNorm without parameters, and factors ``D_x``,
    ``D_y`` and ``Eᵀ`` of shape ``(n, d)`` that all layers share::

        v    = LN(embedding)                      (..., T, d)
        each layer:
          x  = ReLU(D_x v)                        (..., h, T, n/h)   queries and keys alike
          a  = Σ_{τ<t} v_τ ⟨R_τ x_τ, R_t x_t⟩      (..., h, T, d)     strictly causal, no softmax
          y  = Dropout(x ⊙ ReLU(D_y LN(a)))       (..., h, T, n/h)
          v  = LN(v + LN(E y))
        logits = v W_head

    ``R_t`` turns pairs of neurons by angles proportional to t. Weights start as N(0, 0.02²).

    The paper's: all of the above. Ours, with ``factors="stiefel"``: each factor is one point of ``St(n, d)``,
    all heads together; gains ``τ = √(n/d)`` of ``D_x`` and ``D_y``, which give pre-activations of unit
    variance, and 1 of E; and a learned diagonal per factor. ReLU is positively homogeneous and LN ignores
    scale, so the constraint costs no freedom of scale; but without gains the inputs of LN would have a
    variance near its ε = 1e-5, and it would damp them.

    Scores are not divided by √(n/h). LN ignores that up to ε, so it would only guard half precision against
    overflow, and it would break the equality with the official model; for Stiefel factors too, because
    ``official_state_dict`` exports those as a free model that computes the same.

    Args:
        config: the sizes.

    References:
        Kosowski et al., The Dragon Hatchling: The missing link between the transformer and models of the
        brain, arXiv 2509.26507 (2025), equation 8, and appendix E for the residual stream of d features.

    Example:
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> model(torch.tensor([[72, 105, 33]])).shape
        torch.Size([1, 3, 256])
    """

    def __init__(self, config: BDHConfig) -> None:
        super().__init__()
        self.config = config
        n, d = config.n_neurons, config.n_embd
        self.embed = nn.Embedding(config.vocab_size, d)
        self.lm_head = nn.Parameter(torch.empty(d, config.vocab_size))
        for parameter in (self.embed.weight, self.lm_head):
            nn.init.normal_(parameter, std=0.02)
        stiefel = config.factors == "stiefel"
        manifold = Stiefel() if stiefel else None
        gain = (n / d) ** 0.5 if stiefel else 1.0
        diagonal = stiefel and config.diagonal
        self.decoder_x = LowRankFactor(n, d, manifold=manifold, gain=gain, diagonal=diagonal)
        self.decoder_y = LowRankFactor(n, d, manifold=manifold, gain=gain, diagonal=diagonal)
        self.encoder = LowRankFactor(n, d, manifold=manifold, diagonal=diagonal)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(..., T, vocabulary)`` of each next token, for token indices ``(..., T)``."""
        v = _layer_norm(self.embed(tokens))
        rotation = rotary_table(
            tokens.shape[-1], self.config.neurons_per_head, dtype=v.dtype, device=v.device
        )
        for _ in range(self.config.n_layer):
            v = self._layer(v, rotation)
        return v @ self.lm_head

    def _layer(self, v: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        heads = (self.config.n_head, self.config.neurons_per_head)
        x = F.relu(self.decoder_x.expand(v)).unflatten(-1, heads).transpose(-3, -2)
        keys = rotate_pairs(x, *rotation)
        read = _layer_norm(
            linear_attention(keys, keys, v.unsqueeze(-3), form="quadratic", read="exclusive")[0]
        )
        y = x * F.relu(self.decoder_y.expand_heads(read))
        y = F.dropout(y, self.config.dropout, self.training)
        return _layer_norm(v + _layer_norm(self.encoder.compress(y.transpose(-3, -2).flatten(-2))))

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the prompts ``(..., T)`` continued by ``max_new_tokens`` sampled tokens, without dropout.

        The whole prefix is computed again for every token.

        Args:
            prompt: token indices, at least one per row.
            max_new_tokens: number of tokens to draw.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: draw from the k likeliest tokens only.
            generator: source of randomness, on the device of the model.

        Raises:
            GeowarpError: for an empty prompt, a negative count, temperature or a ``top_k`` below 1.

        Example:
            >>> model = BDH(BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
            >>> model.generate(torch.tensor([[72, 105], [72, 111]]), 3, top_k=5).shape
            torch.Size([2, 5])
        """
        if prompt.shape[-1] == 0:
            raise GeowarpError("BDH.generate: the prompt is empty; give at least one token")
        if max_new_tokens < 0:
            raise GeowarpError(f"BDH.generate: max_new_tokens = {max_new_tokens} is negative")
        training = self.training
        self.eval()
        try:
            for _ in range(max_new_tokens):
                logits = self(prompt)[..., -1, :]
                token = sample_tokens(logits, temperature=temperature, top_k=top_k, generator=generator)
                prompt = torch.cat((prompt, token.unsqueeze(-1)), dim=-1)
        finally:
            self.train(training)
        return prompt

    @classmethod
    def from_official(cls, state_dict: Mapping[str, Tensor], config: BDHConfig) -> "BDH":
        """Return a model with free factors that computes what the official one with this state does.

        Args:
            state_dict: with ``encoder`` and ``encoder_v`` ``(h, d, n/h)``, ``decoder`` ``(n, d)``,
                ``lm_head`` ``(d, vocabulary)`` and ``embed.weight``; the buffer ``attn.freqs`` is not needed.
            config: the sizes; ``factors`` is taken as ``"euclidean"``.

        Raises:
            GeowarpError: where an entry is missing, unknown or of another shape.

        Example:
            >>> config = BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)
            >>> BDH.from_official(BDH(config).official_state_dict(), config).config.factors
            'euclidean'
        """
        model = cls(replace(config, factors="euclidean"))
        given = {name: tensor for name, tensor in state_dict.items() if name != "attn.freqs"}
        _check_official(given, model.official_state_dict())
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

    def official_state_dict(self) -> dict[str, Tensor]:
        """Return the parameters in the official model's names and layout.

        Stiefel factors are exported as ``τ X diag(s)``: the official model then computes the same. Load it
        there with ``strict=False``, because its buffer ``attn.freqs`` is not among them.

        Example:
            >>> config = BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)
            >>> BDH(config).official_state_dict()["encoder"].shape
            torch.Size([2, 16, 32])
        """
        blocks = (self.config.n_head, self.config.neurons_per_head)
        state = {
            "embed.weight": self.embed.weight,
            "lm_head": self.lm_head,
            "encoder": self.decoder_x.effective().unflatten(0, blocks).mT,
            "encoder_v": self.decoder_y.effective().unflatten(0, blocks).mT,
            "decoder": self.encoder.effective(),
        }
        return {name: _plain(tensor) for name, tensor in state.items()}


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().as_subclass(Tensor).clone(memory_format=torch.contiguous_format)


def _check_official(given: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    for name in sorted(given.keys() ^ wanted.keys()):
        problem = "lacks" if name in wanted else "has the unknown entry"
        raise GeowarpError(f"BDH.from_official: the state {problem} {name!r}")
    for name, tensor in wanted.items():
        shape, expected = tuple(given[name].shape), tuple(tensor.shape)
        if shape != expected:
            raise GeowarpError(
                f"BDH.from_official: {name!r} has shape {shape}, not {expected}; give that model's config"
            )
