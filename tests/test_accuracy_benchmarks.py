"""The accuracy benchmarks: their exact values, their candidates, and that what ships is among the best."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mpmath import mp

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "accuracy").is_dir():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

from accuracy import command, report  # noqa: E402
from accuracy.topic import DTYPES, Topic, measure, ratio_to_best, worst  # noqa: E402
from accuracy.topics import TOPICS  # noqa: E402

WORST = 30.0  # error of what ships over the least of the others, of few samples


def named(name: str) -> Topic:
    return next(topic for topic in TOPICS if topic.name == name)


def diagonal(*values: float) -> torch.Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_what_ships_is_among_the_best(topic: Topic) -> None:
    rows = measure(topic, 1)
    assert {row["dtype"] for row in rows} == set(DTYPES)
    for row in rows:
        assert list(row["errors"]) == list(topic.candidates)
        assert all(error["max"] >= error["median"] >= 0 for error in row["errors"].values())
    for row in worst(rows):
        assert ratio_to_best(topic, row) <= WORST, report.table([row])


EXACT: list[tuple[str, tuple[torch.Tensor, ...], float]] = [
    ("affine-invariant", (diagonal(1, 2), diagonal(4, 0.5)), math.sqrt(2) * math.log(4)),
    ("bures-wasserstein", (diagonal(1, 4), diagonal(4, 9)), math.sqrt(2)),
    ("log-euclidean", (diagonal(1, 2), diagonal(4, 0.5)), math.sqrt(2) * math.log(4)),
    ("log-cholesky", (diagonal(1, 2), diagonal(4, 0.5)), math.sqrt(2) * math.log(2)),
    ("stein", (diagonal(1), diagonal(4)), math.log(2.5) - math.log(2)),
    ("divided-difference-log", (vector(2)[0], vector(2)[0]), 0.5),
    ("divided-difference-sqrt", (vector(1)[0], vector(4)[0]), 1 / 3),
    ("sphere", (vector(1, 0), vector(0, 1)), math.pi / 2),
    ("grassmann-distance", (vector(1, 0)[:, None], vector(0.6, 0.8)[:, None]), math.acos(0.6)),
    ("poincare", (vector(0, 0), vector(0.6, 0)), 2 * math.atanh(0.6)),
    ("lorentz", (vector(1, 0), vector(1.25, 0.75)), math.log(2)),
]


@pytest.mark.parametrize(("name", "inputs", "value"), EXACT, ids=[case[0] for case in EXACT])
def test_exact_values_where_there_is_a_closed_form(
    name: str, inputs: tuple[torch.Tensor, ...], value: float
) -> None:
    with mp.workdps(60):
        (exact,) = named(name).exact(*inputs)
    assert abs(float(exact) - value) <= 4e-16 * value


def test_a_wrong_candidate_is_found_wrong() -> None:
    angle = named("sphere")
    wrong = {"twice": lambda x, y: 2 * angle.candidates["geowarp"](x, y), "fails": lambda x, y: x[:, 0] / 0}
    topic = Topic("x", "x", "x", wrong, "twice", angle.cases, angle.exact)
    for row in measure(topic, 2):
        assert row["errors"]["twice"]["median"] == pytest.approx(1, rel=1e-5)
        assert math.isinf(row["errors"]["fails"]["median"])
        assert report.flat(row)["fails, max"] is None


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    out, readme = tmp_path / "rows.json", tmp_path / "README.md"
    arguments = ["--topic", "sphere", "--samples", "2", "--out", str(out), "--markdown", str(readme)]
    monkeypatch.setattr(sys, "argv", ["accuracy", *arguments])
    command.main()
    written = json.loads(out.read_text())
    assert len(written["rows"]) == len(list(named("sphere").cases(1)))
    assert written["environment"]["torch"] == torch.__version__
    assert "**geowarp**" in readme.read_text(encoding="utf-8")
    assert "asin of the chord" in capsys.readouterr().out
