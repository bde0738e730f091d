"""Three forms of attention against each other, against closed forms and against finite differences."""

from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from attention_cases import (
    DECAYS,
    KEYS,
    LENGTH,
    READS,
    VALUES,
    Inputs,
    Outcome,
    assert_same,
    attention,
    cases,
    draw,
    gradients,
    part,
    tensors,
)
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from geowarp.errors import UnavailableError
from geowarp.nn import delta_attention, linear_attention, unit_keys

RULES = pytest.mark.parametrize("rule", ["hebbian", "delta"])


@RULES
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_forms_agree(rule: str, dtype: torch.dtype, tolerance: float) -> None:
    for decay, state, read, same in cases():
        inputs = draw(rule, decay, state=state, dtype=dtype)
        options: dict[str, Any] = {"read": read, "same": same}
        expected = attention(inputs, form="recurrent", **options)
        assert expected[0].shape == (2, 3, LENGTH, VALUES)
        assert expected[1].shape == (2, 3, KEYS, VALUES)
        assert_same(attention(inputs, form="quadratic", **options), expected, tolerance)
        for chunk in (1, 7, 16, 64, LENGTH, None):
            assert_same(attention(inputs, chunk=chunk, **options), expected, tolerance)


@RULES
def test_recurrent_form_is_the_definition(rule: str) -> None:
    for read in READS:
        inputs = draw(rule, length=6)
        outputs, last = attention(inputs, form="recurrent", read=read)
        beta = inputs["beta"]
        q, k, v, log_decay, state = (tensors(inputs)[n] for n in ("q", "k", "v", "log_decay", "state"))
        for batch, head in product(range(2), range(3)):
            memory = state[head]
            for t in range(6):
                key, value = k[batch, head, t], v[batch, 0, t]
                memory = log_decay[batch, head, t].exp() * memory
                before = q[batch, head, t] @ memory
                if beta is not None:
                    value = beta[batch, head, t] * (value - key @ memory)
                memory = memory + torch.outer(key, value)
                after = q[batch, head, t] @ memory
                assert_same(outputs[batch, head, t], before if read == "exclusive" else after, 1e-13)
            assert_same(last[batch, head], memory, 1e-13)


@RULES
def test_two_calls_equal_one(rule: str) -> None:
    for decay, read, form in product(DECAYS, READS, ("quadratic", "chunked", "recurrent")):
        inputs = draw(rule, decay)
        options: dict[str, Any] = {"read": read, "form": form, "chunk": 8, "same": read == "exclusive"}
        whole, last = attention(inputs, **options)
        first, state = attention(part(inputs, slice(None, 13), inputs["state"]), **options)
        second, final = attention(part(inputs, slice(13, None), state), **options)
        assert_same(torch.cat((first, second), dim=-2), whole, 1e-12)
        assert_same(final, last, 1e-12)


@RULES
def test_gradients_equal_those_of_the_recurrence(rule: str) -> None:
    for decay, state, read, same in cases():
        inputs = draw(rule, decay, length=11, state=state)
        options: dict[str, Any] = {"read": read, "same": same}
        expected = gradients(inputs, form="recurrent", **options)
        for chunk in (1, 4, 11):
            assert_same(gradients(inputs, chunk=chunk, **options), expected, 1e-12)
        assert_same(gradients(inputs, form="quadratic", **options), expected, 1e-12)


@RULES
def test_gradients_in_float32(rule: str) -> None:
    inputs = draw(rule, length=50)
    exact = gradients(inputs, chunk=16)
    single = gradients({name: None if t is None else t.float() for name, t in inputs.items()}, chunk=16)
    for actual, expected in zip(single, exact, strict=True):
        assert actual.dtype == torch.float32
        assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


@RULES
def test_gradient_of_output_or_state_alone(rule: str) -> None:
    inputs = draw(rule, length=9)
    output, state = attention(inputs)
    for first, second in ((1, 0), (0, 1)):
        weights = (first * torch.ones_like(output), second * torch.ones_like(state))
        expected = gradients(inputs, weights=weights, form="recurrent")
        leaves = {name: None if t is None else t.detach().requires_grad_() for name, t in inputs.items()}
        attention(leaves, chunk=4)[1 - first].sum().backward()
        actual = [tensor.grad for tensor in leaves.values() if tensor is not None]
        for gradient, wanted in zip(actual, expected, strict=True):
            assert_same(torch.zeros_like(wanted) if gradient is None else gradient, wanted, 1e-12)


