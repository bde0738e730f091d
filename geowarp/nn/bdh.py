"""BDH, the Dragon Hatchling: a language model of three low-rank factors and a linear attention."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import Unpack

from ..manifolds import Stiefel
from .config import BDHConfig
from .generation import Generation, GenerationSettings
from .low_rank import LowRankFactor
from .official import from_official, official_state_dict
from .rotary import rotary_table, rotate_pairs
from .state import BDHState
from .synapse import Synapse
from .tokens import check_mask, check_tokens

__all__ = ["BDH", "LayerActivations"]

Rotation = tuple[Tensor, Tensor]


class LayerActivations(NamedTuple):
    """What one layer of a ``BDH`` model computes.

    Args:
        x: activations of the neurons, ``(..., h, T, N)``.
        y: gated activations, ``(..., h, T, N)``.
        v: the layer's output, ``(..., T, d)``.
        synapses: the layer's state after the last position, ``(..., h, N, d)``.

    Example:
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)).eval()
        >>> first, second = model.activations(torch.tensor([72, 105, 33]))
        >>> bool((second.y[second.x == 0] == 0).all())  # x gates y
        True
    """

    x: Tensor
    y: Tensor
    v: Tensor
    synapses: Tensor


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

    ``R_t`` turns pairs of neurons by angles proportional to t. Weights start as N(0, 0.02²). With
    ``residual="n"``, as in the paper's equation 8, x of the layer before is added to x, and ``v = LN(E y)``.

    The sum over the past is a state, the matrix ``S = Σ_τ (R_τ x_τ) v_τᵀ`` of synapses per head and layer.
    ``forward`` takes and returns it: a text may be read in parts, trained on in parts, and continued token by
    token, at a cost per token that does not grow. Time is linear in T. Of a long input, training keeps the
    inputs of the layers and one S per segment, not the activations of neurons.

    The paper's: all of the above. Ours: with ``factors="stiefel"``, each factor is one point of ``St(n, d)``,
    all heads together; gains ``τ = √(n/d)`` of ``D_x`` and ``D_y``, which give pre-activations of unit
    variance, and 1 of E; and a learned diagonal per factor. ReLU is positively homogeneous and LN ignores
    scale, so the constraint costs no freedom of scale; but without gains the inputs of LN would have a
    variance near its ε = 1e-5, and it would damp them. Ours, too, are the rules by which errors drive the
    synapses, ``synapse="delta"`` and ``"gated_delta"``: see ``Synapse``.

    Scores are not divided by √(n/h). LN ignores that up to ε, and it would break the equality with the
    official model. Half precision does not overflow, since reads are computed and kept in float32.

    Args:
        config: the sizes.

    References:
        Kosowski et al., The Dragon Hatchling: The missing link between the transformer and models of the
        brain, arXiv 2509.26507 (2025), equation 8, and appendix E for the residual stream of d features.

    Example:
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)).eval()
        >>> tokens = torch.tensor([[72, 105, 33]])
        >>> logits, state = model(tokens)
        >>> logits.shape
        torch.Size([1, 3, 256])
        >>> first, state = model(tokens[:, :2])
        >>> last, state = model(tokens[:, 2:], state)
        >>> last.allclose(logits[:, 2:], atol=1e-5)
        True
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
        self.synapse = Synapse(config)

    def forward(
        self, tokens: Tensor, state: BDHState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, BDHState]:
        """Return the logits ``(..., T, vocabulary)`` of each next token, and the state after the last.

        Args:
            tokens: token indices ``(..., T)``, of any integer dtype, such as the bytes of a text as uint8.
            state: what was read before, for the same batch; by default nothing.
            mask: ``(..., T)``, False where a token is padding on the left; for texts from their beginning.
                Logits there mean nothing.

        Raises:
            GeowarpError: for a token outside the vocabulary (on CUDA torch's own assertion), a state of
                another model or batch, a mask whose padding is not on the left, or one beside a state.
        """
        check_tokens(tokens, self.config.vocab_size)
        if mask is not None:
            check_mask(mask, tokens, state)
        if state is not None:
            state.check(self.config, tokens.shape[:-1])
        length = self.config.segment_length
        parts = tokens.split(length, dim=-1)
        masks = (None,) * len(parts) if mask is None else mask.split(length, dim=-1)
        saves = len(parts) > 1 if self.config.checkpoint is None else self.config.checkpoint
        saves = saves and torch.is_grad_enabled()
        logits = []
        for part, keep in zip(parts, masks, strict=True):
            v, state = self._segment(part, state, keep, saves)
            logits.append(v @ self.lm_head)
        assert state is not None  # there is at least one part, if an empty one
        return logits[0] if len(logits) == 1 else torch.cat(logits, -2), state

    def step(self, tokens: Tensor, state: BDHState | None = None) -> tuple[Tensor, BDHState]:
        """Return the logits ``(..., vocabulary)`` after one more token of each text ``(...)``, and the state.

        Example:
            >>> model = BDH(BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)).eval()
            >>> logits, state = model.step(torch.tensor(72))
            >>> logits, state = model.step(torch.tensor(105), state)
            >>> logits.allclose(model(torch.tensor([72, 105]))[0][-1], atol=1e-6)
            True
        """
        logits, state = self(tokens.unsqueeze(-1), state)
        return logits.squeeze(-2), state

    def initial_state(self, *batch: int) -> BDHState:
        """Return the state of texts that have not begun: zero synapses.

        Example:
            >>> model = BDH(BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
            >>> model.initial_state(5).synapses[0].shape
            torch.Size([5, 2, 32, 16])
        """
        config, like = self.config, self.lm_head
        shape = (*batch, config.n_head, config.neurons_per_head, config.n_embd)
        dtype = torch.promote_types(like.dtype, torch.float32)
        zeros = [torch.zeros(shape, dtype=dtype, device=like.device) for _ in range(config.n_layer)]
        return BDHState(tuple(zeros), 0)

    def activations(
        self, tokens: Tensor, state: BDHState | None = None, mask: Tensor | None = None
    ) -> Iterator[LayerActivations]:
        """Yield what each layer computes for ``tokens (..., T)``, all positions at once.

        Example:
            >>> model = BDH(BDHConfig(n_layer=3, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
            >>> [layer.x.shape for layer in model.activations(torch.tensor([72, 105]))][0]
            torch.Size([2, 2, 32])
        """
        check_tokens(tokens, self.config.vocab_size)
        if mask is not None:
            check_mask(mask, tokens, state)
        if state is not None:
            state.check(self.config, tokens.shape[:-1])
        v, x, rotation = self._start(tokens, 0 if state is None else state.position)
        for i in range(self.config.n_layer):
            before = None if state is None else state.synapses[i].movedim(-3, 0)
            v, x, y, after = self._layer(v, x, before, rotation, mask)
            yield LayerActivations(x.movedim(0, -3), y.movedim(0, -3), v, after.movedim(0, -3))

    @overload
    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        *,
        return_state: Literal[False] = False,
        **settings: Unpack[GenerationSettings],
    ) -> Tensor: ...

    @overload
    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        *,
        return_state: Literal[True],
        **settings: Unpack[GenerationSettings],
    ) -> tuple[Tensor, BDHState]: ...

    def generate(
        self,
        prompt: Tensor,
        max_new_tokens: int,
        *,
        return_state: bool = False,
        **settings: Unpack[GenerationSettings],
    ) -> Tensor | tuple[Tensor, BDHState]:
        """Return the prompts ``(..., T)`` continued by up to ``max_new_tokens`` tokens, without dropout.

        Tokens of the result are int64. The prompt is read once; after that the cost of a token does not
        depend on how many came before.

        Args:
            prompt: token indices, at least one per row.
            max_new_tokens: number of tokens to draw.
            return_state: return the state, too, after all tokens of the result.
            settings: ``temperature``, ``top_k``, ``top_p``, ``stop_token``, ``mask``, ``state``, ``sparse``,
                ``generator``: see ``GenerationSettings``.

        Raises:
            GeowarpError: for an empty prompt, a row that is all padding, a token outside the vocabulary, a
                negative count, a setting out of its range, or what ``forward`` refuses.

        Example:
            >>> model = BDH(BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
            >>> tokens, state = model.generate(torch.tensor([72, 105]), 3, top_p=0.9, return_state=True)
            >>> len(tokens), state.position
            (5, 5)
            >>> len(model.generate(torch.tensor([33]), 2, state=state))
            3
        """
        run = Generation(self, prompt, max_new_tokens, **settings)
        tokens = torch.cat((prompt.long(), *(token.unsqueeze(-1) for token in run)), dim=-1)
        return (tokens, run.state()) if return_state else tokens

    def stream(
        self, prompt: Tensor, max_new_tokens: int, **settings: Unpack[GenerationSettings]
    ) -> Iterator[Tensor]:
        """Yield the tokens ``(...)`` that ``generate`` would append, each as soon as it is drawn.

        Raises:
            GeowarpError: as ``generate``, at the call and not at the first token.

        Example:
            >>> model = BDH(BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
            >>> len([int(token) for token in model.stream(torch.tensor([72, 105]), 4)])
            4
        """
        return iter(Generation(self, prompt, max_new_tokens, **settings))

    # Inside, heads are the first dimension: one product of matrices per head then serves the whole batch.

    def _start(self, tokens: Tensor, position: int) -> tuple[Tensor, Tensor | None, Rotation]:
        v = _layer_norm(self.embed(tokens.long()))
        widths = self.config.rotary_widths or (self.config.neurons_per_head,)
        dtype = torch.promote_types(v.dtype, torch.float32)
        return v, None, rotary_table(tokens.shape[-1], widths, start=position, dtype=dtype, device=v.device)

    def _segment(
        self, tokens: Tensor, state: BDHState | None, mask: Tensor | None, saves: bool
    ) -> tuple[Tensor, BDHState]:
        position = 0 if state is None else state.position
        v, x, rotation = self._start(tokens, position)
        synapses = []
        for i in range(self.config.n_layer):
            before = None if state is None else state.synapses[i].movedim(-3, 0)
            v, x, after = self._saving_layer(v, x, before, rotation, mask, saves)
            synapses.append(after.movedim(0, -3))
        return v, BDHState(tuple(synapses), position + tokens.shape[-1])

    def _saving_layer(
        self, v: Tensor, x: Tensor | None, before: Tensor | None, rotation: Rotation, mask: Any, saves: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        def layer(v: Tensor, x: Tensor | None, before: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
            v, x, _, after = self._layer(v, x, before, rotation, mask)
            return v, x if self.config.residual == "n" else None, after

        if not saves:
            return layer(v, x, before)
        draws = self.training and self.config.dropout > 0
        result: tuple[Tensor, Tensor | None, Tensor] = checkpoint(
            layer, v, x, before, use_reentrant=False, preserve_rng_state=draws
        )
        return result

    def _layer(
        self, v: Tensor, x: Tensor | None, before: Tensor | None, rotation: Rotation, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return v, x, y and the synapses after one layer."""
        config = self.config
        new = F.relu(self.decoder_x.expand_heads(v.expand(config.n_head, *v.shape)))
        x = new if x is None or config.residual == "d" else x + new
        if mask is not None:
            x = x * mask.unsqueeze(-1)
        keys = rotate_pairs(self.synapse.keys(x), *rotation)
        read, after = self.synapse(keys, v, before)
        y = x * F.relu(self.decoder_y.expand_heads(_layer_norm(read).to(v.dtype)))
        y = F.dropout(y, config.dropout, self.training)
        out = _layer_norm(self.encoder.compress_heads(y))
        return _layer_norm(v + out) if config.residual == "d" else out, x, y, after

    @classmethod
    def from_official(cls, state_dict: Mapping[str, Tensor], config: BDHConfig) -> "BDH":
        """Return a model with free factors that computes what the official one with this state does.

        Args:
            state_dict: with ``encoder`` and ``encoder_v`` ``(h, d, n/h)``, ``decoder`` ``(n, d)``,
                ``lm_head`` ``(d, vocabulary)`` and ``embed.weight``; the buffer ``attn.freqs`` is not needed.
            config: the sizes; its ``factors``, ``synapse`` and ``residual`` are taken as the official ones.

        Raises:
            GeowarpError: where an entry is missing, unknown or of another shape.

        Example:
            >>> config = BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)
            >>> BDH.from_official(BDH(config).official_state_dict(), config).config.factors
            'euclidean'
        """
        return from_official(cls, state_dict, config)

    def official_state_dict(self) -> dict[str, Tensor]:
        """Return the parameters in the official model's names and layout.

        Stiefel factors are exported as ``τ X diag(s)``: the official model then computes the same. Load it
        there with ``strict=False``, because its buffer ``attn.freqs`` is not among them.

        Raises:
            GeowarpError: where the official model cannot compute the same: synapses that are not Hebbian, a
                residual stream of n neurons, rotary frequencies of a merged model.

        Example:
            >>> config = BDHConfig(n_layer=1, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)
            >>> BDH(config).official_state_dict()["encoder"].shape
            torch.Size([2, 16, 32])
        """
        return official_state_dict(self)


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
