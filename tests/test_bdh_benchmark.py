"""The rival of the BDH benchmarks computes what geowarp's BDH does."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp.nn import BDH, BDHConfig

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "bdh_official.py").is_file():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

from bdh_official import OfficialBDH  # noqa: E402

CONFIG = BDHConfig(
    n_layer=3, n_embd=8, dropout=0.0, n_head=2, mlp_internal_dim_multiplier=4, factors="euclidean"
)


def pair() -> tuple[OfficialBDH, BDH]:
    official = OfficialBDH(CONFIG, torch.float64)
    return official, BDH.from_official(official.state_dict(), CONFIG)


def logits(model: torch.nn.Module, tokens: Tensor) -> Tensor:
    out: Any = model(tokens)
    result: Tensor = out if isinstance(out, Tensor) else out[0]
    return result


def test_logits_and_gradients_equal_ours() -> None:
    official, ours = pair()
    tokens = torch.randint(256, (2, 13))
    expected = logits(ours, tokens)
    torch.testing.assert_close(official(tokens), expected, atol=1e-12, rtol=1e-12)
    weights = torch.randn_like(expected)
    for model in (official, ours):
        (logits(model, tokens) * weights).sum().backward()
    blocks = (CONFIG.n_head, CONFIG.neurons_per_head)
    gradients = {
        "encoder": _grad(ours.decoder_x.weight).unflatten(0, blocks).mT,
        "encoder_v": _grad(ours.decoder_y.weight).unflatten(0, blocks).mT,
        "decoder": _grad(ours.encoder.weight),
        "lm_head": _grad(ours.lm_head),
        "embed.weight": _grad(ours.embed.weight),
    }
    named = dict(official.named_parameters())
    assert named.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(_grad(named[name]), gradient, atol=1e-11, rtol=1e-10)


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_both_generate_the_same() -> None:
    official, ours = pair()
    prompt = torch.randint(256, (2, 5))
    tokens = ours.generate(prompt, 9, temperature=0)
    assert torch.equal(official.eval().generate(prompt, 9), tokens)


def test_rivals_dropout_acts_in_training_only() -> None:
    official = OfficialBDH(BDHConfig(n_layer=2, n_embd=8, n_head=2, mlp_internal_dim_multiplier=4))
    tokens = torch.randint(256, (1, 9))
    assert not torch.equal(official(tokens), official(tokens))
    official.eval()
    assert torch.equal(official(tokens), official(tokens))