@RULES
def test_gradcheck(rule: str) -> None:
    for read, same in product(READS, (True, False)):
        given = tensors(draw(rule, length=5))
        given.update({name: given[name][:, :1] for name in "qk"})

        def function(*leaves: Tensor, names: tuple[str, ...] = tuple(given), **options: Any) -> Outcome:
            return attention(dict(zip(names, leaves, strict=True)), chunk=2, **options)

        leaves = [tensor.clone().requires_grad_() for tensor in given.values()]
        assert torch.autograd.gradcheck(partial(function, read=read, same=same), leaves, fast_mode=True)


@RULES
def test_each_input_alone_may_want_a_gradient(rule: str) -> None:
    for read, same in product(READS, (True, False)):
        inputs = draw(rule, length=9)
        every = dict(zip(tensors(inputs), gradients(inputs, same=same, read=read), strict=True))
        weights = tuple(torch.as_tensor(x) for x in attention(inputs, same=same, read=read))
        for name, expected in every.items():
            if same and name == "q":
                continue
            tensor = inputs[name]
            assert tensor is not None
            leaf = tensor.detach().requires_grad_()
            output, state = attention({**inputs, name: leaf}, same=same, read=read, chunk=4)
            total = (output * weights[0].cos()).sum() + (state * weights[1].sin()).sum()
            assert_same(torch.autograd.grad(total, leaf)[0], expected, 1e-12)


@RULES
def test_queries_that_are_the_keys_equal_a_copy(rule: str) -> None:
    for read in READS:
        inputs = draw(rule, length=20)
        k = inputs["k"]
        assert k is not None
        inputs["q"] = k.clone()
        assert_same(
            attention(inputs, same=True, read=read, chunk=6), attention(inputs, read=read, chunk=6), 1e-13
        )
        of_q, of_k, *rest = gradients(inputs, read=read, chunk=6)
        zero, together, *others = gradients(inputs, same=True, read=read, chunk=6)
        assert (zero == 0).all()
        assert_same([together, *others], [of_q + of_k, *rest], 1e-12)


@RULES
def test_log_decay_of_zero_is_no_decay(rule: str) -> None:
    inputs = draw(rule, "none", length=20)
    for form in ("quadratic", "chunked", "recurrent"):
        zeros = {**inputs, "log_decay": torch.zeros((), dtype=torch.float64)}
        assert_same(attention(zeros, form=form, chunk=6), attention(inputs, form=form, chunk=6), 1e-13)


@RULES
def test_log_decay_that_forgets_everything(rule: str) -> None:
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        inputs = draw(rule, length=20, dtype=dtype)
        log_decay = inputs["log_decay"]
        assert log_decay is not None
        log_decay[..., 9] = -1e4
        for form in ("quadratic", "chunked"):
            after = attention(part(inputs, slice(9, None), None), form=form)
            output, state = attention(inputs, form=form, chunk=6)
            assert_same((output[..., 9:, :], state), after, tolerance)
            found = gradients(inputs, form=form, chunk=6)
            assert_same(found, gradients(inputs, form="recurrent"), 20 * tolerance)
            assert found[-2][..., 9].abs().max() < 20 * tolerance


@RULES
def test_log_decay_of_minus_infinity(rule: str) -> None:
    for strong in (-1e4, -1e12, -torch.inf):
        inputs = draw(rule, length=20)
        log_decay = inputs["log_decay"]
        assert log_decay is not None
        log_decay[0, :, 3::5] = log_decay[1, 1, 9] = strong
        for read in READS:
            expected = attention(inputs, form="recurrent", read=read)
            slopes = gradients(inputs, form="recurrent", read=read)
            for form in ("quadratic", "chunked"):
                assert_same(attention(inputs, form=form, read=read, chunk=6), expected, 1e-12)
                assert_same(gradients(inputs, form=form, read=read, chunk=6), slopes, 1e-11)


@RULES
def test_constant_log_decay_of_minus_ten_thousand(rule: str) -> None:
    inputs = {**draw(rule, "none", length=20), "log_decay": torch.tensor(-1e4, dtype=torch.float64)}
    given = tensors(inputs)
    own = given["v"] * (given["q"] * given["k"]).sum(-1, keepdim=True)
    own = own * given["beta"][..., None] if rule == "delta" else own
    for form in ("quadratic", "chunked", "recurrent"):
        assert_same(attention(inputs, form=form, chunk=6)[0], own, 1e-13)
        assert (attention(inputs, form=form, chunk=6, read="exclusive")[0] == 0).all()
        assert all(gradient.isfinite().all() for gradient in gradients(inputs, form=form, chunk=6))


