"""Inputs of attentions, and their outcomes and gradients, for the tests."""

from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor

from geowarp.nn import delta_attention, linear_attention, unit_keys

LENGTH, KEYS, VALUES = 33, 5, 4
READS = ("inclusive", "exclusive")
DECAYS = ("none", "constant", "per token")
Inputs = Mapping[str, Tensor | None]
Outcome = tuple[Tensor, Tensor]


def tensors(inputs: Inputs) -> dict[str, Tensor]:
    """Return the inputs that there are."""
    return {name: tensor for name, tensor in inputs.items() if tensor is not None}


def attention(inputs: Inputs, *, same: bool = False, **options: Any) -> Outcome:
    """Apply the delta rule where there is a beta; with ``same``, the queries are the keys."""
    given = tensors(inputs)
    q = given["k"] if same else given["q"]
    rule: Callable[..., Outcome] = delta_attention if "beta" in given else linear_attention
    return rule(q, **{name: tensor for name, tensor in given.items() if name != "q"}, **options)


def draw(
    rule: str,
    decay: str = "per token",
    *,
    length: int = LENGTH,
    state: bool = True,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor | None]:
    """Return inputs of two sequences and three heads: one set of values for all heads, one state for both."""
    log_decay = {"none": None, "constant": -torch.rand(3, 1), "per token": -torch.rand(2, 3, length)}[decay]
    inputs = {
        "q": torch.randn(2, 3, length, KEYS),
        "k": unit_keys(torch.randn(2, 3, length, KEYS)),
        "v": torch.randn(2, 1, length, VALUES),
        "beta": 2 * torch.rand(2, 3, length) if rule == "delta" else None,
        "log_decay": log_decay,
        "state": torch.randn(3, KEYS, VALUES) if state else None,
    }
    return {name: None if tensor is None else tensor.to(dtype) for name, tensor in inputs.items()}


def part(inputs: Inputs, rows: slice, state: Tensor | None) -> Inputs:
    """Return the inputs of some positions, with another state."""
    cut: dict[str, Tensor | None] = {
        name: t[..., rows, :] for name, t in inputs.items() if t is not None and name in "qkv"
    }
    for name in ("beta", "log_decay"):
        gate = inputs[name]
        cut[name] = gate if gate is None or gate.shape[-1] == 1 else gate[..., rows]
    return {**cut, "state": state}


def gradients(
    inputs: Inputs, *, weights: tuple[Tensor, Tensor] | None = None, **options: Any
) -> list[Tensor]:
    """Return the gradients of a weighed sum of output and last state by all inputs."""
    leaves = {name: None if t is None else t.detach().requires_grad_() for name, t in inputs.items()}
    output, state = attention(leaves, **options)
    first, second = weights or (output.detach().cos(), state.detach().sin())
    total = (output * first).sum() + (state * second).sum()
    wanted = [tensor for tensor in leaves.values() if tensor is not None]
    return list(torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True))


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)


def cases() -> Iterator[tuple[str, bool, str, bool]]:
    yield from product(DECAYS, (True, False), READS, (True, False))
