"""Merged BDH models: on Stiefel, with the neurons of every model, and against a sum over the models."""

import copy
import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from geowarp.errors import GeowarpError
from geowarp.manifolds import Stiefel
from geowarp.manifolds.parameter import named_manifolds, project_state_dict
from geowarp.nn import BDH, BDHConfig, merge, rotary_table, rotate_pairs
from geowarp.optim import RiemannianAdam, param_groups

CONFIG = BDHConfig(n_layer=3, n_embd=8, dropout=0.0, n_head=2, mlp_internal_dim_multiplier=4, vocab_size=11)
FACTORS = pytest.mark.parametrize("factors", ["stiefel", "euclidean"])
SYNAPSES = pytest.mark.parametrize("synapse", ["hebbian", "decay", "delta", "gated_delta"])
WEIGHTS = ("decoder_x.weight", "decoder_y.weight", "encoder.weight")


def build(multiplier: int = 4, dtype: torch.dtype = torch.float64, **changes: Any) -> BDH:
    """Return a model on Stiefel to the precision of its dtype; diagonals, decays, strengths are random."""
    model = BDH(replace(CONFIG, mlp_internal_dim_multiplier=multiplier, **changes)).to(dtype)
    model.load_state_dict(project_state_dict(model, model.state_dict()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "diagonal" in name:
                parameter.uniform_(0.5, 2)
            elif "synapse" in name:
                parameter.add_(torch.randn_like(parameter))
    return model


def share_averages(models: Sequence[BDH]) -> None:
    """Give all models the embedding, head, diagonals and synapses of the first."""
    shared = {name: value for name, value in models[0].state_dict().items() if name not in WEIGHTS}
    for model in models[1:]:
        model.load_state_dict({**model.state_dict(), **shared})


def silence_epsilon(*models: BDH) -> None:
    """Make all that LayerNorm and the keys' norm see so large that their ε do not matter."""
    for model in models:
        for factor in (model.decoder_x, model.decoder_y, model.encoder):
            factor.gain *= 1e3


def tokens(*size: int) -> Tensor:
    return torch.randint(CONFIG.vocab_size, size)


# --- the factors ---


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("multipliers", [(4, 4), (2, 6), (2, 4, 8), (1, 1, 1, 1, 1)], ids=str)
def test_merged_factors_are_orthonormal(
    dtype: torch.dtype, tolerance: float, multipliers: tuple[int, ...]
) -> None:
    merged = merge([build(multiplier, dtype) for multiplier in multipliers])
    assert merged.config.mlp_internal_dim_multiplier == sum(multipliers)
    assert merged.config.rotary_widths == tuple(4 * multiplier for multiplier in multipliers)
    constrained = dict(named_manifolds(merged))
    assert constrained == dict.fromkeys(WEIGHTS, Stiefel())
    for name in constrained:
        x = merged.get_parameter(name).detach()
        assert x.shape == (8 * sum(multipliers), 8)
        assert x.dtype == dtype
        gram = x.double().mT @ x.double()
        assert torch.linalg.matrix_norm(gram - torch.eye(8, dtype=torch.float64)) < tolerance


def test_rows_are_the_models_own() -> None:
    models = [build(multiplier) for multiplier in (2, 6, 4)]
    share_averages(models)
    merged = merge(models)
    for name in ("decoder_x", "decoder_y", "encoder"):
        rows = getattr(merged, name).effective().unflatten(0, (2, -1)).split((8, 24, 16), dim=1)
        scale = 3**-0.5 if name == "encoder" else 1
        for model, own in zip(models, rows, strict=True):
            expected = scale * getattr(model, name).effective().unflatten(0, (2, -1))
            torch.testing.assert_close(own, expected, atol=1e-14, rtol=1e-13)


def test_euclidean_models_are_concatenated() -> None:
    models = [build(multiplier, factors="euclidean") for multiplier in (4, 2)]
    merged, states = merge(models), [model.official_state_dict() for model in models]
    heads = (2, -1)
    for name, official in [("decoder_x", "encoder"), ("decoder_y", "encoder_v")]:
        expected = torch.cat([state[official] for state in states], dim=-1)
        assert torch.equal(getattr(merged, name).weight.unflatten(0, heads).mT, expected)
    expected = torch.cat([state["decoder"].unflatten(0, heads) for state in states], dim=1)
    assert torch.equal(merged.encoder.weight, expected.flatten(0, 1))
    for name in ("embed.weight", "lm_head"):
        torch.testing.assert_close(merged.get_parameter(name).detach(), sum(s[name] for s in states) / 2)
    assert dict(named_manifolds(merged)) == {}


@pytest.mark.parametrize("decay", ["constant", "learned", "input"])
@FACTORS
def test_everything_else_is_averaged(factors: str, decay: str) -> None:
    models = [build(m, factors=factors, synapse="gated_delta", decay=decay) for m in (2, 4, 2)]
    states = [model.state_dict() for model in models]
    for name, value in merge(models).state_dict().items():
        if name not in WEIGHTS:
            expected = torch.stack([state[name] for state in states]).mean(0)
            torch.testing.assert_close(value, expected, atol=1e-14, rtol=1e-14)


@SYNAPSES
@FACTORS
def test_merging_is_associative(factors: str, synapse: str) -> None:
    a, b, c = (build(multiplier, factors=factors, synapse=synapse) for multiplier in (2, 4, 6))
    flat = merge([a, b, c])
    for nested in (merge([merge([a, b]), c]), merge([a, merge([b, c])])):
        assert nested.config == flat.config
        for name, value in nested.state_dict().items():
            torch.testing.assert_close(value, flat.state_dict()[name], atol=1e-14, rtol=1e-13)


# --- what it computes ---


@SYNAPSES
@FACTORS
def test_neurons_fire_as_they_did(factors: str, synapse: str) -> None:
    models = [build(multiplier, factors=factors, synapse=synapse) for multiplier in (2, 6)]
    share_averages(models)
    merged, batch = merge(models), tokens(3, 9)
    v = F.layer_norm(merged.embed(batch), (8,))
    for i, layer in enumerate(merged.activations(batch)):
        blocks = layer.x.split((8, 24), dim=-1)
        for model, x in zip(models, blocks, strict=True):
            own = F.relu(model.decoder_x.expand(v)).unflatten(-1, (2, -1)).movedim(-2, -3)
            torch.testing.assert_close(x, own, atol=1e-13, rtol=1e-12)
            if i == 0:
                torch.testing.assert_close(x, next(model.activations(batch)).x, atol=1e-13, rtol=1e-12)
        v = layer.v


def summed_logits(models: Sequence[BDH], batch: Tensor) -> Tensor:
    """Return what Hebbian models that share the rest compute together: reads and outputs add up."""
    norm = (len(models) if models[0].config.factors == "stiefel" else 1) ** 0.5
    v = F.layer_norm(models[0].embed(batch), (8,))
    for _ in range(models[0].config.n_layer):
        activations = [F.relu(m.decoder_x.expand(v)).unflatten(-1, (2, -1)).movedim(-2, -3) for m in models]
        scores = torch.zeros((), dtype=v.dtype)
        for x in activations:
            keys = rotate_pairs(x, *rotary_table(batch.shape[-1], x.shape[-1], dtype=v.dtype))
            scores = scores + (keys @ keys.mT).tril(-1)
        read = F.layer_norm(scores @ v.unsqueeze(-3), (8,))
        out = torch.zeros_like(v)
        for model, x in zip(models, activations, strict=True):
            gates = model.decoder_y.effective().unflatten(0, (2, -1))
            y = x * F.relu(read @ gates.mT)
            out = out + model.encoder.compress(y.movedim(-3, -2).flatten(-2)) / norm
        v = F.layer_norm(v + F.layer_norm(out, (8,)), (8,))
    return v @ models[0].lm_head


@FACTORS
def test_logits_of_different_models_are_those_of_their_sum(factors: str) -> None:
    models = [build(multiplier, factors=factors) for multiplier in (2, 6, 4)]
    share_averages(models)
    batch = tokens(2, 9)
    torch.testing.assert_close(summed_logits(models[:1], batch), models[0](batch)[0], atol=1e-12, rtol=1e-11)
    logits, _ = merge(models)(batch)
    torch.testing.assert_close(logits, summed_logits(models, batch), atol=1e-12, rtol=1e-11)
    assert (logits - models[0](batch)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("residual", ["d", "n"])
@SYNAPSES
@FACTORS
def test_a_model_merged_with_itself_computes_the_same(factors: str, synapse: str, residual: str) -> None:
    # m copies multiply reads by m and outputs by √m, or m: LayerNorm ignores it up to its ε
    model, batch = build(factors=factors, synapse=synapse, residual=residual), tokens(2, 12)
    merges = [merge([model] * copies) for copies in (2, 3)]
    silence_epsilon(model, *merges)
    expected, _ = model(batch)
    for merged in merges:
        torch.testing.assert_close(merged(batch)[0], expected, atol=1e-9, rtol=1e-8)


def test_the_epsilon_of_layer_norm_is_all_that_differs() -> None:
    model, batch = build(), tokens(2, 12)
    difference = (merge([model, model])(batch)[0] - model(batch)[0]).abs().max()
    assert 1e-9 < difference < 1e-3 * model(batch)[0].abs().max()


# --- a model like any other ---


@SYNAPSES
@FACTORS
def test_merged_models_generate_save_and_load(factors: str, synapse: str) -> None:
    merged = merge([build(multiplier, factors=factors, synapse=synapse) for multiplier in (2, 4)])
    prompt = tokens(3, 5)
    text = merged.generate(prompt, 6, temperature=0)
    assert torch.equal(text[:, 5:], merged(text)[0][:, 4:-1].argmax(-1))
    file = io.BytesIO()
    torch.save({"config": asdict(merged.config), "state": merged.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)
    loaded = BDH(BDHConfig(**saved["config"])).double()
    loaded.load_state_dict(saved["state"])
    assert torch.equal(loaded(text)[0], merged(text)[0])
    assert torch.equal(copy.deepcopy(merged)(text)[0], merged(text)[0])


def test_merged_models_train_on_stiefel() -> None:
    merged, batch = merge([build(2, torch.float32), build(4, torch.float32)]), tokens(8, 12)
    optimizer = RiemannianAdam(param_groups(merged), lr=0.02)
    losses = []
    for _ in range(30):
        logits, _ = merged(batch[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    for name in WEIGHTS:
        x = merged.get_parameter(name).detach()
        assert torch.linalg.matrix_norm(x.mT @ x - torch.eye(8)) < 1e-5


def test_the_models_stay_as_they_are() -> None:
    models = [build(), build(2)]
    before = copy.deepcopy([model.state_dict() for model in models])
    merged = merge([models[0].eval(), models[1]])
    assert not merged.training
    with torch.no_grad():
        for parameter in merged.parameters():
            assert parameter.requires_grad
            parameter.zero_()
    for model, state in zip(models, before, strict=True):
        assert model.config.rotary_widths == ()
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name])


# --- errors ---


def test_errors() -> None:
    model = build()
    for count in (0, 1):
        with pytest.raises(ValueError, match=f"merge: {count} models given; merging takes two or more"):
            merge([model] * count)
    with pytest.raises(ValueError, match=r"models 0 and 2 differ in n_layer: 3 and 2; only mlp_internal"):
        merge([model, model, build(n_layer=2, n_head=1)])
    with pytest.raises(ValueError, match=r"models 0 and 1 differ in synapse: 'hebbian' and 'delta'"):
        merge([model, build(synapse="delta")])
    with pytest.raises(ValueError, match=r"differ in factors: 'euclidean' and 'stiefel'"):
        merge([build(factors="euclidean"), model])
    with pytest.raises(ValueError, match=r"differ in dtype: torch.float64 and torch.float32"):
        merge([model, build(dtype=torch.float32)])
    with torch.device("meta"):
        elsewhere = BDH(CONFIG).double()
    with pytest.raises(ValueError, match=r"differ in device: device\(type='cpu'\) and device\(type='meta'\)"):
        merge([model, elsewhere])
    with pytest.raises(
        ValueError, match="only mlp_internal_dim_multiplier, dropout, segment_length, checkpoint"
    ):
        merge([model, build(synapse="delta")])


def test_half_precision_is_off_the_manifold_and_says_how_to_return() -> None:
    models = [BDH(CONFIG).bfloat16() for _ in range(2)]
    with pytest.raises(GeowarpError, match=r"merge: decoder_x of model 0: .* departure .*project_state_dict"):
        merge(models)
    for model in models:
        model.float().load_state_dict(project_state_dict(model, model.state_dict()))
    x = merge(models).encoder.weight.detach()
    torch.testing.assert_close(x.mT @ x, torch.eye(x.shape[1]), atol=1e-5, rtol=0)


def test_how_a_model_is_run_may_differ() -> None:
    other = BDH(replace(CONFIG, dropout=0.5, segment_length=3, checkpoint=True))
    config = merge([BDH(CONFIG), other]).config
    assert (config.dropout, config.segment_length, config.checkpoint) == (0.0, 512, None)
