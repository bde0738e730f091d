"""BDH against a plain reference of the published equations, and what Stiefel factors leave unchanged."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from geowarp._geoopt import geoopt
from geowarp.manifolds import Stiefel
from geowarp.manifolds.parameter import named_manifolds
from geowarp.nn import (
    BDH,
    BDHConfig,
    LowRankFactor,
    linear_attention,
    rotary_table,
    rotate_pairs,
    sample_tokens,
)

STIEFEL = BDHConfig(n_layer=3, n_embd=8, dropout=0.0, n_head=2, mlp_internal_dim_multiplier=4, vocab_size=11)
EUCLIDEAN = replace(STIEFEL, factors="euclidean")
BOTH = pytest.mark.parametrize("config", [STIEFEL, EUCLIDEAN], ids=["stiefel", "euclidean"])


def build(config: BDHConfig) -> BDH:
    model = BDH(config).double()
    with torch.no_grad():
        for factor in (model.decoder_x, model.decoder_y, model.encoder):
            if factor.diagonal is not None:
                factor.diagonal.uniform_(0.5, 2)
    return model


def tokens(*size: int) -> Tensor:
    return torch.randint(STIEFEL.vocab_size, size)


# --- an independent reference: one sequence, one position at a time, sums as in the paper ---


def normalised(z: Tensor) -> Tensor:
    centred = z - z.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def turned(key: Tensor, position: int) -> Tensor:
    half = key.numel() // 2
    blocks = []
    for j in range(half):
        angle = position * (2.0**16) ** (-2 * j / key.numel())
        cosine, sine = math.cos(angle), math.sin(angle)
        blocks.append(torch.tensor([[cosine, -sine], [sine, cosine]], dtype=key.dtype))
    rotation: Tensor = torch.block_diag(*blocks)
    return rotation @ key


def reference_logits(state: dict[str, Tensor], n_layer: int, sequence: Tensor) -> Tensor:
    encoder, encoder_v, decoder = state["encoder"], state["encoder_v"], state["decoder"]
    heads, _, width = encoder.shape
    stream = [normalised(state["embed.weight"][token]) for token in sequence]
    for _ in range(n_layer):
        keys = [[(v @ encoder[h]).clamp_min(0) for h in range(heads)] for v in stream]
        spun = [[turned(keys[t][h], t) for h in range(heads)] for t in range(len(stream))]
        following = []
        for t, v in enumerate(stream):
            out = torch.zeros_like(v)
            for h in range(heads):
                read = torch.zeros_like(v)
                for past in range(t):
                    read = read + stream[past] * spun[past][h].dot(spun[t][h])
                gate = (normalised(read) @ encoder_v[h]).clamp_min(0)
                out = out + (keys[t][h] * gate) @ decoder[h * width : (h + 1) * width]
            following.append(normalised(v + normalised(out)))
        stream = following
    return torch.stack([v @ state["lm_head"] for v in stream])


@BOTH
def test_logits_equal_the_reference(config: BDHConfig) -> None:
    model, batch = build(config), tokens(2, 7)
    expected = [reference_logits(model.official_state_dict(), config.n_layer, row) for row in batch]
    torch.testing.assert_close(model(batch)[0], torch.stack(expected), atol=1e-12, rtol=1e-12)


def test_gradients_equal_those_of_the_reference() -> None:
    model, sequence = build(EUCLIDEAN), tokens(6)
    state = {name: tensor.requires_grad_() for name, tensor in model.official_state_dict().items()}
    reference_logits(state, EUCLIDEAN.n_layer, sequence).square().sum().backward()
    model(sequence)[0].square().sum().backward()
    heads = (EUCLIDEAN.n_head, EUCLIDEAN.neurons_per_head)
    own = {
        "embed.weight": model.embed.weight.grad,
        "lm_head": model.lm_head.grad,
        "encoder": _grad(model.decoder_x).unflatten(0, heads).mT,
        "encoder_v": _grad(model.decoder_y).unflatten(0, heads).mT,
        "decoder": _grad(model.encoder),
    }
    for name, grad in own.items():
        torch.testing.assert_close(grad, state[name].grad, atol=1e-11, rtol=1e-10)


def _grad(factor: LowRankFactor) -> Tensor:
    grad = factor.weight.grad
    assert grad is not None
    return grad


@BOTH
def test_gradients_equal_finite_differences(config: BDHConfig) -> None:
    model, batch = build(replace(config, n_layer=1)), tokens(1, 4)
    names = [name for name, _ in model.named_parameters()]
    values = tuple(p.detach().as_subclass(Tensor).clone().requires_grad_() for p in model.parameters())

    def logits(*leaves: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(model, dict(zip(names, leaves, strict=True)), (batch,))[0]
        return out

    assert torch.autograd.gradcheck(logits, values, fast_mode=True)


@BOTH
def test_official_state_round_trip(config: BDHConfig) -> None:
    model, batch = build(config), tokens(2, 9)
    state = model.official_state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        "encoder": (2, 8, 16),
        "encoder_v": (2, 8, 16),
        "decoder": (32, 8),
        "lm_head": (8, 11),
        "embed.weight": (11, 8),
    }
    free = BDH.from_official({**state, "attn.freqs": torch.zeros(1, 1, 1, 16)}, config)
    assert free.config == EUCLIDEAN
    torch.testing.assert_close(free(batch)[0], model(batch)[0], atol=1e-12, rtol=1e-12)
    for name, tensor in free.official_state_dict().items():
        assert torch.equal(tensor, state[name])


def test_official_state_errors() -> None:
    state = build(EUCLIDEAN).official_state_dict()
    without = {name: tensor for name, tensor in state.items() if name != "encoder_v"}
    with pytest.raises(ValueError, match="lacks 'encoder_v'"):
        BDH.from_official(without, EUCLIDEAN)
    with pytest.raises(ValueError, match="unknown entry 'bias'"):
        BDH.from_official({**state, "bias": torch.zeros(1)}, EUCLIDEAN)
    with pytest.raises(ValueError, match=r"\(2, 8, 16\), not \(4, 8, 8\)"):
        BDH.from_official(state, replace(EUCLIDEAN, n_head=4))


def test_start() -> None:
    model = BDH(BDHConfig(n_embd=32, mlp_internal_dim_multiplier=64, factors="euclidean"))
    for name, parameter in model.named_parameters():
        assert 0.018 < parameter.std() < 0.022, name
        assert abs(parameter.mean()) < 0.001, name
    constrained = BDH(BDHConfig(n_embd=32, mlp_internal_dim_multiplier=64))
    factors = [name for name, manifold in named_manifolds(constrained) if isinstance(manifold, Stiefel)]
    assert factors == ["decoder_x.weight", "decoder_y.weight", "encoder.weight"]
    extra = sum(p.numel() for p in constrained.parameters()) - sum(p.numel() for p in model.parameters())
    assert extra == 3 * 32
    assert BDH(replace(constrained.config, diagonal=False)).encoder.diagonal is None


def test_official_default_size() -> None:
    with torch.device("meta"):
        model = BDH(BDHConfig(factors="euclidean"))
    assert sum(p.numel() for p in model.parameters()) == 25_296_896


def test_gains_give_unit_preactivations() -> None:
    model = BDH(BDHConfig(n_embd=32, mlp_internal_dim_multiplier=64))
    v = nn.functional.layer_norm(torch.randn(200, 32), (32,))
    x = model.decoder_x.expand(v)
    assert x.square().mean().item() == pytest.approx(1, abs=0.01)
    y = x.relu() * model.decoder_y.expand(torch.randn(200, 32)).relu()
    assert model.encoder.compress(y).square().mean().item() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("name", ["decoder_x", "decoder_y", "encoder"])
@BOTH
def test_positive_rescaling_of_a_factor_only_meets_the_epsilon(config: BDHConfig, name: str) -> None:
    model, batch = build(config), tokens(2, 9)
    factors = (model.decoder_x, model.decoder_y, model.encoder)
    for factor in factors:
        factor.gain = 1e3
    before = model(batch)[0]
    getattr(model, name).gain *= 7
    torch.testing.assert_close(model(batch)[0], before, atol=1e-8, rtol=1e-6)
    getattr(model, name).gain *= -1
    assert (model(batch)[0] - before).abs().max() > 1e-3


@BOTH
def test_causality(config: BDHConfig) -> None:
    model, before = build(config), tokens(9)
    for t in range(9):
        after = before.clone()
        after[t] = (after[t] + 1) % config.vocab_size
        changed = (model(after)[0] != model(before)[0]).any(-1)
        assert not changed[:t].any()
        assert changed[t]


@BOTH
def test_batch_equals_loop(config: BDHConfig) -> None:
    model, batch = build(config), tokens(2, 3, 6)
    rows = torch.stack([torch.stack([model(row)[0] for row in block]) for block in batch])
    torch.testing.assert_close(model(batch)[0], rows)
    assert model(batch[:0])[0].shape == (0, 3, 6, 11)
    assert model(batch.mT.contiguous().mT)[0].equal(model(batch)[0])


@BOTH
def test_state_dict_round_trip(config: BDHConfig) -> None:
    model, batch = build(config), tokens(2, 5)
    copy = BDH(config).double()
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy(batch)[0], model(batch)[0])
    assert dict(named_manifolds(copy)) == dict(named_manifolds(model))


@BOTH
def test_compiles_in_one_graph(config: BDHConfig) -> None:
    torch.compiler.reset()
    model, batch = build(replace(config, n_layer=1)), tokens(2, 5)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch)[0], model(batch)[0])


def test_dropout_acts_in_training_only() -> None:
    model, batch = build(replace(STIEFEL, dropout=0.5)), tokens(2, 5)
    assert not torch.equal(model(batch)[0], model(batch)[0])
    model.eval()
    expected = build(STIEFEL)
    expected.load_state_dict(model.state_dict())
    assert torch.equal(model(batch)[0], expected(batch)[0])


def test_factors_stay_on_stiefel_in_training() -> None:
    model, batch = BDH(STIEFEL), tokens(8, 12)
    optimizer = geoopt.optim.RiemannianAdam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(60):
        logits = model(batch[:, :-1])[0]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    for factor in (model.decoder_x, model.decoder_y, model.encoder):
        weight = factor.weight.detach().double()
        assert (weight.mT @ weight - torch.eye(8)).norm() < 1e-5
    assert model.encoder.diagonal is not None
    assert model.encoder.diagonal.std() > 0.01


def test_generate() -> None:
    model, prompt = build(replace(STIEFEL, dropout=0.5)), tokens(3, 4)
    seeded = [model.generate(prompt, 5, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*seeded)
    assert torch.equal(seeded[0][:, :4], prompt)
    assert model.training
    greedy = model.generate(prompt, 5, temperature=0)
    assert torch.equal(greedy, model.generate(prompt, 5, top_k=1))
    assert torch.equal(greedy[:2], model.generate(prompt[:2], 5, temperature=0))
    assert torch.equal(greedy[:, 4:], model.eval()(greedy)[0][:, 3:-1].argmax(-1))
    assert torch.equal(model.generate(prompt, 0), prompt)
    assert torch.equal(model.generate(prompt[0], 5, temperature=0), greedy[0])
    with pytest.raises(ValueError, match="prompt is empty"):
        model.generate(prompt[:, :0], 1)
    with pytest.raises(ValueError, match="-1 is negative"):
        model.generate(prompt, -1)


def test_sampling_follows_the_distribution() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0])
    for temperature, top_k in [(1.0, None), (2.0, None), (0.5, 2), (1.0, 9)]:
        drawn = sample_tokens(logits.expand(200, 100, 4), temperature=temperature, top_k=top_k)
        kept = logits if top_k != 2 else logits.masked_fill(logits < 2, -math.inf)
        share = drawn.flatten().bincount(minlength=4) / 20_000
        torch.testing.assert_close(share, (kept / temperature).softmax(-1), atol=0.02, rtol=0)
    for temperature in (1e-30, 1e-300, 5e-324):
        assert (sample_tokens(logits.expand(20, 4), temperature=temperature) == 3).all()
    assert len(sample_tokens(logits.expand(2000, 4), temperature=1e300).unique()) == 4
    with pytest.raises(ValueError, match="-1"):
        sample_tokens(logits, temperature=-1)
    with pytest.raises(ValueError, match="top_k = 0"):
        sample_tokens(logits, top_k=0)


def test_rotation_depends_on_the_distance_only() -> None:
    key, query = torch.randn(2, 16, dtype=torch.float64)
    cos, sin = rotary_table(50, 16, dtype=torch.float64)
    spun, asked = (rotate_pairs(z.expand(50, 16), cos, sin) for z in (key, query))
    torch.testing.assert_close(spun.norm(dim=-1), key.norm().expand(50))
    scores = asked @ spun.mT
    for offset in (0, 1, 7):
        torch.testing.assert_close(scores.diagonal(-offset), scores[offset, 0].expand(50 - offset))


def test_rotation_is_exact_far_out() -> None:
    start = 10**6
    cos, _ = rotary_table(3, 8, start=start)
    exact = [[math.cos((start + t) * (2.0**16) ** (-2 * j / 8)) for j in range(4)] for t in range(3)]
    torch.testing.assert_close(cos, torch.tensor(exact), atol=1e-6, rtol=0)
    later, _ = rotary_table(5, 8, start=start - 2)
    assert torch.equal(later[2:], cos)


def test_attention_excludes_its_own_position() -> None:
    keys, values = torch.randn(2, 5, 4), torch.randn(2, 5, 3)
    read = linear_attention(keys, keys, values, form="quadratic", read="exclusive")[0]
    assert (read[:, 0] == 0).all()
    summed = sum(values[:, s] * (keys[:, s] * keys[:, 3]).sum(-1, keepdim=True) for s in range(3))
    torch.testing.assert_close(read[:, 3], summed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 0}, "n_layer = 0 must be a positive integer"),
        ({"n_embd": 2.5}, "n_embd = 2.5"),
        ({"vocab_size": -1}, "vocab_size = -1"),
        ({"n_head": True}, "n_head = True"),
        ({"dropout": 1.0}, "dropout = 1.0 must be in"),
        ({"dropout": float("nan")}, "dropout = nan"),
        ({"n_head": 3}, "32 neurons do not divide into n_head = 3"),
        ({"n_head": 32}, "with an even number each"),
        ({"factors": "grassmann"}, "factors = 'grassmann' is none of stiefel, euclidean"),
    ],
)
def test_bad_config(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STIEFEL, **change)  # type: ignore[arg-type]


def test_rank_above_size() -> None:
    with pytest.raises(ValueError, match="d = 4 exceeds n = 3"):
        LowRankFactor(3, 4)
