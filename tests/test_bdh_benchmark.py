"""The rival of the BDH benchmarks computes what geowarp's BDH does."""

import json
import sys
from dataclasses import replace
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

import bdh_decoding  # noqa: E402
import bdh_quality  # noqa: E402
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


def test_shifted_weights_have_few_active_neurons() -> None:
    config = replace(CONFIG, n_embd=32, mlp_internal_dim_multiplier=8, n_layer=4)
    model = BDH.from_official(OfficialBDH(config).state_dict(), config)
    tokens = torch.randint(256, (1, 64))
    assert bdh_decoding.density(model, tokens) > 0.4
    assert bdh_decoding.shift(model, 0.05, tokens) == pytest.approx(0.05, abs=0.01)
    assert bdh_decoding.density(model, torch.randint(256, (1, 64))) == pytest.approx(0.05, abs=0.02)


def test_finished_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "rows.json"
    text.write_bytes(bytes(range(256)) * 20)
    monkeypatch.setattr(bdh_quality, "MODEL", replace(CONFIG, n_layer=1))
    options = f"--no-library --text {text} --out {out} --synapse delta --steps 2 --context 8 --every 1"

    def run(seeds: int) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["bdh_quality", *options.split(), "--seeds", str(seeds)])
        bdh_quality.main()
        rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"]
        return rows

    first, both = run(1), run(2)
    assert [(row["factors"], row["seed"]) for row in both] == [
        ("stiefel", 0),
        ("euclidean", 0),
        ("stiefel", 1),
        ("euclidean", 1),
    ]
    assert both[:2] == first
    for row in both:
        assert [step for step, _ in row["curve"]] == [0, 1, 2]
        assert row["curve"][-1][1] == row["bits/byte"] != row["curve"][0][1]
        assert (row["orthonormality"] < 1e-5) == (row["factors"] == "stiefel")
    lines = {line["factors"]: line for line in bdh_quality.summary(both)}
    bits = [row["bits/byte"] for row in both if row["factors"] == "stiefel"]
    assert float(lines["stiefel"]["bits/byte"]) == pytest.approx(sum(bits) / 2, abs=1e-4)
    assert float(lines["stiefel"]["scatter"]) == pytest.approx(abs(bits[0] - bits[1]) / 2**0.5, abs=1e-4)
    assert "validation bits per byte" in capsys.readouterr().out