@RULES
def test_zero_keys(rule: str) -> None:
    inputs = draw(rule, "none", length=12)
    inputs["k"] = torch.zeros(2, 3, 12, KEYS, dtype=torch.float64)
    state = inputs["state"]
    assert state is not None
    for form in ("quadratic", "chunked", "recurrent"):
        output, last = attention(inputs, form=form, chunk=5)
        assert torch.equal(last, state.expand_as(last))
        assert_same(output, tensors(inputs)["q"] @ state, 1e-13)
        assert all(gradient.isfinite().all() for gradient in gradients(inputs, form=form, chunk=5))


def test_unit_keys() -> None:
    k = torch.randn(7, 3, dtype=torch.float64)
    k[2] = 0
    k.requires_grad_()
    unit = unit_keys(k, eps=0.01)
    assert_same(unit, k / (k.square().sum(-1, keepdim=True) + 0.01).sqrt(), 1e-15)
    (gradient,) = torch.autograd.grad(unit[2, 0], k)
    assert_same(gradient[2], torch.tensor([10.0, 0, 0], dtype=torch.float64), 1e-12)
    assert unit_keys(torch.zeros(0, 3)).shape == (0, 3)
    assert torch.autograd.gradcheck(unit_keys, k.requires_grad_())
    assert torch.autograd.gradgradcheck(unit_keys, k)


def test_unit_keys_in_float16() -> None:
    large = torch.full((4,), 300.0, dtype=torch.float16)  # its squares are out of range
    assert torch.equal(unit_keys(large), torch.full((4,), 0.5, dtype=torch.float16))
    zero = torch.zeros(3, dtype=torch.float16, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit_keys(zero).sum(), zero)
    assert_same(gradient, torch.full((3,), 1000.0, dtype=torch.float16), 1)


def test_delta_rule_recalls_exactly_what_was_written_last() -> None:
    k = unit_keys(torch.randn(30, 6, dtype=torch.float64).relu(), eps=0)
    k[20:] = k[10:20]
    v = torch.randn(30, VALUES, dtype=torch.float64)
    for form in ("quadratic", "chunked", "recurrent"):
        output, _ = delta_attention(k, k, v, torch.ones(1), form=form, chunk=7)
        assert_same(output, v, 1e-12)
        twice = torch.stack((k[0], k[0]))
        _, state = delta_attention(twice, twice, v[:2], torch.ones(2), form=form)
        assert_same(k[0] @ state, v[1], 1e-12)
        hebbian, _ = linear_attention(twice, twice, v[:2], form=form)
        assert_same(hebbian[1], v[:2].sum(0), 1e-12)


def test_beta_of_two_keeps_the_norm_of_the_state() -> None:
    k = unit_keys(torch.randn(40, KEYS, dtype=torch.float64), eps=0)
    v = torch.zeros(40, VALUES, dtype=torch.float64)
    state = torch.randn(KEYS, VALUES, dtype=torch.float64)
    for form in ("quadratic", "chunked", "recurrent"):
        _, last = delta_attention(k, k, v, torch.tensor(2.0), state=state, form=form, chunk=9)
        assert_same(last.norm(), state.norm(), 1e-12)


def test_correlated_keys_in_float32() -> None:
    k = unit_keys(torch.rand(300, 64, dtype=torch.float64) + 1)
    v = torch.randn(300, VALUES, dtype=torch.float64)
    exact, _ = delta_attention(k, k, v, torch.ones(1), form="recurrent", read="exclusive")
    single, _ = delta_attention(k.float(), k.float(), v.float(), torch.ones(1), read="exclusive", chunk=128)
    assert (single - exact).abs().max() < 1e-4 * exact.abs().max()


@RULES
def test_shapes(rule: str) -> None:
    for length, batch in ((0, (2,)), (1, (2,)), (4, ()), (4, (0,)), (0, (0, 3))):
        k = torch.randn(*batch, length, KEYS, requires_grad=True)
        v = torch.randn(*batch, length, VALUES, requires_grad=True)
        state = torch.randn(*batch, KEYS, VALUES, requires_grad=True)
        beta = torch.rand(*batch, length) if rule == "delta" else None
        for form, same in product(("quadratic", "chunked", "recurrent"), (True, False)):
            inputs: Inputs = {"q": k.detach(), "k": k, "v": v, "beta": beta, "state": state}
            output, last = attention(inputs, form=form, same=same, chunk=3)
            assert output.shape == (*batch, length, VALUES)
            assert last.shape == (*batch, KEYS, VALUES)
            found = torch.autograd.grad(output.sum() + last.sum(), (k, v, state), allow_unused=True)
            assert all(g is None or g.shape == x.shape for g, x in zip(found, (k, v, state), strict=True))
            if length == 0:
                assert torch.equal(last, state)
                assert_same(found[2], torch.ones_like(state), 0)
                assert last.data_ptr() != state.data_ptr() or state.numel() == 0


