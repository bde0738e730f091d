"""What the attentions accept and refuse."""

from typing import Any

import pytest
import torch
from attention_cases import assert_same, attention
from torch import Tensor

from geowarp.errors import GeowarpError
from geowarp.nn import delta_attention, unit_keys


def test_gates_may_be_numbers() -> None:
    q, k, v = torch.randn(3, 8, 5), unit_keys(torch.randn(3, 8, 5)), torch.randn(3, 8, 4)
    gates = torch.full((8,), 0.5), torch.full((8,), -0.1)
    assert_same(delta_attention(q, k, v, 0.5, -0.1)[0], delta_attention(q, k, v, *gates)[0], 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": "parallel"}, "form = 'parallel' is none of quadratic, chunked, recurrent"),
        ({"read": "before"}, "read = 'before' is none of inclusive, exclusive"),
        ({"chunk": 0}, "chunk = 0 must be an integer of at least 1"),
        ({"chunk": 2.5}, "chunk = 2.5 must be an integer"),
        ({"q": torch.zeros(3, 8, 4)}, r"q \(3, 8, 4\), k \(3, 8, 5\), v \(3, 8, 4\) do not fit"),
        ({"v": torch.zeros(3, 7, 4)}, r"v \(3, 7, 4\) do not fit"),
        ({"v": torch.zeros(8)}, r"v has shape \(8,\); it needs two dimensions"),
        ({"v": torch.zeros(2, 8, 4)}, r"\(3,\), \(3,\), \(2,\) do not broadcast"),
        ({"state": torch.zeros(4, 5)}, r"state \(4, 5\) does not end in \(K, V\) = \(5, 4\)"),
        ({"log_decay": torch.zeros(3, 7)}, r"log_decay \(3, 7\) does not broadcast to \(..., T\) with T = 8"),
        ({"beta": torch.zeros(3, 7)}, r"beta \(3, 7\) does not broadcast"),
        ({"v": torch.zeros(3, 8, 4, dtype=torch.complex64)}, "attention: torch.complex64 has no such form"),
    ],
)
def test_errors(change: dict[str, Any], message: str) -> None:
    inputs = {"q": torch.zeros(3, 8, 5), "k": torch.zeros(3, 8, 5), "v": torch.zeros(3, 8, 4)}
    replaced = {name: value for name, value in change.items() if isinstance(value, Tensor)}
    options = {name: value for name, value in change.items() if name not in replaced}
    with pytest.raises(GeowarpError, match=message):
        attention({**inputs, **replaced}, **options)
