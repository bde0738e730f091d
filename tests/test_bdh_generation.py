"""BDH as it is used: generation, what it refuses, half precision, compilation."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from bdh_cases import CONFIG, EVERY, SYNAPSES, build, tokens
from torch import nn

from geowarp.nn import BDH, BDHConfig, Synapse, pad_left, sample_tokens


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(torch.tensor([3, 11])), "token 11 is outside the vocabulary of 11, 0 to 10"),
        (lambda m: m(torch.tensor([-1])), "token -1 is outside"),
        (lambda m: m(torch.ones(3)), "dtype torch.float32; give integers"),
        (lambda m: m(torch.tensor(3)), "no dimension"),
        (lambda m: m.generate(torch.tensor([12]), 1), "token 12 is outside"),
        (lambda m: m.generate(torch.tensor([1]), 1, top_p=1.5), r"top_p = 1.5 must be in \(0, 1\]"),
        (lambda m: m.stream(torch.tensor([1]), 1, top_p=0.0), r"top_p = 0.0 must be in"),
        (lambda m: m.generate(torch.tensor([1]), 1, top_k=0), "top_k = 0"),
        (lambda m: m.generate(torch.tensor([1]), 1, temperature=-0.1), "temperature = -0.1"),
        (lambda m: m.generate(torch.tensor([1]), 1, temperature=math.nan), "temperature = nan"),
        (lambda m: m(tokens(2, 3), mask=torch.ones(2, 3)), "it must be bool of the tokens' shape"),
        (lambda m: m(tokens(2), mask=torch.tensor([True, False])), "padding must be on the left"),
        (lambda m: m(tokens(2), m(tokens(2))[1], torch.tensor([False, True])), "has read 2 tokens"),
        (lambda m: m.generate(torch.tensor([1]), 1, stop_token=11), "stop_token = 11 is outside the vocab"),
        (lambda m: m.stream(torch.tensor([1]), 1, stop_token=-1), "stop_token = -1 is outside"),
        (lambda m: m.generate(tokens(2, 1), 1, mask=torch.tensor([[True], [False]])), "is all padding"),
        (lambda m: pad_left([]), "no sequences"),
        (lambda m: pad_left([tokens(2), tokens(1, 2)]), r"sequence 1 has shape \(1, 2\)"),
    ],
)
def test_bad_input(call: object, message: str) -> None:
    model = build()
    with pytest.raises(ValueError, match=message):
        call(model)  # type: ignore[operator]


def test_tokens_of_any_integer_dtype() -> None:
    model, batch = build(), tokens(2, 4)
    expected = model(batch)[0]
    for dtype in (torch.uint8, torch.int16, torch.uint16, torch.int32):
        assert torch.equal(model(batch.to(dtype))[0], expected)
        drawn = model.generate(batch.to(dtype), 3, temperature=0)
        assert torch.equal(drawn, model.generate(batch, 3, temperature=0))


def test_shapes_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = BDH(CONFIG)
        logits, state = model(torch.zeros(2, 5, dtype=torch.long), mask=torch.ones(2, 5, dtype=torch.bool))
    assert logits.shape == (2, 5, 11)
    assert state.synapses[0].is_meta


def test_unknown_generation_setting() -> None:
    with pytest.raises(TypeError, match="unknown setting 'topp'"):
        build().generate(tokens(2), 1, topp=0.5)  # type: ignore[call-overload]


@EVERY
def test_generation_equals_recomputation(synapse: str) -> None:
    model = build(synapse, dropout=0.5)
    prompt = tokens(3, 4)
    drawn = model.generate(prompt, 7, temperature=0)
    text = prompt
    for _ in range(7):
        text = torch.cat((text, model.eval()(text)[0][:, -1:].argmax(-1)), -1)
    assert torch.equal(drawn, text)
    assert torch.equal(torch.stack(list(model.train().stream(prompt, 7, temperature=0)), -1), drawn[:, 4:])
    assert model.training
    first, state = model.generate(prompt, 3, temperature=0, return_state=True)
    assert state.position == 7
    more = model.generate(drawn[:, 7:8], 3, temperature=0, state=state)
    assert torch.equal(more[:, 1:], drawn[:, 8:])
    torch.testing.assert_close(model.eval()(first)[1].synapses, state.synapses, atol=1e-12, rtol=1e-12)


def test_padded_prompts_generate_as_single_ones() -> None:
    model, texts = build(), [tokens(5), tokens(2)]
    batch, mask = pad_left(texts)
    drawn = model.generate(batch, 6, temperature=0, mask=mask)
    for row, text in zip(drawn, texts, strict=True):
        assert torch.equal(row[5:], model.generate(text, 6, temperature=0)[len(text) :])


def test_stop_token_ends_rows() -> None:
    model, prompt = build(), tokens(4, 3)
    free = model.generate(prompt, 12, temperature=0)[:, 3:]
    stop = int(free[0, 2])
    drawn = model.generate(prompt, 12, temperature=0, stop_token=stop)[:, 3:]
    for own, whole in zip(drawn, free, strict=True):
        ends = (whole == stop).nonzero()
        length = int(ends[0]) + 1 if len(ends) else len(whole)
        assert torch.equal(own[:length], whole[: min(length, len(own))])
        assert (own[length:] == stop).all()
    assert model.generate(prompt[0], 12, temperature=0, stop_token=stop).shape == (
        3 + int((free[0] == stop).nonzero()[0]) + 1,
    )


def test_streaming_leaves_the_model_alone_between_tokens() -> None:
    model = build(dropout=0.5)
    for _ in itertools.islice(model.stream(tokens(3), 5), 3):
        assert torch.is_grad_enabled()
        assert model.training
    assert model(tokens(3))[0].requires_grad


def test_top_p_keeps_the_fewest_likeliest() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    for top_p, kept in [(0.4, {1}), (0.5, {1}), (0.51, {1, 3}), (0.9, {1, 2, 3}), (1.0, {0, 1, 2, 3})]:
        drawn = sample_tokens(logits.expand(4000, 4), top_p=top_p)
        assert set(drawn.tolist()) == kept
        share = drawn.bincount(minlength=4) / 4000
        exact = torch.tensor([p if i in kept else 0.0 for i, p in enumerate(logits.exp().tolist())])
        torch.testing.assert_close(share, exact / exact.sum(), atol=0.04, rtol=0)
    assert set(sample_tokens(logits.expand(2000, 4), top_k=3, top_p=0.9).tolist()) == {1, 2, 3}


def at_the_official_width(dtype: torch.dtype, n_layer: int, length: int) -> float:
    """Return the relative error of the logits under autocast."""
    model = BDH(BDHConfig(n_layer=n_layer, factors="euclidean", dropout=0.0))
    batch = torch.randint(256, (1, length))
    with torch.no_grad():
        exact = model(batch)[0]
        with torch.autocast("cpu", dtype=dtype):
            logits, state = model(batch)
    assert logits.isfinite().all()
    assert all(s.dtype == torch.float32 and s.isfinite().all() for s in state.synapses)
    return float((logits.float() - exact).norm() / exact.norm())


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.02), (torch.bfloat16, 0.15)])
def test_half_precision_at_the_official_size(dtype: torch.dtype, bound: float) -> None:
    assert at_the_official_width(dtype, 6, 512) < bound


def test_half_precision_at_the_official_width() -> None:
    assert at_the_official_width(torch.bfloat16, 1, 16) < 0.05
    keys, v = torch.randn(4, 400, 8192).relu().half(), torch.randn(400, 64).abs().add(1).half()
    synapse = Synapse(BDHConfig(n_embd=64, synapse="hebbian"))
    with torch.autocast("cpu", dtype=torch.float16):
        read, state = synapse(keys, v)
    assert read.isfinite().all()
    assert read.abs().max() > torch.finfo(torch.float16).max  # what half precision could not hold
    assert read.dtype == state.dtype == torch.float32


def test_gradients_in_half_precision() -> None:
    for synapse in SYNAPSES:
        model = build(synapse).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(tokens(2, 9))[0].flatten(0, 1), tokens(18))
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        batch, mask = pad_left([tokens(5), tokens(0), tokens(1)])
        with torch.autocast("cpu", dtype=torch.float16):  # keys of padding are zero
            logits = model(batch, mask=mask)[0]
        model.zero_grad()
        logits.float().square()[mask].mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        half = build(synapse, factors="euclidean").bfloat16()
        logits, state = half(tokens(2, 9))
        assert logits.dtype == torch.bfloat16
        assert state.synapses[0].dtype == torch.float32


@pytest.mark.parametrize("synapse", ["hebbian", "gated_delta"])
def test_compiles_in_one_graph(synapse: str) -> None:
    torch.compiler.reset()
    model, batch = build(synapse, n_layer=1), tokens(2, 5)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    state = model(batch)[1].detach()
    torch.testing.assert_close(compiled(batch, state)[0], model(batch, state)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synapse": "currency"}, "synapse = 'currency' is none of hebbian, decay, delta, gated_delta"),
        ({"decay": "fast"}, "decay = 'fast' is none of"),
        ({"residual": "x"}, "residual = 'x' is none of d, n"),
        ({"segment_length": 0}, "segment_length = 0 must be a positive integer"),
        ({"rotary_widths": (8, 4)}, r"rotary_widths = \(8, 4\) must be even, positive and add up to the 16"),
        ({"rotary_widths": (13, 3)}, "must be even"),
    ],
)
def test_bad_config(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"synapse": "delta"}, {"residual": "n"}, {"rotary_widths": (8, 8)}])
def test_what_the_official_model_cannot_compute_is_not_exported(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is not what the official model computes"):
        BDH(replace(CONFIG, **change)).official_state_dict()  # type: ignore[arg-type]
