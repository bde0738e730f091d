"""Probes of BDH against plain loops and dense matrices, and on a model whose synapses are known."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from geowarp.errors import GeowarpError
from geowarp.nn import BDH, BDHConfig, pad_left
from geowarp.nn.probes import (
    FactorSpectrum,
    SynapseIndex,
    activation_density,
    factor_spectra,
    most_active_synapses,
    selective_synapses,
    singular_values,
    synapse_activity,
    synapse_selectivity,
)
from geowarp.optim import RiemannianAdam

SMALL = BDHConfig(n_layer=3, n_embd=8, dropout=0.4, n_head=2, mlp_internal_dim_multiplier=4, vocab_size=13)
KINDS = [
    SMALL,
    replace(SMALL, factors="euclidean"),
    replace(SMALL, residual="n"),
    replace(SMALL, synapse="decay"),
    replace(SMALL, synapse="gated_delta", decay="input"),
]
EACH_KIND = pytest.mark.parametrize(
    "config", KINDS, ids=["stiefel", "euclidean", "n", "decay", "gated_delta"]
)


def build(config: BDHConfig = SMALL) -> BDH:
    model = BDH(config).double()
    with torch.no_grad():
        for parameter in model.synapse.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


def tokens(*size: int) -> Tensor:
    return torch.randint(SMALL.vocab_size, size)


@torch.no_grad()
def dense_synapses(model: BDH, text: Tensor, layer: int) -> Tensor:
    """Return σ after each position of one text, ``(T, n, n)``, by a loop over the positions."""
    model.eval()
    layers = list(model.activations(text))
    model.train()
    heads, width = model.config.n_head, model.config.neurons_per_head
    decay, _ = model.synapse.gates(layers[layer - 1].v)
    sigma = torch.zeros(heads * width, heads * width, dtype=torch.float64)
    history = []
    for t in range(len(text)):
        y = torch.cat([layers[layer - 1].y[h, t] for h in range(heads)])
        for h in range(heads):
            columns = slice(h * width, (h + 1) * width)
            if decay is not None:
                sigma[:, columns] *= decay.expand(heads, len(text))[h, t].exp()
            sigma[:, columns] += torch.outer(y, layers[layer].x[h, t])
        history.append(sigma.clone())
    return torch.stack(history)


# --- densities and spectra ---


def test_density_is_the_share_of_neurons_that_fire() -> None:
    model, texts = build(), tokens(2, 3, 5)
    density = activation_density(model, texts)
    model.eval()
    for layer, a in enumerate(model.activations(texts)):
        assert density.x[layer] == (a.x > 0).double().mean()
        assert density.y[layer] == (a.y > 0).double().mean()
    assert density.x.dtype == torch.float64
    assert (density.y > 0).all()
    assert (density.y < density.x).all()


@EACH_KIND
def test_density_does_not_count_padding(config: BDHConfig) -> None:
    model = build(config)
    texts = [tokens(7), tokens(2), tokens(4)]
    padded = activation_density(model, *pad_left(texts))
    single = [activation_density(model, text) for text in texts]
    for shares, several in zip(padded, zip(*single, strict=True), strict=True):
        expected = sum(len(t) * s for t, s in zip(texts, several, strict=True)) / sum(map(len, texts))
        torch.testing.assert_close(shares, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("factors", ["stiefel", "euclidean"])
def test_spectra(factors: str) -> None:
    model = BDH(replace(SMALL, factors=factors))
    factors_of = {"D_x": model.decoder_x, "D_y": model.decoder_y, "E": model.encoder}
    with torch.no_grad():
        for factor in factors_of.values():
            if factor.diagonal is not None:
                factor.diagonal.uniform_(0.5, 2)
    spectra = factor_spectra(model)
    assert list(spectra) == list(factors_of)
    for symbol, factor in factors_of.items():
        x, w = spectra[symbol]
        scaled = factor.effective().detach().double()
        gram = torch.linalg.eigvalsh(scaled.mT @ scaled).flip(0).sqrt()
        torch.testing.assert_close(w, gram, rtol=1e-9, atol=0)
        if factor.diagonal is None:
            torch.testing.assert_close(x, w, rtol=1e-12, atol=0)
        else:
            torch.testing.assert_close(x, torch.ones_like(x), rtol=0, atol=1e-6)
            by_hand = factor.gain * factor.diagonal.detach().double().sort(descending=True).values
            torch.testing.assert_close(w, by_hand, rtol=1e-6, atol=0)
        assert torch.equal(w, singular_values(factor))
        assert spectra[symbol].condition_number == pytest.approx(float(w.max() / w.min()))


# --- synapses over time ---


@EACH_KIND
def test_activity_is_the_sum_of_what_fires_together(config: BDHConfig) -> None:
    model, text, n = build(config), tokens(9), config.n_neurons
    synapses = [(int(m) % 2 + 1, int(i), int(j)) for m, (i, j) in enumerate(torch.randint(n, (40, 2)))]
    activity = synapse_activity(model, text, synapses)
    dense = {layer: dense_synapses(model, text, layer) for layer in (1, 2)}
    expected = torch.stack([dense[layer][:, i, j] for layer, i, j in synapses])
    assert expected.count_nonzero() > 50
    torch.testing.assert_close(activity, expected, rtol=1e-12, atol=1e-12)


def test_encoded_synapses_are_the_state_that_attention_keeps() -> None:
    config = replace(SMALL, synapse="decay", decay="input")
    model, text, layer = build(config).eval(), tokens(9), 2
    before, after = list(model.activations(text))[layer - 1 : layer + 1]
    with torch.no_grad():
        decay, _ = model.synapse.gates(before.v)
        values = model.encoder.compress_heads(before.y)
        state = torch.zeros(config.n_head, config.neurons_per_head, config.n_embd, dtype=torch.float64)
        assert decay is not None
        for t in range(len(text)):
            written = after.x[:, t].unsqueeze(-1) * values[t]
            state = decay[:, t].exp().view(-1, 1, 1) * state + written
        sigma = dense_synapses(model, text, layer)[-1]
        torch.testing.assert_close(model.encoder.effective().mT @ sigma, state.flatten(0, 1).mT)


@EACH_KIND
def test_activity_of_batches_and_of_padded_texts(config: BDHConfig) -> None:
    model, synapses = build(config), [(2, 3, 30), (1, 17, 17), (2, 0, 1)]
    texts = [tokens(7), tokens(3)]
    padded = synapse_activity(model, *(texts_and_mask := pad_left(texts))[:1], synapses, texts_and_mask[1])
    assert padded.shape == (2, 3, 7)
    assert not padded[1, :, :4].any()
    for row, text in zip(padded, texts, strict=True):
        single = synapse_activity(model, text, synapses)
        torch.testing.assert_close(row[:, 7 - len(text) :], single, rtol=1e-10, atol=1e-12)
    many = tokens(2, 3, 5)
    activity = synapse_activity(model, many, iter(synapses))
    assert activity.shape == (2, 3, 3, 5)
    torch.testing.assert_close(activity[1, 2], synapse_activity(model, many[1, 2], synapses))


def test_single_precision() -> None:
    model, text, synapses = build(), tokens(30), [(1, 3, 30), (2, 17, 17), (1, 1, 2)]
    expected = synapse_activity(model, text, synapses)
    single = synapse_activity(model.float(), text, synapses)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_model_is_left_as_it_was() -> None:
    model, text = build(), tokens(5)
    model.decoder_x.eval()
    for probe in (activation_density, lambda m, t: synapse_activity(m, t, [(1, 0, 0)])):
        first, second = (probe(model, text) for _ in range(2))  # dropout would tell them apart
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert model.training
        assert model.synapse.training
        assert not model.decoder_x.training
    with pytest.raises(GeowarpError, match="token 13"):
        activation_density(model, torch.tensor([13]))
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


# --- the strongest ---


@EACH_KIND
def test_most_active_are_the_largest_of_the_dense_matrix(config: BDHConfig) -> None:
    model, texts = build(config), [tokens(8), tokens(5)]
    padded, mask = pad_left(texts)
    for layer in (1, 2):
        dense = sum(dense_synapses(model, text, layer)[-1] for text in texts) / len(texts)
        assert isinstance(dense, Tensor)
        found = most_active_synapses(model, padded, layer, 20, mask)
        torch.testing.assert_close(found.strength, dense.flatten().topk(20).values, rtol=1e-10, atol=1e-12)
        for synapse, strength in zip(found.synapses, found.strength, strict=True):
            assert synapse.layer == layer
            torch.testing.assert_close(dense[synapse.i, synapse.j], strength, rtol=1e-10, atol=1e-12)
        assert len(set(found.synapses)) == 20


def test_only_synapses_that_fired_are_active() -> None:
    model, text = build(), tokens(2)
    positive = int((dense_synapses(model, text, 1)[-1] > 0).sum())
    found = most_active_synapses(model, text, 1, 10**6)
    assert 0 < len(found.synapses) == len(found.strength) == positive < SMALL.n_neurons**2
    alone = most_active_synapses(model, text[:1], 1)  # reads nothing, so that nothing is gated through
    assert alone.synapses == ()
    assert alone.strength.shape == (0,)


# --- selective synapses ---


def echo_model() -> BDH:
    """Return a model whose neuron t fires on token t, and is gated through where t has been read before."""
    config = BDHConfig(n_layer=2, n_embd=8, n_head=1, mlp_internal_dim_multiplier=1, vocab_size=8)
    model = BDH(replace(config, factors="euclidean"))
    with torch.no_grad():
        for parameter in (model.embed.weight, model.decoder_x.weight, model.decoder_y.weight):
            parameter.copy_(torch.eye(8))
        model.encoder.weight.zero_()
    return model


def sentences(count: int, subject: bool) -> list[Tensor]:
    """Return texts over the tokens 0 to 6, in which the subject, 7, stands twice or not at all."""
    texts = []
    for _ in range(count):
        text = torch.randint(7, (int(torch.randint(6, 16, ())),))
        if subject:
            text[torch.randperm(len(text))[:2]] = 7
        texts.append(text)
    return texts


def test_a_synapse_that_is_known_is_found() -> None:
    model = echo_model()
    found = selective_synapses(model, sentences(20, True), sentences(20, False), layer=1, k=3)
    assert found.synapses[0] == SynapseIndex(1, 7, 7)
    assert found.rank_biserial[0] == 1
    assert (found.rank_biserial.diff() <= 0).all()
    tested = synapse_selectivity(model, sentences(30, True), sentences(25, False), [(1, 7, 7), (1, 5, 5)])
    assert tested.u[0] == 30 * 25
    assert tested.rank_biserial[0] == 1
    assert tested.mean_without[0] == 0 < tested.mean_with[0]
    assert tested.p_value[0] < 1e-10
    assert tested.rank_biserial[1].abs() < 0.5
    strongest = most_active_synapses(model, torch.tensor([7, 1, 7, 2, 7]), 1)
    assert strongest.synapses == (SynapseIndex(1, 7, 7),)
    steps = synapse_activity(model, torch.tensor([7, 1, 7, 2, 7]), [(1, 7, 7)])[0].diff() > 0
    assert steps.tolist() == [False, True, False, True]


def test_the_statistics_count_pairs_of_texts() -> None:
    model, synapses = build(), [(1, 3, 30), (2, 17, 17), (1, 1, 2), (2, 5, 40)]
    synapses = [(layer, i % SMALL.n_neurons, j % SMALL.n_neurons) for layer, i, j in synapses]
    groups = [tokens(4 + m) for m in range(6)], [tokens(4 + m) for m in range(5)]
    tested = synapse_selectivity(model, groups[0], groups[1], synapses)
    for m, (layer, i, j) in enumerate(synapses):
        hebbian = [[dense_synapses(model, t, layer)[-1, i, j] / len(t) for t in texts] for texts in groups]
        pairs = [(a > b) + 0.5 * (a == b) for a in hebbian[0] for b in hebbian[1]]
        assert tested.u[m] == sum(pairs)
        assert tested.rank_biserial[m] == pytest.approx(2 * float(sum(pairs)) / 30 - 1)
        assert tested.mean_with[m] == pytest.approx(float(sum(hebbian[0])) / 6)
        assert tested.mean_without[m] == pytest.approx(float(sum(hebbian[1])) / 5)
    reverse = synapse_selectivity(model, groups[1], groups[0], synapses)
    torch.testing.assert_close(tested.u + reverse.u, torch.full((4,), 30.0).double())
    torch.testing.assert_close(tested.rank_biserial, -reverse.rank_biserial)


def test_candidates_are_those_whose_means_differ_most() -> None:
    model = build()
    groups = tokens(4, 6).unbind(), tokens(4, 6).unbind()
    means = [sum(dense_synapses(model, t, 2)[-1] / len(t) for t in texts) / 4 for texts in groups]
    difference = torch.as_tensor(means[0] - means[1])
    found = selective_synapses(model, groups[0], groups[1], layer=2, k=8, candidates=8)
    torch.testing.assert_close(
        (found.mean_with - found.mean_without).sort(descending=True).values,
        difference.flatten().topk(8).values,
    )
    best = selective_synapses(model, groups[0], groups[1], layer=2, k=8, candidates=10**6)
    assert (best.rank_biserial >= found.rank_biserial).all()
    assert best.rank_biserial.sum() > found.rank_biserial.sum()
    silent = tokens(4, 1).unbind()  # the first token reads nothing, so that nothing is gated through
    assert selective_synapses(model, silent, groups[0], layer=2).p_value.numel() == 0


CURRENCIES, AMOUNT = torch.arange(10, 16), 16


def report(currencies: Tensor, *, amounts: bool = False) -> Tensor:
    """Return 24 words 0 to 9, with three of the currencies, if any, each followed by the amount if asked."""
    text = torch.randint(10, (24,))
    if len(currencies):
        places = 2 * torch.randperm(11)[:3]
        text[places] = currencies[torch.randint(len(currencies), (3,))]
        text[places + 1 if amounts else places[:0]] = AMOUNT
    return text


def trained(steps: int) -> BDH:
    sizes: dict[str, Any] = {"n_layer": 2, "n_embd": 16, "n_head": 2, "mlp_internal_dim_multiplier": 8}
    model = BDH(BDHConfig(dropout=0.0, vocab_size=17, **sizes))
    optimizer = RiemannianAdam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        texts = torch.stack([report(CURRENCIES[: 6 * (m % 2)], amounts=True) for m in range(16)])
        loss = F.cross_entropy(model(texts[:, :-1])[0].flatten(0, 1), texts[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def found_and_held_out(model: BDH) -> tuple[Tensor, Tensor]:
    """Return correlations in texts of three currencies that select synapses, and in texts of the others."""
    groups = [
        [report(CURRENCIES[part]) for _ in range(50)] for part in (slice(3), slice(0), slice(3, 6), slice(0))
    ]
    found = selective_synapses(model, groups[0], groups[1], layer=1, k=5)
    held_out = synapse_selectivity(model, groups[2], groups[3], found.synapses)
    return found.rank_biserial, held_out.rank_biserial


def test_training_makes_synapses_of_a_subject_that_hold_for_other_words_of_it() -> None:
    found, held_out = found_and_held_out(trained(steps=30))
    assert found.min() > 0.9
    assert held_out.min() > 0.9


def test_selection_overstates_what_an_untrained_model_knows() -> None:
    found, held_out = found_and_held_out(trained(steps=0))
    assert found.min() > 0.6
    assert held_out.mean() < 0.4


# --- what is refused ---


def test_neurons_are_not_rounded() -> None:
    with pytest.raises(TypeError, match="float"):
        synapse_activity(build(), tokens(5), [(1, 2.5, 3)])  # type: ignore[list-item]


def test_the_condition_of_a_factor_of_zeros_is_infinite() -> None:
    assert FactorSpectrum(torch.zeros(2), torch.zeros(2)).condition_number == float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, t: most_active_synapses(m, t, 0), "layer = 0 must be between 1 and 2"),
        (lambda m, t: most_active_synapses(m, t, 3), "layer = 3 must be between 1 and 2"),
        (lambda m, t: most_active_synapses(m, t, -1), "layer = -1 must be between 1 and 2"),
        (lambda m, t: most_active_synapses(m, t, 1, 0), "k = 0 must be at least 1"),
        (lambda m, t: most_active_synapses(m, t[:0], 1), "most_active_synapses: tokens .* are empty"),
        (lambda m, t: most_active_synapses(build(replace(SMALL, n_layer=1)), t, 1), "has one layer"),
        (lambda m, t: activation_density(m, t[:0]), "activation_density: tokens .* are empty"),
        (lambda m, t: activation_density(m, t, torch.zeros_like(t).bool()), "all 5 tokens are padding"),
        (lambda m, t: synapse_activity(m, t[:0], [(1, 2, 3)]), "synapse_activity: tokens .* are empty"),
        (lambda m, t: synapse_activity(m, t, []), "synapse_activity: there are no synapses"),
        (lambda m, t: synapse_activity(m, t, [(1, 2)]), r"\(1, 2\) is not a synapse"),
        (
            lambda m, t: synapse_activity(m, t, cast(Any, (1, 2, 3))),
            r"1 is not a synapse; give a list of \(layer, i, j\)",
        ),
        (lambda m, t: synapse_activity(m, t, [(4, 2, 3)]), "layer = 4 must be"),
        (lambda m, t: synapse_activity(m, t, [(1, 2, 32)]), "neurons 2 and 32 must be between 0 and 31"),
        (lambda m, t: synapse_activity(m, t, [(1, -1, 2)]), "neurons -1 and 2"),
        (lambda m, t: selective_synapses(m, [], [t], 1), "texts_with has 0 texts"),
        (lambda m, t: selective_synapses(m, [t], [], 1), "texts_without has 0 texts"),
        (lambda m, t: selective_synapses(m, [t], [t[:0]], 1), r"texts_without\[0\]: tokens .* are empty"),
        (lambda m, t: selective_synapses(m, [t, t[None]], [t], 1), r"texts_with\[1\] has shape \(1, 5\)"),
        (lambda m, t: selective_synapses(m, [t], [t], 0), "layer = 0 must be"),
        (lambda m, t: selective_synapses(m, [t], [t], 1, 0), "k = 0 must be"),
        (lambda m, t: synapse_selectivity(m, [t], [t], []), "synapse_selectivity: there are no synapses"),
    ],
)
def test_refused(call: Any, message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        call(build(), tokens(5))
