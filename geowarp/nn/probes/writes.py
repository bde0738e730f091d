"""What a text writes into the synapses between neurons."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import index
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import GeowarpError
from ..attention import linear_attention
from ..bdh import BDH

__all__ = ["LayerWrites", "SynapseIndex", "check_layer", "check_synapses", "layer_writes"]


class SynapseIndex(NamedTuple):
    """A synapse ``σ(i, j)`` of a layer, between two of the n neurons of all heads.

    Args:
        layer: whose state it belongs to, from 1.
        i: the neuron whose y, in the layer before, is written.
        j: the neuron whose x, in this layer, it is written against; with x of j, y of i is read.

    Example:
        >>> print(SynapseIndex(layer=2, i=40, j=7))
        σ(40, 7) of layer 2
    """

    layer: int
    i: int
    j: int

    def __str__(self) -> str:
        return f"σ({self.i}, {self.j}) of layer {self.layer}"


class LayerWrites(NamedTuple):
    """The activations that one layer's synapses connect.

    Args:
        y: of the layer before, ``(..., T, n)``.
        x: of this layer, ``(..., T, n)``.
        log_decay: of each neuron's head, broadcastable to ``(..., T, h)``; None where nothing is forgotten.

    Example:
        >>> writes = LayerWrites(torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]]), None)
        >>> writes.coincidences(torch.tensor([1, 0]), torch.tensor([0, 0]))
        tensor([[6.],
                [0.]])
    """

    y: Tensor
    x: Tensor
    log_decay: Tensor | None

    def coincidences(self, i: Tensor, j: Tensor) -> Tensor:
        """Return ``y_i x_j`` at each position, ``(..., K, T)`` for K synapses."""
        return (self.y[..., i] * self.x[..., j]).mT

    def strength(self, i: Tensor, j: Tensor) -> Tensor:
        """Return ``σ(i, j)`` after each position, ``(..., K, T)`` for K synapses."""
        written, decay = self.coincidences(i, j).unsqueeze(-1), self.log_decay
        if decay is not None:
            head = j // (self.x.shape[-1] // decay.shape[-1])
            decay = decay[..., head].mT
        one = torch.ones_like(written)
        return linear_attention(one, written, one, decay)[0].squeeze(-1)

    def remembered(self) -> Tensor:
        """Return x, weakened by what each position has lost at the end: ``σ = Σ_t y_t remembered_tᵀ``."""
        if self.log_decay is None:
            return self.x
        heads: Tensor = self.x.unflatten(-1, (self.log_decay.shape[-1], -1))
        decay = self.log_decay.expand(heads.shape[:-1])
        later = F.pad(decay[..., 1:, :], (0, 0, 0, 1)).flip(-2).cumsum(-2).flip(-2)
        return (heads * later.exp().unsqueeze(-1)).flatten(-2)


def layer_writes(model: BDH, tokens: Tensor, mask: Tensor | None = None) -> Iterator[LayerWrites]:
    """Yield what ``tokens (..., T)`` write in layers 1, 2, …; to be called within ``evaluating``.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=3, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> [writes.x.shape for writes in layer_writes(model, torch.tensor([72, 105, 33]))]
        [torch.Size([3, 64]), torch.Size([3, 64])]
    """
    for before, layer in pairwise(model.activations(tokens, mask=mask)):
        decay, _ = model.synapse.gates(before.v)
        decay = None if decay is None else decay.movedim(0, -1)
        yield LayerWrites(_neurons(before.y), _neurons(layer.x), decay)


def _neurons(heads: Tensor) -> Tensor:
    flat = heads.movedim(-3, -2).flatten(-2)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def check_layer(name: str, model: BDH, layer: int) -> None:
    """Raise GeowarpError for a layer whose synapses do not connect neurons; ``name`` begins the message.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> check_layer("most_active_synapses", BDH(BDHConfig(n_embd=16, n_layer=3)), 2)
    """
    last = model.config.n_layer - 1
    if last < 1:
        raise GeowarpError(
            f"{name}: the model has one layer, and synapses connect neurons of two; give n_layer > 1"
        )
    if not 1 <= layer <= last:
        raise GeowarpError(
            f"{name}: layer = {layer} must be between 1 and {last}; synapses connect y of the layer before "
            "with x of this one, and before layer 0 there are no neurons"
        )


def check_synapses(name: str, model: BDH, synapses: Iterable[Sequence[int]]) -> tuple[SynapseIndex, ...]:
    """Return the synapses, or raise GeowarpError where one is not of the model.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> check_synapses("synapse_activity", BDH(BDHConfig(n_embd=16)), [(1, 40, 7)])
        (SynapseIndex(layer=1, i=40, j=7),)
    """
    found = []
    for synapse in synapses:
        if not hasattr(synapse, "__len__") or len(synapse) != 3:
            raise GeowarpError(f"{name}: {synapse!r} is not a synapse; give a list of (layer, i, j)")
        layer, i, j = map(index, synapse)
        check_layer(name, model, layer)
        n = model.config.n_neurons
        if not (0 <= i < n and 0 <= j < n):
            raise GeowarpError(f"{name}: neurons {i} and {j} must be between 0 and {n - 1}")
        found.append(SynapseIndex(layer, i, j))
    if not found:
        raise GeowarpError(f"{name}: there are no synapses; give at least one (layer, i, j)")
    return tuple(found)
