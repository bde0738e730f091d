"""Decoding in place, with all rows or those of active neurons, against the model's forward pass."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from bdh_cases import EVERY, randomise, tokens
from torch import Tensor

from geowarp.nn import BDH, BDHConfig, BDHState, Decoder, decoding, unit_keys
from geowarp.nn.synapse_memory import Gates, Layout, SynapseMemory

CONFIG = BDHConfig(n_layer=3, n_embd=8, dropout=0.1, n_head=2, mlp_internal_dim_multiplier=8, vocab_size=11)
WAYS = pytest.mark.parametrize("sparse", [False, True, None], ids=["dense", "sparse", "auto"])


@pytest.fixture(autouse=True)
def _auto_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the choice depend on the number of active rows alone, at shares that occur in small models."""
    monkeypatch.setattr(decoding, "_OVERHEAD", 0)
    monkeypatch.setattr(decoding, "_PAIRS", 0.75)
    monkeypatch.setattr(decoding, "_NEURONS", 0.5)
    monkeypatch.setattr(decoding, "_NEURONS_OF_SEVERAL", 0.5)


def build(synapse: str = "gated_delta", dtype: torch.dtype = torch.float64, **changes: object) -> BDH:
    model = BDH(replace(CONFIG, synapse=synapse, **changes)).to(dtype).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(model.embed.weight)
    return randomise(model)


def decode(decoder: Decoder, text: Tensor) -> Tensor:
    return torch.stack([decoder.step(column) for column in text.unbind(-1)], -2)


def check_state(state: BDHState, expected: BDHState, tolerance: float = 1e-12) -> None:
    assert state.position == expected.position
    for own, other in zip(state.synapses, expected.synapses, strict=True):
        torch.testing.assert_close(own, other, atol=tolerance, rtol=tolerance)


@EVERY
@WAYS
@pytest.mark.parametrize("residual", ["d", "n"])
@pytest.mark.parametrize("factors", ["stiefel", "euclidean"])
def test_logits_and_state_equal_the_forward_pass(
    synapse: str, sparse: bool | None, residual: str, factors: str
) -> None:
    for decay in ("constant", "learned", "input") if synapse in ("decay", "gated_delta") else ("learned",):
        model = build(synapse, residual=residual, factors=factors, decay=decay, rotary_widths=(12, 20))
        for batch in ((), (2, 2)):
            text = tokens(*batch, 6)
            logits, state = model(text)
            decoder = Decoder(model, model.initial_state(*batch), sparse)
            torch.testing.assert_close(decode(decoder, text), logits, atol=1e-12, rtol=1e-12)
            check_state(decoder.state(), state)


@EVERY
@WAYS
def test_single_precision(synapse: str, sparse: bool | None) -> None:
    model, text = build(synapse, torch.float32), tokens(2, 12)
    logits, state = model(text)
    decoder = Decoder(model, model.initial_state(2), sparse)
    torch.testing.assert_close(decode(decoder, text), logits, atol=1e-5, rtol=1e-5)
    check_state(decoder.state(), state, 1e-4)


@EVERY
@WAYS
def test_continuing_from_a_prefix_and_from_the_state(synapse: str, sparse: bool | None) -> None:
    model, text = build(synapse), tokens(2, 12)
    logits, end = model(text)
    _, begun = model(text[:, :5])
    before = [s.detach().clone() for s in begun.synapses]
    decoder = Decoder(model, begun, sparse)
    torch.testing.assert_close(decode(decoder, text[:, 5:9]), logits[:, 5:9], atol=1e-12, rtol=1e-12)
    state = decoder.state()
    kept = [s.clone() for s in state.synapses]
    torch.testing.assert_close(decode(decoder, text[:, 9:]), logits[:, 9:], atol=1e-12, rtol=1e-12)
    check_state(decoder.state(), end)
    assert all(torch.equal(a, b) for a, b in zip(begun.synapses, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state.synapses, kept, strict=True))
    rest, final = model(text[:, 9:], state)
    torch.testing.assert_close(rest, logits[:, 9:], atol=1e-12, rtol=1e-12)
    check_state(final, end)


@WAYS
def test_a_batch_equals_its_texts(sparse: bool | None) -> None:
    model, texts = build(), tokens(5, 8)
    together = decode(Decoder(model, model.initial_state(5), sparse), texts)
    for text, logits in zip(texts, together, strict=True):
        alone = decode(Decoder(model, model.initial_state(), sparse), text)
        torch.testing.assert_close(alone, logits, atol=1e-12, rtol=1e-12)


