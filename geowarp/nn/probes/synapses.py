"""How strong synapses between neurons are, over time and after a text."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import GeowarpError
from ..bdh import BDH
from .evaluation import check_text, evaluating
from .strongest_pairs import strongest_pairs
from .writes import LayerWrites, SynapseIndex, check_layer, check_synapses, layer_writes

__all__ = ["ActiveSynapses", "as_synapses", "for_each_synapse", "most_active_synapses", "synapse_activity"]


class ActiveSynapses(NamedTuple):
    """Synapses and their strengths, the strongest first.

    Args:
        synapses: K of them.
        strength: ``(K,)``.

    Example:
        >>> ActiveSynapses((SynapseIndex(1, 40, 7),), torch.tensor([2.5])).synapses[0].i
        40
    """

    synapses: tuple[SynapseIndex, ...]
    strength: Tensor


def synapse_activity(
    model: BDH, tokens: Tensor, synapses: Iterable[Sequence[int]], mask: Tensor | None = None
) -> Tensor:
    """Return the strength ``σ(i, j)`` of synapses after each position of a text, ``(..., K, T)``.

    A synapse grows when the neuron j fires in a layer while the neuron i has fired in the layer before::

        σ_t(i, j) = λ_t σ_{t−1}(i, j) + y_t(i) x_t(j)        y of layer l − 1, x of layer l

    λ is the decay of the head of j, 1 where the model does not forget. Neurons are counted over all heads:
    neuron m of head k is number ``k·n/h + m``, which is also its row in ``D_x``, ``D_y`` and ``Eᵀ``.

    The model itself keeps the smaller matrix ``S = Σ x v^T``. In the paper's model, ``v = LN(E y)``, so Sᵀ is
    ``E σ`` but for LN, and with ``residual="d"`` v holds what earlier layers wrote, too. Two things of the
    model are left out of σ, so that it counts what fired together: the rotation of x by its position, and in
    the error-driven modes the subtraction of what S already predicts, with the unit length of keys.

    Args:
        model: any BDH model of two or more layers.
        tokens: texts ``(..., T)``.
        synapses: K triples ``(layer, i, j)``, ``1 <= layer < n_layer``: before layer 0 no neuron has fired.
        mask: ``(..., T)``, False where a token is padding on the left; synapses are 0 there.

    Raises:
        GeowarpError: for no tokens, no synapses, a layer or a neuron out of range, or as ``BDH.activations``.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), sections 2 and 6.3.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> synapse_activity(model, torch.tensor([72, 105, 33]), [(1, 40, 7), (1, 2, 3)]).shape
        torch.Size([2, 3])
    """
    return for_each_synapse("synapse_activity", model, tokens, synapses, LayerWrites.strength, mask)


def for_each_synapse(
    name: str,
    model: BDH,
    tokens: Tensor,
    synapses: Iterable[Sequence[int]],
    measure: Callable[[LayerWrites, Tensor, Tensor], Tensor],
    mask: Tensor | None = None,
) -> Tensor:
    """Return what ``measure(writes, i, j)`` says of each synapse, ``(..., K, T)``.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> for_each_synapse("", model, torch.arange(5), [(1, 40, 7)], LayerWrites.coincidences).shape
        torch.Size([1, 5])
    """
    check_text(name, tokens, mask)
    index = torch.tensor(check_synapses(name, model, synapses), device=tokens.device)
    last = int(index[:, 0].max())
    measured, order = [], []
    with evaluating(model):
        for layer, writes in enumerate(islice(layer_writes(model, tokens, mask), last), 1):
            chosen = (index[:, 0] == layer).nonzero().squeeze(1)
            measured.append(measure(writes, index[chosen, 1], index[chosen, 2]))
            order.append(chosen)
    return torch.cat(measured, -2)[..., torch.cat(order).argsort(), :]


def most_active_synapses(
    model: BDH, tokens: Tensor, layer: int, k: int = 10, mask: Tensor | None = None
) -> ActiveSynapses:
    """Return the k strongest synapses ``σ(i, j)`` of a layer after a text; of several, by their mean.

    Exact: of all n² synapses, those that may be among the strongest are computed, few of them at a time.
    There are fewer than k where fewer are above 0. See ``synapse_activity`` for σ.

    Args:
        model: any BDH model of two or more layers.
        tokens: texts ``(..., T)``.
        layer: ``1 <= layer < n_layer``.
        k: how many.
        mask: ``(..., T)``, False where a token is padding on the left.

    Raises:
        GeowarpError: for no tokens, a layer out of range, ``k < 1``, or as ``BDH.activations``.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> tokens = torch.tensor([72, 105, 33])
        >>> found = most_active_synapses(model, tokens, layer=1, k=3)
        >>> synapse_activity(model, tokens, found.synapses)[:, -1].allclose(found.strength)
        True
    """
    check_text("most_active_synapses", tokens, mask)
    check_layer("most_active_synapses", model, layer)
    if k < 1:
        raise GeowarpError(f"most_active_synapses: k = {k} must be at least 1")
    with evaluating(model):
        writes = next(islice(layer_writes(model, tokens, mask), layer - 1, None))
        y, x = (z.flatten(0, -2) for z in (writes.y, writes.remembered()))
        strength, i, j = strongest_pairs(y, x, k)
    texts = tokens.shape[:-1].numel()
    return ActiveSynapses(as_synapses(layer, i, j), strength / texts)


def as_synapses(layer: int, i: Tensor, j: Tensor) -> tuple[SynapseIndex, ...]:
    """Return the synapses of a layer with the given neurons.

    Example:
        >>> as_synapses(1, torch.tensor([40]), torch.tensor([7]))
        (SynapseIndex(layer=1, i=40, j=7),)
    """
    return tuple(SynapseIndex(layer, *pair) for pair in zip(i.tolist(), j.tolist(), strict=True))