@RULES
def test_results_are_contiguous_where_only_the_queries_have_a_batch(rule: str) -> None:
    inputs = {
        **draw(rule, "none", length=4, state=False),
        "k": torch.randn(4, KEYS),
        "v": torch.randn(4, VALUES),
    }
    inputs["beta"] = None if inputs["beta"] is None else torch.rand(4)
    for form in ("quadratic", "chunked", "recurrent"):
        output, state = attention(inputs, form=form)
        assert state.shape == (2, 3, KEYS, VALUES)
        assert output.is_contiguous()
        assert state.is_contiguous()


@RULES
def test_inputs_without_contiguous_memory(rule: str) -> None:
    inputs = draw(rule, length=12)
    strided = {
        name: tensor
        if tensor is None or name not in "qkv"
        else tensor.movedim(-3, -2).contiguous().movedim(-2, -3)
        for name, tensor in inputs.items()
    }
    assert_same(attention(strided, chunk=5), attention(inputs, chunk=5), 1e-13)
    assert_same(gradients(strided, chunk=5), gradients(inputs, chunk=5), 1e-13)
    before = {name: None if t is None else t.clone() for name, t in inputs.items()}
    gradients(inputs, chunk=5)
    assert_same(inputs, before, 0)


@RULES
def test_half_precision_is_computed_in_float32(rule: str) -> None:
    inputs = draw(rule, length=12, dtype=torch.bfloat16)
    raised = {name: None if t is None else t.float() for name, t in inputs.items()}
    for form, same in product(("quadratic", "chunked", "recurrent"), (True, False)):
        expected = attention(raised, form=form, same=same)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = attention(inputs, form=form, same=same)
            mixed = attention(raised, form=form, same=same)
        assert actual[0].dtype == actual[1].dtype == torch.float32
        assert_same(actual, expected, 1e-6)
        assert_same(mixed, expected, 1e-6)
    assert gradients(inputs)[0].dtype == torch.bfloat16
    large = torch.full((1, 4, 64), 300.0, dtype=torch.float16)
    output, _ = linear_attention(large, large, large)
    assert output.isfinite().all()


def saved_bytes(rule: str, length: int, chunk: int) -> tuple[int, int]:
    """Return the bytes that the chunked form saves for the backward pass, and those of its inputs."""
    inputs = draw(rule, length=length)
    leaves = {name: None if t is None else t.requires_grad_() for name, t in inputs.items()}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = attention(leaves, chunk=chunk)
    del kept
    return sum(saved.values()), sum(t.numel() * t.element_size() for t in inputs.values() if t is not None)


@RULES
def test_only_inputs_and_errors_are_saved(rule: str) -> None:
    for length, chunk in ((64, 4), (64, 64), (256, 4)):
        saved, given = saved_bytes(rule, length, chunk)
        errors = 2 * 3 * length * VALUES * 8 if rule == "delta" else 0
        assert saved == given + errors


@RULES
def test_second_derivatives_are_refused(rule: str) -> None:
    inputs = draw(rule, length=5)
    for name, tensor in inputs.items():
        if tensor is not None:
            leaf = tensor.detach().requires_grad_()
            output, _ = attention({**inputs, name: leaf})
            (gradient,) = torch.autograd.grad(output.square().sum(), leaf, create_graph=True)
            with pytest.raises(UnavailableError, match="ChunkedAttention can be differentiated only once"):
                torch.autograd.grad(gradient.square().sum(), leaf)


@RULES
def test_compiles_in_one_graph(rule: str) -> None:
    torch.compiler.reset()
    inputs = draw(rule, length=5)

    def loss(k: Tensor, v: Tensor) -> Tensor:
        output, state = attention({**inputs, "k": k, "v": v}, chunk=3, same=True, read="exclusive")
        return output.cos().sum() + state.sin().sum()

    leaves = [tensors(inputs)[name].requires_grad_() for name in "kv"]
    value = torch.compile(loss, fullgraph=True, backend="eager")(*leaves)
    assert_same(value, loss(*leaves), 1e-13)
    expected = torch.autograd.grad(loss(*leaves), leaves)
    assert_same(torch.autograd.grad(value, leaves), expected, 1e-13)