@EVERY
@WAYS
def test_generation_equals_recomputation_of_the_prefix(synapse: str, sparse: bool | None) -> None:
    model, prompt = build(synapse).train(), tokens(3, 4)
    text, state = model.generate(prompt, 15, temperature=0, sparse=sparse, return_state=True)
    assert model.training
    model.eval()
    expected = prompt
    for _ in range(15):
        following = model(expected)[0][:, -1].argmax(-1)
        expected = torch.cat((expected, following.unsqueeze(-1)), -1)
    assert torch.equal(text, expected)
    check_state(state, model(expected)[1])


@EVERY
@WAYS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_only_relative_positions_matter(
    synapse: str, sparse: bool | None, dtype: torch.dtype, tolerance: float
) -> None:
    model, text = build(synapse, dtype), tokens(2, 10)
    near, far = model.initial_state(2), replace(model.initial_state(2), position=10**6)
    logits, shifted = (decode(Decoder(model, state, sparse), text) for state in (near, far))
    torch.testing.assert_close(shifted, logits, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("synapse", ["decay", "gated_delta"])
@WAYS
def test_decay_so_strong_that_rows_vanish(synapse: str, sparse: bool | None) -> None:
    model, text = build(synapse), tokens(2, 10)
    assert model.synapse.decay is not None
    for logit in (-40.0, -1e4):
        with torch.no_grad():
            model.synapse.decay.logit.copy_(torch.tensor([logit, 2.0]))
        logits, state = model(text)
        decoder = Decoder(model, model.initial_state(2), sparse)
        torch.testing.assert_close(decode(decoder, text), logits, atol=1e-12, rtol=1e-12)
        check_state(decoder.state(), state)


@EVERY
def test_memory_with_all_and_active_rows_in_turn(synapse: str) -> None:
    """The lazy decay is settled by either; the synapses are changed in place."""
    groups, width, d = 3, 10, 4
    layout = Layout.of(groups, width, torch.device("cpu"))
    state = torch.randn(groups, width, d, dtype=torch.float64)
    memory = SynapseMemory(state, layout, state.dtype, "decay" in synapse or "gated" in synapse)
    place = memory.settled().data_ptr()
    for step in range(40):
        active = torch.rand(groups, width // 2) < 0.3
        keys = torch.randn(groups, width, dtype=state.dtype) * active.repeat_interleave(2, -1)
        keys = unit_keys(keys) if synapse.endswith("delta") else keys
        values = torch.randn(groups, d, dtype=state.dtype)
        decays = synapse in ("decay", "gated_delta")
        log_decay = -3 * torch.rand(groups, dtype=state.dtype) if decays else None
        strength = torch.rand(groups, dtype=state.dtype) if synapse.endswith("delta") else None
        gates = Gates(log_decay, strength)
        if log_decay is not None:
            state = log_decay.exp()[:, None, None] * state
        expected = torch.einsum("gn,gnd->gd", keys, state)
        written = values if strength is None else strength[:, None] * (values - expected)
        state = state + torch.einsum("gn,gd->gnd", keys, written)
        pairs = active.flatten().nonzero().squeeze(1)
        sparse = step % 3 > 0
        read = (
            memory.update_pairs(pairs, keys, values, gates) if sparse else memory.update(keys, values, gates)
        )
        torch.testing.assert_close(read, expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(memory.settled(), state, atol=1e-12, rtol=1e-12)
    assert memory.settled().data_ptr() == place


@EVERY
def test_sparse_decoding_touches_active_rows_only(synapse: str) -> None:
    model, text = build(synapse, n_layer=1), tokens(6)
    _, state = model(text[:-1])
    (layer,) = model.activations(text[-1:], state)
    logits, end = model.step(text[-1], state)
    x, y = layer.x.squeeze(-2) > 0, layer.y.squeeze(-2) > 0
    pairs = x.unflatten(-1, (-1, 2)).any(-1).repeat_interleave(2, -1)
    for active in (x, y, pairs):
        assert 0 < active.sum() < active.numel()
    poisoned = state.synapses[0].detach().clone()
    poisoned[~pairs] = torch.nan
    with torch.no_grad():
        model.decoder_y.weight.data[~x.flatten()] = torch.nan
        model.encoder.weight.data[~y.flatten()] = torch.nan
    poison = BDHState((poisoned,), state.position)
    assert Decoder(model, poison, sparse=False).step(text[-1]).isnan().any()
    decoder = Decoder(model, poison, sparse=True)
    torch.testing.assert_close(decoder.step(text[-1]), logits.detach(), atol=1e-12, rtol=1e-12)
    after = decoder.state().synapses[0]
    torch.testing.assert_close(after[pairs], end.synapses[0][pairs].detach(), atol=1e-12, rtol=1e-12)
    assert after[~pairs].isnan().all()


@pytest.mark.parametrize(("share", "expected"), [(0.0, "update"), (1.0, "update_pairs")])
def test_the_number_of_active_rows_decides(
    share: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_PAIRS", share)
    called = []

    def noting(name: str, method: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def noted(*arguments: Any) -> Tensor:
            called.append(name)
            return method(*arguments)

        return noted

    for name in ("update", "update_pairs"):
        monkeypatch.setattr(SynapseMemory, name, noting(name, getattr(SynapseMemory, name)))
    model = build()
    Decoder(model, model.initial_state()).step(torch.tensor(3))
    assert called == [expected] * CONFIG.n_layer


def test_a_silent_layer() -> None:
    """No neuron is active: nothing is read and nothing is written."""
    model, text = build(), tokens(2, 5)
    with torch.no_grad():
        model.decoder_x.weight.data.zero_()
    for sparse in (False, True, None):
        decoder = Decoder(model, model.initial_state(2), sparse)
        torch.testing.assert_close(decode(decoder, text), model(text)[0].detach(), atol=1e-12, rtol=1e-12)
        assert all(not s.any() for s in decoder.state().synapses)


@WAYS
def test_no_texts(sparse: bool | None) -> None:
    model = build()
    decoder = Decoder(model, model.initial_state(0), sparse)
    assert decoder.step(tokens(0)).shape == (0, 11)
    assert decoder.state().synapses[0].shape == (0, 2, 32, 8)


@WAYS
def test_parameters_that_change_are_seen(sparse: bool | None) -> None:
    model, text = build(), tokens(2, 6)
    decoder = Decoder(model, model.initial_state(2), sparse)
    decode(decoder, text)
    state = decoder.state()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    expected = model(text, state)[0]
    torch.testing.assert_close(decode(decoder, text), expected, atol=1e-12, rtol=1e-12)


@WAYS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 5e-2), (torch.float16, 5e-3)])
def test_half_precision(sparse: bool | None, dtype: torch.dtype, tolerance: float) -> None:
    model, text = build(dtype=dtype), tokens(2, 6)
    exact = copy.deepcopy(model).float()
    expected = decode(Decoder(exact, exact.initial_state(2), False), text)
    decoder = Decoder(model, model.initial_state(2), sparse)
    logits = decode(decoder, text)
    assert logits.dtype == dtype
    assert decoder.state().synapses[0].dtype == torch.float32
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits.float(), expected, atol=tolerance * scale, rtol=0)


@WAYS
def test_autocast_changes_nothing(sparse: bool | None) -> None:
    model, text = build(dtype=torch.float32), tokens(2, 6)
    expected = decode(Decoder(model, model.initial_state(2), sparse), text)
    with torch.autocast("cpu", torch.bfloat16):
        logits = decode(Decoder(model, model.initial_state(2), sparse), text)
    assert torch.equal(logits, expected)
    assert not logits.requires_grad


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_tokens_of_any_integer_dtype(dtype: torch.dtype) -> None:
    model, text = build(), tokens(2, 3)
    expected = model(text)[0]
    found = decode(Decoder(model, model.initial_state(2)), text.to(dtype))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def test_errors() -> None:
    model = build()
    decoder = Decoder(model, model.initial_state(2))
    with pytest.raises(ValueError, match=r"shape \(3,\), the state is of texts \(2,\); give one token"):
        decoder.step(tokens(3))
    with pytest.raises(ValueError, match="token 11 is outside the vocabulary"):
        decoder.step(torch.tensor([1, 11]))
    with pytest.raises(ValueError, match="2 layers, the model 3"):
        Decoder(model, build(n_layer=2).initial_state())
    with pytest.raises(ValueError, match=r"have shape \(4, 16, 8\)"):
        Decoder(model, build(n_head=4).initial_state())
    assert decoder.state().position == 0
