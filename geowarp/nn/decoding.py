"""Decoding: one token per text after the other, from synapses that are updated in place."""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import GeowarpError
from .low_rank import LowRankFactor
from .rotary import cycles_per_position
from .state import BDHState
from .synapse_memory import Gates, Layout, SynapseMemory, sums_of_rows
from .tokens import check_tokens

if TYPE_CHECKING:
    from .bdh import BDH

__all__ = ["Decoder"]

# Touching only active rows is faster up to these shares of all pairs, of the neurons of one text and of those
# of several (a product with all rows then serves all texts), less what it costs apart from rows, counted in
# entries of rows; measured on a CPU. Up to _FEW rows, a product with all is fast.
_PAIRS, _NEURONS, _NEURONS_OF_SEVERAL = 0.28, 0.25, 0.12
_OVERHEAD = 2**17
_FEW = 8


class _Factor(NamedTuple):
    """A factor ``W = X diag(s)`` at one token, s with the gain; a row of X is a neuron's."""

    rows: Tensor
    scale: Tensor | float

    @classmethod
    def of(cls, factor: LowRankFactor) -> "_Factor":
        rows = factor.weight.detach().as_subclass(Tensor)  # without the manifold, whose operations are slower
        return cls(rows, factor.gain if factor.diagonal is None else factor.gain * factor.diagonal)


class _Token(NamedTuple):
    """What all layers share at one token: the factors, and ``e^{iφ}`` of each pair of neurons."""

    decoder_x: _Factor
    decoder_y: _Factor
    encoder: _Factor
    turn: Tensor


