"""Synapses that are active in one kind of text and not in another."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import GeowarpError
from ..bdh import BDH
from .evaluation import check_text, evaluating
from .strongest_pairs import strongest_pairs
from .synapses import as_synapses, for_each_synapse
from .writes import LayerWrites, SynapseIndex, check_layer, check_synapses, layer_writes

__all__ = ["SynapseSelectivity", "selective_synapses", "synapse_selectivity"]


class SynapseSelectivity(NamedTuple):
    """How well K synapses tell texts with a subject from texts without it; tensors ``(K,)`` in float64.

    Args:
        synapses: K of them.
        mean_with: mean activity per token in the texts with the subject.
        mean_without: the same in those without.
        u: the Mann-Whitney U statistic: of all pairs of a text with and one without, in how many the synapse
            is more active in the one with; equal ones count half.
        rank_biserial: ``2 u / (n_with n_without) − 1``, from −1 to 1: 1 where u is all pairs, 0 by chance.
        p_value: one-sided: of such a u, or a larger one, where both kinds of text have the same distribution.

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> result = SynapseSelectivity((SynapseIndex(1, 40, 7),), 3 * one, 0 * one, 4 * one, one, one / 6)
        >>> result.rank_biserial
        tensor([1.], dtype=torch.float64)
    """

    synapses: tuple[SynapseIndex, ...]
    mean_with: Tensor
    mean_without: Tensor
    u: Tensor
    rank_biserial: Tensor
    p_value: Tensor


def synapse_selectivity(
    model: BDH,
    texts_with: Sequence[Tensor],
    texts_without: Sequence[Tensor],
    synapses: Iterable[Sequence[int]],
) -> SynapseSelectivity:
    """Test whether given synapses are more active in texts with a subject than in texts without it.

    A text's activity is the mean of ``y_i x_j`` over its positions, so that neither its length nor decay
    counts; the test is the one-sided Mann-Whitney U test. Where texts were used to find the synapses, use
    others here: p-values then mean what they say, and for K synapses ``p < 0.05 / K`` is significant.

    Args:
        model: any BDH model of two or more layers.
        texts_with: texts ``(T_i,)`` with the subject, each by itself.
        texts_without: texts without it.
        synapses: K triples ``(layer, i, j)``: see ``synapse_activity``.

    Raises:
        GeowarpError: for no texts, an empty text, no synapses, a layer or a neuron out of range, or as
            ``BDH.activations``.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), section 6.3: 50 sentences that mention
        a currency against 50 that do not. Mann and Whitney, On a test of whether one of two random variables
        is stochastically larger than the other, Annals of Mathematical Statistics 18 (1947).

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> texts = torch.randint(256, (10, 20)).unbind()
        >>> synapse_selectivity(model, texts[:5], texts[5:], [(1, 40, 7)]).p_value.shape
        torch.Size([1])
    """
    name = "synapse_selectivity"
    _check_texts(name, texts_with, texts_without)
    found = check_synapses(name, model, synapses)
    active, silent = (_scores(name, model, texts, found) for texts in (texts_with, texts_without))
    return _test(found, active, silent)


def selective_synapses(
    model: BDH,
    texts_with: Sequence[Tensor],
    texts_without: Sequence[Tensor],
    layer: int,
    k: int = 10,
    candidates: int = 1000,
) -> SynapseSelectivity:
    """Return the synapses of a layer that are active in texts with a subject and not in those without it.

    The candidates are the synapses whose mean activity per token differs most, of all n²; of these the k
    of the largest rank-biserial correlation are returned, the largest first. There are fewer than k where
    fewer are more active in the texts with the subject.

    The texts that select the synapses also test them here, and the best of n² synapses looks significant on
    them even in a model that has learned nothing: do not report these p-values. Keep other texts for
    ``synapse_selectivity``, as the example does, and there other words for the subject: a synapse may also
    stand for one word, and in a model that has learned nothing some do.

    Memory: the activations of all texts at once, about ``6 n`` numbers per token.

    Args:
        model: any BDH model of two or more layers.
        texts_with: texts ``(T_i,)`` with the subject, each by itself.
        texts_without: texts without it.
        layer: ``1 <= layer < n_layer``.
        k: how many synapses.
        candidates: how many are tested; at least k are.

    Raises:
        GeowarpError: for no texts, an empty text, a layer out of range, ``k < 1``, or as ``BDH.activations``.

    References:
        Kosowski et al., The Dragon Hatchling, arXiv 2509.26507 (2025), section 6.3.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> model = BDH(BDHConfig(n_layer=2, n_embd=16, n_head=2, mlp_internal_dim_multiplier=4))
        >>> low, high = torch.randint(128, (10, 20)).unbind(), torch.randint(128, 256, (10, 20)).unbind()
        >>> found = selective_synapses(model, low[:5], high[:5], layer=1, k=3)
        >>> tested = synapse_selectivity(model, low[5:], high[5:], found.synapses)
        >>> tested.synapses == found.synapses
        True
    """
    name = "selective_synapses"
    _check_texts(name, texts_with, texts_without)
    check_layer(name, model, layer)
    if k < 1:
        raise GeowarpError(f"{name}: k = {k} must be at least 1")
    found = _candidates(model, texts_with, texts_without, layer, max(k, candidates))
    if not found:
        return _test((), *torch.empty(2, 1, 0, dtype=torch.float64).unbind())
    tested = synapse_selectivity(model, texts_with, texts_without, found)
    order = tested.rank_biserial.argsort(descending=True, stable=True)[:k]
    synapses = tuple(found[int(m)] for m in order)
    return SynapseSelectivity(synapses, *(values[order] for values in tested[1:]))


def _check_texts(name: str, texts_with: Sequence[Tensor], texts_without: Sequence[Tensor]) -> None:
    for kind, texts in (("texts_with", texts_with), ("texts_without", texts_without)):
        if not len(texts):
            raise GeowarpError(f"{name}: {kind} has 0 texts; give at least one, better fifty")
        for m, text in enumerate(texts):
            if text.ndim != 1:
                raise GeowarpError(f"{name}: {kind}[{m}] has shape {tuple(text.shape)}; give tokens (T,)")
            check_text(f"{name}: {kind}[{m}]", text)


def _candidates(
    model: BDH, texts_with: Sequence[Tensor], texts_without: Sequence[Tensor], layer: int, k: int
) -> tuple[SynapseIndex, ...]:
    y, x = [], []
    with evaluating(model):
        for texts, sign in ((texts_with, 1), (texts_without, -1)):
            for text in texts:
                writes = next(islice(layer_writes(model, text), layer - 1, None))
                y.append(writes.y * (sign / (len(text) * len(texts))))
                x.append(writes.x)
        _, i, j = strongest_pairs(torch.cat(y), torch.cat(x), k)
    return as_synapses(layer, i, j)


def _scores(name: str, model: BDH, texts: Sequence[Tensor], synapses: Iterable[SynapseIndex]) -> Tensor:
    rows = [
        for_each_synapse(name, model, text, synapses, LayerWrites.coincidences).mean(-1) for text in texts
    ]
    return torch.stack(rows).double().cpu()


def _test(synapses: tuple[SynapseIndex, ...], active: Tensor, silent: Tensor) -> SynapseSelectivity:
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(active.numpy(), silent.numpy(), alternative="greater")
    u, p = torch.as_tensor(test.statistic), torch.as_tensor(test.pvalue)
    correlation = 2 * u / (len(active) * len(silent)) - 1
    return SynapseSelectivity(synapses, active.mean(0), silent.mean(0), u, correlation, p)
