"""Attention in float32 against the recurrence in float64, each read by its own size."""

import pytest
import torch
from torch import Tensor

from geowarp.nn import delta_attention, unit_keys


def relative_error(k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, form: str) -> float:
    read, _ = delta_attention(k, k, v, beta, log_decay, form=form, read="exclusive")
    k, v, beta, log_decay = k.double(), v.double(), beta.double(), log_decay.double()
    exact, _ = delta_attention(k, k, v, beta, log_decay, form="recurrent", read="exclusive")
    return float(((read - exact).norm(dim=-1) / exact.norm(dim=-1))[:, 1:].max())


@pytest.mark.parametrize("form", ["quadratic", "chunked", "recurrent"])
@pytest.mark.parametrize("forgetting", [0.0, 14.0])
def test_small_predictions_keep_their_digits(form: str, forgetting: float) -> None:
    k, v = unit_keys(torch.randn(2, 200, 64).relu()), torch.randn(2, 200, 16)
    log_decay = -forgetting * torch.rand(2, 200)  # at 14, reads shrink to 1e-6, and V − Err would lose them
    assert relative_error(k, v, torch.full((200,), 0.99), log_decay, form) < 2e-5
