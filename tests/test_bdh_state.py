"""BDH as a recurrent model: every synapse against a plain loop, states, segments and padding."""

import io
import itertools
import math
from dataclasses import replace

import pytest
import torch
from bdh_cases import CONFIG, EVERY, SYNAPSES, build, tokens
from torch import Tensor

from geowarp.nn import BDH, BDHState, Decay, Synapse, pad_left


def norm(z: Tensor) -> Tensor:
    centred = z - z.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def turn(key: Tensor, position: int) -> Tensor:
    angles = [position * (2.0**16) ** (-2 * j / len(key)) for j in range(len(key) // 2)]
    pairs = [
        [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in angles
    ]  # one rotation per pair
    return torch.block_diag(*(torch.tensor(p, dtype=key.dtype) for p in pairs)) @ key  # type: ignore[no-any-return]


def loop(model: BDH, sequence: Tensor) -> Tensor:
    """Return the logits of one sequence, one position and one head at a time, from states of its own."""
    config, synapse = model.config, model.synapse
    heads, width = config.n_head, config.neurons_per_head
    rows = [
        f.effective().unflatten(0, (heads, width)) for f in (model.decoder_x, model.decoder_y, model.encoder)
    ]
    empty = torch.zeros(width, config.n_embd, dtype=torch.float64)
    state = dict.fromkeys(itertools.product(range(config.n_layer), range(heads)), empty)
    beta = None if synapse.strength is None else 1 / (1 + (-synapse.strength).exp())
    logits = []
    for position, token in enumerate(sequence):
        v, carried = norm(model.embed.weight[token]), torch.zeros(heads, width, dtype=torch.float64)
        for layer in range(config.n_layer):
            out, carried_next = torch.zeros_like(v), []
            for h in range(heads):
                x = (rows[0][h] @ v).clamp_min(0) + (carried[h] if config.residual == "n" else 0)
                key = x if beta is None else x / (x.square().sum() + 1e-6).sqrt()
                key = turn(key, position)
                decay = torch.ones((), dtype=torch.float64)
                if synapse.decay is not None:
                    logit = synapse.decay.logit[h]
                    if synapse.decay.weight is not None:
                        logit = logit + synapse.decay.weight[h].dot(v)
                    decay = 1 / (1 + (-logit).exp())
                read = decay * (key @ state[layer, h])
                written = v if beta is None else beta[h] * (v - read)
                state[layer, h] = decay * state[layer, h] + key.outer(written)
                out = out + (x * (rows[1][h] @ norm(read)).clamp_min(0)) @ rows[2][h]
                carried_next.append(x)
            v = norm(out) if config.residual == "n" else norm(v + norm(out))
            carried = torch.stack(carried_next)
        logits.append(v @ model.lm_head)
    return torch.stack(logits)


@EVERY
@pytest.mark.parametrize("residual", ["d", "n"])
def test_logits_and_gradients_equal_a_loop(synapse: str, residual: str) -> None:
    for decay in ("constant", "learned", "input") if synapse in ("decay", "gated_delta") else ("learned",):
        model, sequence = build(synapse, residual=residual, decay=decay, n_layer=2), tokens(6)
        torch.testing.assert_close(model(sequence)[0], loop(model, sequence), atol=1e-12, rtol=1e-12)
        weight = torch.randn(6, 11, dtype=torch.float64)
        parameters = list(model.parameters())
        ours = torch.autograd.grad((model(sequence)[0] * weight).sum(), parameters)
        theirs = torch.autograd.grad((loop(model, sequence) * weight).sum(), parameters)
        for own, expected in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, expected, atol=1e-10, rtol=1e-9)


@EVERY
@pytest.mark.parametrize("residual", ["d", "n"])
def test_parts_segments_and_steps_equal_the_whole(synapse: str, residual: str) -> None:
    model, batch = build(synapse, residual=residual), tokens(2, 13)
    logits, end = model(batch)
    for cuts in ([5, 8], [1, 11, 1], [0, 13]):
        state, parts = None, []
        for part in batch.split(cuts, dim=-1):
            piece, state = model(part, state)
            parts.append(piece)
        check(torch.cat(parts, -2), state, logits, end)
    state, parts = model.initial_state(2), []
    for column in batch.mT:
        piece, state = model.step(column, state)
        parts.append(piece)
    check(torch.stack(parts, -2), state, logits, end)
    for length in (1, 4, 13, 20):
        short = build(synapse, residual=residual, segment_length=length)
        short.load_state_dict(model.state_dict())
        whole, final = short(batch)
        check(whole, final, logits, end)


def check(logits: Tensor, state: BDHState | None, expected: Tensor, end: BDHState) -> None:
    assert state is not None
    assert state.position == end.position
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state.synapses, end.synapses, atol=1e-12, rtol=1e-12)


@EVERY
def test_gradients_of_checkpointed_segments_equal_those_of_the_whole(synapse: str) -> None:
    batch, grads = tokens(2, 11), []
    whole, noise = build(synapse, residual="n"), torch.randn(2, 2, 16, 8, dtype=torch.float64)
    for changes in ({"checkpoint": False}, {"checkpoint": True}, {"segment_length": 4}):
        model = build(synapse, residual="n", **changes)
        model.load_state_dict(whole.state_dict())
        start = [
            torch.full_like(s, 0.5).add_(noise).requires_grad_() for s in whole.initial_state(2).synapses
        ]
        logits, state = model(batch, BDHState(tuple(start), 3))
        loss = logits.square().sum() + sum(s.square().sum() for s in state.synapses)
        grads.append(torch.autograd.grad(loss, [*model.parameters(), *start]))
    for other in grads[1:]:
        for own, expected in zip(other, grads[0], strict=True):
            torch.testing.assert_close(own, expected, atol=1e-9, rtol=1e-9)


def test_checkpointed_dropout_draws_once() -> None:
    batch, grads = tokens(2, 9), []
    whole = build(dropout=0.5)
    for saves in (False, True):
        model = build(dropout=0.5, checkpoint=saves)
        model.load_state_dict(whole.state_dict())
        torch.manual_seed(3)
        grads.append(torch.autograd.grad(model(batch)[0].square().sum(), list(model.parameters())))
    torch.testing.assert_close(*grads)


def saved_bytes(model: BDH, length: int) -> int:
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = model(tokens(length))
    del result
    return sum(kept.values())


@EVERY
def test_training_keeps_no_activations_of_neurons_of_a_long_input(synapse: str) -> None:
    config = replace(CONFIG, n_layer=2, mlp_internal_dim_multiplier=64, synapse=synapse, segment_length=32)
    model = BDH(config)
    short, long = saved_bytes(model, 64), saved_bytes(model, 256)
    neurons = 4 * config.n_neurons * config.n_layer  # bytes of one activation of each neuron at one position
    state = 4 * config.n_neurons * config.n_embd * config.n_layer
    assert (long - short) / 192 < 0.9 * (state / 32 + neurons), "more than a state per segment is kept"
    whole = BDH(replace(config, segment_length=256))
    assert saved_bytes(whole, 256) > 2 * long


@EVERY
def test_padding_on_the_left_changes_nothing(synapse: str) -> None:
    for residual in ("d", "n"):
        model = build(synapse, residual=residual, segment_length=5)
        texts = [tokens(7), tokens(3), tokens(12)]
        batch, mask = pad_left(texts, pad_token=4)
        logits, state = model(batch, mask=mask)
        for row, text in enumerate(texts):
            alone = model(text)[0]
            torch.testing.assert_close(logits[row, -len(text) :], alone, atol=1e-12, rtol=1e-12)
        after, _ = model(batch[:, :2], state)
        for row, text in enumerate(texts):
            torch.testing.assert_close(
                after[row], model(batch[row, :2], model(text)[1])[0], atol=1e-12, rtol=1e-12
            )


@EVERY
def test_far_positions_read_as_near_ones(synapse: str) -> None:
    model, batch = build(synapse), tokens(2, 9)
    near = model(batch)[0]
    far = model(batch, replace(model.initial_state(2), position=10**6))[0]
    torch.testing.assert_close(far, near, atol=1e-8, rtol=1e-8)
    single = model.float()
    far32 = single(batch, replace(single.initial_state(2), position=10**6))[0]
    torch.testing.assert_close(far32, near.float(), atol=1e-4, rtol=1e-3)


@EVERY
def test_state_is_saved_and_continued(synapse: str) -> None:
    model, batch = build(synapse), tokens(2, 6)
    _, state = model(batch)
    file = io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    loaded = BDHState.from_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(model(batch, loaded)[0], model(batch, state)[0], atol=0, rtol=0)
    assert all(tensor.is_contiguous() for tensor in state.state_dict().values())  # safetensors wants that
    assert not any(s.requires_grad for s in state.detach().synapses)
    assert state.to(dtype=torch.float32).synapses[0].dtype == torch.float32


def test_states_of_other_models_are_refused() -> None:
    model, batch = build(), tokens(2, 3)
    with pytest.raises(ValueError, match=r"layer 0 have shape \(3, 2, 16, 8\), not \(2, 2, 16, 8\)"):
        model(batch, model.initial_state(3))
    with pytest.raises(ValueError, match="it has 1 layers, the model 3"):
        model(batch, build(n_layer=1).initial_state(2))
    with pytest.raises(ValueError, match="layer 0 have shape"):
        model.step(batch[:, 0], build(mlp_internal_dim_multiplier=8).initial_state(2))
    entries = model.initial_state(2).state_dict()
    with pytest.raises(ValueError, match=r"'synapses\.0' is missing or unknown"):
        BDHState.from_state_dict({"position": entries["position"], "synapses.3": entries["synapses.0"]})


def test_decay() -> None:
    v = torch.randn(5, 7, 8)
    for kind, learned in (("constant", 0), ("learned", 1), ("input", 2)):
        decay = Decay(4, 8, kind)
        assert len(list(decay.parameters())) == learned
        assert "logit" in decay.state_dict()
        factors = 1 - decay(v).exp().expand(4, 5, 7)[:, 0, 0]
        torch.testing.assert_close(
            factors, torch.tensor([2.0**-3, 2.0**-5, 2.0**-7, 2.0**-9]), atol=1e-6, rtol=0
        )
    assert (decay(v) < 0).all()
    with torch.no_grad():
        decay.logit.fill_(-1e4)
    assert decay(v).isfinite().all()


def test_synapse_modes_have_their_parameters() -> None:
    names = {
        mode: {n for n, _ in Synapse(replace(CONFIG, synapse=mode)).named_parameters()} for mode in SYNAPSES
    }
    assert names == {
        "hebbian": set(),
        "decay": {"decay.logit"},
        "delta": {"strength"},
        "gated_delta": {"decay.logit", "strength"},
    }
