"""The demonstration: its command line, its files, and the numbers that it reports."""

import hashlib
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import geowarp
from geowarp.__main__ import main
from geowarp.demo import run as demo_run
from geowarp.demo.arguments import Arguments
from geowarp.demo.files import publish
from geowarp.demo.measures import FACTORS, bits_per_byte, condition_numbers, orthonormality_error
from geowarp.demo.settings import Settings
from geowarp.demo.stream import decode_stream, print_stream
from geowarp.demo.text import Text, read_file, read_standard_library, sample_batch, validation_windows
from geowarp.demo.training import build_contenders
from geowarp.nn import BDH, BDHConfig

TINY = Settings(
    BDHConfig(
        n_layer=2, n_embd=16, dropout=0.0, n_head=2, mlp_internal_dim_multiplier=4, synapse="gated_delta"
    ),
    context=24,
    batch=4,
    evaluations=3,
    windows=4,
)
PHRASE = b"the quick brown fox jumps over the lazy dog, and then over the fence. "
FILES = {"curves.png", "euclidean.safetensors", "results.json", "stiefel.safetensors"}


def command(*arguments: str, encoding: str = "utf-8") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "geowarp", *arguments],
        capture_output=True,
        encoding=encoding,
        env=environment,
        check=False,
    )


@pytest.fixture
def phrases(tmp_path: Path) -> Path:
    path = tmp_path / "phrases.txt"
    path.write_bytes(PHRASE * 40)
    return path


def run_tiny(path: Path, out: Path, *, steps: int = 8, seed: int = 0) -> dict[str, Any]:
    return demo_run.run(Arguments(path, steps, torch.device("cpu"), seed, out), TINY)


def check_checkpoint(out: Path, name: str, text: Text, settings: Settings, expected: float) -> None:
    with safe_open(out / f"{name}.safetensors", "pt") as file:
        config = BDHConfig(**json.loads(file.metadata()["config"]))
    assert config.factors == name
    model = BDH(config)
    model.load_state_dict(load_file(out / f"{name}.safetensors"))
    windows = validation_windows(text.validation, settings.windows, settings.context + 1)
    assert bits_per_byte(model, windows) == pytest.approx(expected, rel=1e-5)