class Decoder:
    """BDH token by token, in constant memory and in a time per token that does not depend on the position.

    It computes what ``BDH.step`` computes, without dropout and without gradients, but updates synapses of its
    own in place. A sparse decoder touches only those rows of S that belong to active neurons (and to their
    partners in the rotation), and of ``D_y`` and E only the rows of neurons with ``x > 0`` and ``y > 0``;
    the others contribute exact zeros. Decay of the rows that are left alone waits until they are touched.

    Arithmetic is in the dtype of the parameters, that of synapses in at least float32; autocast is off
    inside, since decoding is bound by memory. Each token sees the model's parameters as they are then; only
    a model that was moved to another device or dtype needs a new decoder.

    Args:
        model: a BDH model.
        state: what the texts ``(...)`` began with; it is copied.
        sparse: whether to touch active rows only; by default each layer and token does what is cheaper
            for its number of active neurons, and other devices than CPUs touch all, since they would have
            to wait for that number.

    Raises:
        GeowarpError: for a state of another model.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4)).eval()
        >>> text = torch.tensor([72, 105, 33])
        >>> decoder = Decoder(model, model.initial_state())
        >>> logits = torch.stack([decoder.step(token) for token in text])
        >>> logits.allclose(model(text)[0], atol=1e-5)
        True
        >>> decoder.state().position
        3
    """

    def __init__(self, model: "BDH", state: BDHState, sparse: bool | None = None) -> None:
        config, like = model.config, model.lm_head
        self._batch = state.synapses[0].shape[:-3] if state.synapses else torch.Size()
        state.check(config, self._batch)
        self._model, self._config, self._sparse = model, config, sparse
        self._position, self._texts = state.position, math.prod(self._batch)
        self._dtype = torch.promote_types(like.dtype, torch.float32)
        layout = Layout.of(self._texts * config.n_head, config.neurons_per_head, like.device)
        decays = model.synapse.decay is not None
        self._memories = [SynapseMemory(s, layout, self._dtype, decays) for s in state.synapses]
        self._starts = torch.arange(self._texts, device=like.device) * config.n_neurons
        widths = config.rotary_widths or (config.neurons_per_head,)
        self._cycles = torch.cat([cycles_per_position(w, device=like.device) for w in widths])

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """Return the logits ``(..., vocabulary)`` after one more token of each text ``(...)``.

        Raises:
            GeowarpError: for a token outside the vocabulary, or another shape than the state's.
        """
        check_tokens(tokens.unsqueeze(-1), self._config.vocab_size)
        if tokens.shape != self._batch:
            shapes = f"{tuple(tokens.shape)}, the state is of texts {tuple(self._batch)}"
            raise GeowarpError(f"Decoder: tokens have shape {shapes}; give one token per text")
        with torch.autocast(tokens.device.type, enabled=False):
            token, x = self._token(), None
            v = _layer_norm(self._model.embed(tokens.reshape(-1).long()))
            for memory in self._memories:
                v, x = self._layer(v, x, memory, token)
            self._position += 1
            logits = v @ self._model.lm_head
        return logits.view(*self._batch, self._config.vocab_size)

    @torch.no_grad()
    def state(self) -> BDHState:
        """Return a copy of the state, which later steps do not change."""
        config = self._config
        shape = (*self._batch, config.n_head, config.neurons_per_head, config.n_embd)
        synapses = tuple(memory.settled().clone().view(shape) for memory in self._memories)
        return BDHState(synapses, self._position)

    def _token(self) -> _Token:
        model = self._model
        phases = (self._position * self._cycles).frac() * (2 * math.pi)
        turn = torch.complex(phases.cos().to(self._dtype), phases.sin().to(self._dtype))
        x, y, encoder = map(_Factor.of, (model.decoder_x, model.decoder_y, model.encoder))
        return _Token(x, y, encoder, turn)

    def _layer(
        self, v: Tensor, x: Tensor | None, memory: SynapseMemory, token: _Token
    ) -> tuple[Tensor, Tensor]:
        """Return the features ``(texts, d)`` and the activations ``(texts, n)`` of the next layer."""
        new = F.relu(F.linear(v * token.decoder_x.scale, token.decoder_x.rows))
        x = new if x is None or self._config.residual == "d" else x + new
        read = _layer_norm(self._update(v, x, memory, token)).to(v.dtype)
        neurons = self._active(x, _NEURONS if self._texts == 1 else _NEURONS_OF_SEVERAL)
        out = self._gate(x, read, token) if neurons is None else self._gate_active(neurons, x, read, token)
        out = _layer_norm(out * token.encoder.scale)
        return (_layer_norm(v + out) if self._config.residual == "d" else out), x

    def _update(self, v: Tensor, x: Tensor, memory: SynapseMemory, token: _Token) -> Tensor:
        """Return what each text and head reads, ``(texts · heads, d)``, and write v."""
        width, heads = self._config.neurons_per_head, self._config.n_head
        keys = self._model.synapse.keys(x.to(self._dtype).view(-1, width))
        turned = torch.view_as_complex(keys.unflatten(-1, (-1, 2))) * token.turn
        keys = torch.view_as_real(turned).flatten(-2)
        values = v.to(self._dtype).repeat_interleave(heads, 0)
        gates = Gates(*map(self._gate_of_groups, self._model.synapse.gates(v.unsqueeze(-2))))
        pairs = self._active(turned, _PAIRS)
        if pairs is None:
            return memory.update(keys, values, gates)
        return memory.update_pairs(pairs, keys, values, gates)

    def _gate_of_groups(self, gate: Tensor | None) -> Tensor | None:
        if gate is None:
            return None
        return gate.squeeze(-1).expand(self._config.n_head, self._texts).mT.flatten().to(self._dtype)

    def _active(self, x: Tensor, share: float) -> Tensor | None:
        """Return the indices of what is not zero, or None where it is cheaper to touch all."""
        most = x.numel()
        if not self._sparse:
            most = int(share * (most - _OVERHEAD // self._config.n_embd))
            if self._sparse is False or most <= 0 or x.device.type != "cpu":
                return None
        if most < x.numel() and int(torch.count_nonzero(x)) > most:
            return None
        return x.flatten().nonzero().squeeze(1)

    def _gate(self, x: Tensor, read: Tensor, token: _Token) -> Tensor:
        """Return ``Xᵀ y``, up to its scale, for ``y = x ⊙ ReLU(D_y read)``."""
        heads = self._config.n_head
        by_head = (read * token.decoder_y.scale).view(-1, heads, read.shape[-1]).movedim(1, 0)
        gate = F.relu(torch.bmm(by_head, token.decoder_y.rows.unflatten(0, (heads, -1)).mT))
        return (x * gate.movedim(0, 1).flatten(1)) @ token.encoder.rows

    def _gate_active(self, neurons: Tensor, x: Tensor, read: Tensor, token: _Token) -> Tensor:
        """As ``_gate``, touching the rows of ``neurons`` only, indices into ``x.flatten()``, ascending."""
        n, groups = x.shape[-1], neurons // self._config.neurons_per_head
        rows = token.decoder_y.rows.index_select(0, neurons % n)
        gate = F.relu(_row_products(rows, read * token.decoder_y.scale, groups))
        y = x.flatten().index_select(0, neurons) * gate
        active = y.nonzero().squeeze(1)
        neurons, y = neurons.index_select(0, active), y.index_select(0, active)
        starts = torch.searchsorted(neurons, self._starts)
        return sums_of_rows(token.encoder.rows, neurons % n, starts, y.to(token.encoder.rows.dtype))


def _row_products(rows: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Return ``⟨rows_i, table[index_i]⟩``, in at least float32."""
    if len(table) <= _FEW:
        return (rows @ table.mT).gather(1, index.unsqueeze(1)).squeeze(1)
    return (rows * table.index_select(0, index)).sum(-1)


def _layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
