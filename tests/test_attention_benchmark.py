"""The benchmark of attention: its rivals compute what geowarp's does, and its rows say what was measured."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("tqdm")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "attention.py").is_file():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import attention  # noqa: E402
import harness  # noqa: E402
from attention_families import FAMILIES  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", FAMILIES)
def test_pairs_and_ours_agree(name: str) -> None:
    family = FAMILIES[name]
    tokens = [x.requires_grad_() for x in family.tokens(7, CPU, torch.float64)]
    ours, pairs = family.ours(*tokens), family.pairwise(*tokens)
    torch.testing.assert_close(ours, pairs, atol=1e-9, rtol=1e-9)
    rows = family.pairwise(tokens[0][:, :, :3], *tokens[1:])
    torch.testing.assert_close(ours[:, :, :3], rows, atol=1e-9, rtol=1e-9)
    cotangent = torch.randn_like(ours)
    expected = torch.autograd.grad(pairs, tokens, cotangent)
    found = torch.autograd.grad(ours, tokens, cotangent)
    for i, (x, gradient, other) in enumerate(zip(tokens, found, expected, strict=True)):
        if i < 2 or not family.linear:  # what is not tangent depends on how functions go on off the manifold
            gradient, other = (family.manifold.egrad2rgrad(x.detach(), g) for g in (gradient, other))
        assert gradient.abs().max() > 1e-3
        torch.testing.assert_close(gradient, other, atol=1e-7, rtol=1e-6)


def test_time_of_all_rows_is_that_of_some_and_of_what_each_call_does_once() -> None:
    once, each = 5.0, 0.25
    for rows, n in ((32, 4096), (1, 1), (64, 64)):
        some = once + each * rows
        assert attention.whole(once + each, some, rows, n) == pytest.approx(once + each * n)
    assert [attention.rows_of(n) for n in attention.SIZES] == [256, 512, 128, 32]
    assert [attention.rounds_of(16, n) for n in attention.SIZES] == [16, 16, 16, 4]
    assert [attention.rounds_of(most, 16384) for most in (1, 9)] == [1, 3]


def test_rows_and_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention, "_peaks", lambda name, n, device: {"geowarp": 2.5, "pairs, backward": n})
    monkeypatch.setattr(harness, "interleaved", partial(harness.interleaved, turn=0.01))
    monkeypatch.setattr(attention, "MOST_PAIRS", 16)
    path = tmp_path / "rows.json"
    options = f"--device cpu --sizes 8 --rounds 1 --only Cholesky --results {path}"
    monkeypatch.setattr(sys, "argv", ["attention", *options.split()])
    attention.main()
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    found = [(row["pass"], row["rival"], row["rows"]) for row in rows]
    assert found == [
        (name, *rest)
        for name in ("forward", "forward, backward")
        for rest in (("geowarp", None), ("pairs, torch", "2 of 8"), ("sdpa 32", None))
    ]
    assert all(row["ms"] > 0 for row in rows)
    assert {row["ratio"] for row in rows if row["rival"] == "geowarp"} == {1}
    assert rows[0]["error"] < 1e-5
    lines = attention.summary(rows)
    assert [line["pairs / ours"] for line in lines] == [rows[1]["ratio"], rows[4]["ratio"]]
    assert [line["ours / sdpa"] for line in lines] == [1 / rows[2]["ratio"], 1 / rows[5]["ratio"]]
    assert [row["peak MB"] for row in rows] == [2.5, None, None, None, 8, None]
    assert "2 of 8" in capsys.readouterr().out


def test_memory_of_pairs_is_that_of_all_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention, "MOST_PAIRS", 2**15)
    monkeypatch.setattr(sys, "argv", ["attention", "--device", "cpu", "--peaks", "Euclidean", "256"])
    attention.main()
    found: dict[str, float | None] = json.loads(capsys.readouterr().out)
    rivals = {"geowarp", "pairs", "sdpa 40", "sdpa 32"}
    assert set(found) == rivals | {f"{rival}, backward" for rival in rivals}
    differences = 4 * 256 * 256 * 32 * 4 / 1e6
    for name, factor in (("pairs", 1), ("pairs, backward", 2)):
        megabytes = found[name]
        assert megabytes is None or 0.5 * factor * differences < megabytes < 5 * differences