def test_command_writes_its_files(phrases: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = command("demo", "--text", str(phrases), "--steps", "2", "--out", str(out), encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"sha256 {hashlib.sha256(PHRASE * 40).hexdigest()}" in done.stdout
    for row in ("validation bits per byte", "orthonormality error", "condition number of D_x", "229,576"):
        assert row in done.stdout
    assert "2/2" in done.stderr
    assert "bits/byte" in done.stderr
    numbers = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert f"{numbers['models']['stiefel']['bits_per_byte']:.3f}" in done.stdout
    prompt, continuation = numbers["sample"][:64], numbers["sample"][64:]
    assert f"{prompt}│{continuation}\n\n".encode("ascii", "replace").decode() in done.stdout
    for name, values in numbers["models"].items():
        check_checkpoint(out, name, read_file(phrases), Settings(), values["bits_per_byte"])


def test_both_models_learn_and_stiefel_stays_orthonormal(phrases: Path, tmp_path: Path) -> None:
    numbers = run_tiny(phrases, tmp_path / "out", steps=150)
    for name, values in numbers["models"].items():
        curves = values["curves"]
        assert curves["step"] == [0, 50, 100, 150]
        assert curves["bits_per_byte"][0] == pytest.approx(8, abs=0.2)
        assert values["bits_per_byte"] == curves["bits_per_byte"][-1] < 4.5
        assert len(curves["training_loss"]) == 150
        assert curves["training_loss"][0] == pytest.approx(math.log(256), abs=0.2)
        check_checkpoint(tmp_path / "out", name, read_file(phrases), TINY, values["bits_per_byte"])
    stiefel, euclidean = numbers["models"]["stiefel"], numbers["models"]["euclidean"]
    assert stiefel["orthonormality_error"] < 1e-5
    assert stiefel["condition_without_diagonals"] < 1 + 1e-5
    assert 1.01 < stiefel["condition_D_x"] < euclidean["condition_D_x"]
    assert euclidean["orthonormality_error"] > 0.1
    assert stiefel["parameters"] - euclidean["parameters"] == 3 * TINY.config.n_embd
    assert len(numbers["sample"]) > 200


def test_the_seed_decides(phrases: Path, tmp_path: Path) -> None:
    first, again, other = (run_tiny(phrases, tmp_path, seed=seed) for seed in (1, 1, 2))
    for name in ("stiefel", "euclidean"):
        assert first["models"][name]["curves"] == again["models"][name]["curves"]
        assert first["models"][name]["curves"] != other["models"][name]["curves"]
    assert first["sample"] == again["sample"] != other["sample"]
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, phrases.name}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "{tmp}/absent.txt"], "cannot read"),
        (["--text", "{tmp}"], "cannot read"),
        (["--text", "{tmp}/short.txt"], "the validation part of"),
        (["--text", "{tmp}/empty.txt"], "the training part of"),
        (["--device", "warp"], "--device 'warp' cannot be used here"),
        (["--device", "cuda:99"], "--device 'cuda:99' cannot be used here"),
        (["--device", "meta"], "--device 'meta' cannot be used here"),
        (["--steps", "0"], "--steps 0 must be at least 1"),
        (["--steps", "-5"], "--steps -5 must be at least 1"),
        (["--steps", "many"], "invalid int value: 'many'"),
        (["--seed", "-1"], "--seed -1 must be at least 0"),
        (["--out", "{tmp}/short.txt"], "is a file, not a folder"),
        (["--out", "{tmp}/short.txt/inner"], "is a file, not a folder"),
        (["--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_bytes(b"x" * 1000)
    (tmp_path / "empty.txt").touch()
    out = ["--out", str(tmp_path / "out")]
    try:
        code: Any = main(["demo", *out, *(option.format(tmp=tmp_path) for option in options)])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"short.txt", "empty.txt"}


def test_exit_code_of_the_process(tmp_path: Path) -> None:
    done = command("demo", "--text", str(tmp_path / "absent.txt"))
    assert done.returncode == 2
    assert done.stderr == f"geowarp demo: cannot read {tmp_path / 'absent.txt'}: No such file or directory\n"
    assert done.stdout == ""


def test_a_closed_pipe_is_one_line(phrases: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    program = [
        sys.executable,
        "-m",
        "geowarp",
        "demo",
        "--text",
        str(phrases),
        "--out",
        str(tmp_path / "out"),
    ]
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(program, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 141
    assert done.stderr == "geowarp demo: nobody reads the output any more; stopped\n"
    assert not (tmp_path / "out").exists()


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tqdm" else find(name))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "geowarp demo: the demo needs tqdm: pip install 'geowarp[demo]'\n"


def test_interruption_writes_nothing(
    phrases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_run, "train", interrupted)
    assert main(["demo", "--text", str(phrases), "--out", str(tmp_path / "out")]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_publish_is_all_or_nothing(tmp_path: Path) -> None:
    def stopped(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "new", {"a": lambda path: path.write_text("a"), "b": stopped})
    assert not (tmp_path / "new").exists()
    (tmp_path / "a").write_text("before")
    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, {"a": lambda path: path.write_text("a"), "b": stopped})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]
    publish(tmp_path, {"a": lambda path: path.write_text("after")})
    assert (tmp_path / "a").read_text() == "after"
    with pytest.raises(geowarp.GeowarpError, match="cannot write to"):
        publish(tmp_path / "a", {"b": lambda path: path.write_text("b")})


def test_overview_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for word in (geowarp.__version__, "demo", "Euclidean", "Grassmann", "Sphere", "Stiefel"):
        assert word in shown
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"geowarp {geowarp.__version__}\n"


def test_standard_library_text() -> None:
    text = read_standard_library(limit=1_000_000)
    again = read_standard_library(limit=1_000_000)
    assert text.sha256 == again.sha256
    assert torch.equal(text.train, again.train)
    assert 500_000 < len(text.train) + len(text.validation) <= 1_000_000
    whole = bytes(text.train.tolist()) + bytes(text.validation.tolist())
    assert hashlib.sha256(whole).hexdigest() == text.sha256
    assert whole.count(b"import ") > 100
    larger = read_standard_library()
    assert bytes(larger.train[: len(text.train)].tolist()) == bytes(text.train.tolist())
    assert 0.03 < len(larger.validation) / (len(larger.train) + len(larger.validation)) < 0.25


def test_file_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(bytes(range(100)))
    text = read_file(path)
    assert (len(text.train), len(text.validation)) == (90, 10)
    assert text.validation.tolist() == list(range(90, 100))
    assert read_file(path, limit=50).validation.tolist() == list(range(45, 50))


def test_batches_and_windows() -> None:
    data = torch.arange(20)
    drawn = sample_batch(data, 2000, 3, torch.Generator().manual_seed(0))
    assert (drawn[:, 1:] - drawn[:, :-1] == 1).all()
    assert drawn[:, 0].unique().tolist() == list(range(18))
    assert drawn.dtype == torch.long
    windows = validation_windows(data, 4, 5)
    assert windows.flatten().tolist() == list(range(20))
    assert validation_windows(data, 9, 8).tolist() == [list(range(8)), list(range(12, 20))]
    assert validation_windows(data, 9, 15).shape == (1, 15)


def test_bytes_are_shown_as_soon_as_a_character_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class Recorder(io.StringIO):
        def flush(self) -> None:
            shown.append(self.getvalue())

    shown: list[str] = []
    monkeypatch.setattr(sys, "stdout", Recorder())
    read = []

    def tokens() -> Iterator[torch.Tensor]:
        for byte in "é\t€\x07".encode():
            read.append((byte, shown[-1] if shown else ""))
            yield torch.tensor(byte)

    assert print_stream(tokens()) == shown[-1] == "é\t€�"
    assert [text for _, text in read] == ["", "", "é", "é\t", "é\t", "é\t", "é\t€"]


@pytest.mark.parametrize("seed", range(3))
def test_streamed_text_is_the_decoded_text(seed: int) -> None:
    start = bytes(torch.randint(32, 256, (60,), generator=torch.Generator().manual_seed(seed)).tolist())
    text = start + "ß€😀".encode()[: -1 - seed]  # cut within a character
    expected = "".join(c if c.isprintable() else "�" for c in text.decode(errors="replace"))
    assert "".join(decode_stream(torch.tensor(list(text)))) == expected


def test_gains_decays_and_strengths_are_not_decayed() -> None:
    for contender in build_contenders(TINY, 8, 0, torch.device("cpu")):
        decayed, total = set(), 0
        for group in contender.optimizer.param_groups:
            total += len(group["params"])
            if group["weight_decay"]:
                decayed |= set(group["param_names"])
        matrices = {"embed.weight", "lm_head"}
        free = {f"{name}.weight" for name in FACTORS.values()} if contender.name == "euclidean" else set()
        assert decayed == matrices | free
        assert total == len(list(contender.model.parameters()))


@torch.no_grad()
def test_measures() -> None:
    model = BDH(replace(TINY.config, synapse="hebbian"))  # the official model's
    windows = torch.randint(256, (5, 9))
    model.lm_head.zero_()
    assert bits_per_byte(model, windows, chunk=2) == pytest.approx(8)
    assert orthonormality_error(model) < 1e-6
    assert model.decoder_y.diagonal is not None
    model.decoder_y.diagonal[0] = 5
    model.decoder_y.diagonal[1] = 0.5
    assert condition_numbers(model) == pytest.approx({"D_x": 1, "D_y": 10, "E": 1}, rel=1e-5)
    assert condition_numbers(model, diagonal=False) == pytest.approx({"D_x": 1, "D_y": 1, "E": 1}, rel=1e-5)
    flat = BDH.from_official(model.official_state_dict(), model.config)
    assert condition_numbers(flat) == pytest.approx({"D_x": 1, "D_y": 10, "E": 1}, rel=1e-5)
    squares = torch.tensor([25, 0.25] + 14 * [1.0])
    error = (squares / squares.mean() - 1).norm().item()
    assert orthonormality_error(flat) == pytest.approx(error, rel=1e-5)


def test_rates_rise_and_fall() -> None:
    rates = [TINY.rate_at(step, 200) for step in range(201)]
    assert rates[10] == max(rates) == 1
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(TINY.final_rate)
    assert all(0 < TINY.rate_at(step, 1) <= 1 for step in range(2))


@pytest.mark.slow
def test_the_default_run(tmp_path: Path) -> None:
    done = command("demo", "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    for values in numbers["models"].values():
        assert values["bits_per_byte"] < 2.8
    assert numbers["models"]["stiefel"]["orthonormality_error"] < 1e-5
