"""The example of a BDH language model: what it trains on, its checkpoints, and what it refuses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp import GeowarpError
from geowarp.demo.text import Text, read_file
from geowarp.nn import BDHConfig

pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
if not (EXAMPLES / "bdh_language_model.py").is_file():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
sys.path.append(str(EXAMPLES))

import bdh_language_model as example  # noqa: E402
from bdh_language_model import Recipe, Run  # noqa: E402

TINY = BDHConfig(
    n_layer=2, n_embd=8, dropout=0.1, n_head=2, mlp_internal_dim_multiplier=4, synapse="gated_delta"
)
RECIPE = Recipe(streams=2, window=8, memory=3, save_every=100, warmup=2)
CPU = torch.device("cpu")
PHRASE = b"the quick brown fox jumps over the lazy dog, and then over the fence. "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "phrases.txt"
    path.write_bytes(PHRASE * 8)
    return path


@pytest.fixture
def text(path: Path) -> Text:
    return read_file(path)


def tiny_run(seed: int = 0, **changes: Any) -> Run:
    return example.new_run(replace(TINY, **changes), RECIPE, seed, CPU)


def train(run: Run, text: Text, steps: int, out: Path) -> Run:
    example.train(run, text, steps, out, Event())
    return run


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from tensors(entry, f"{name}/{key}")
    elif isinstance(value, (list, tuple)):
        yield from tensors(dict(enumerate(value)), name)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"synapse": "hebbian", "factors": "euclidean", "dropout": 0.0},
        {"synapse": "gated_delta", "decay": "input", "segment_length": 3},
    ],
    ids=["default", "official", "input"],
)
def test_a_resumed_run_is_the_uninterrupted_one(changes: dict[str, Any], text: Text, tmp_path: Path) -> None:
    whole = train(tiny_run(**changes), text, 8, tmp_path / "whole")
    train(tiny_run(**changes), text, 4, tmp_path / "parts")
    torch.manual_seed(99)
    resumed = tiny_run(1, **changes)
    example.restore(resumed, text, tmp_path / "parts")
    assert resumed.step == 4
    train(resumed, text, 8, tmp_path / "parts")
    first, second = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts")
    )
    expected, found = dict(tensors(first)), dict(tensors(second))
    assert expected.keys() == found.keys()
    assert {"/model/embed.weight", "/memory/synapses.1", "/random"} < expected.keys()
    assert sum(name.startswith("/optimizer/state") for name in expected) >= 10
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert first["schedule"] == second["schedule"]
    assert [g["lr"] for g in whole.optimizer.param_groups] == [
        g["lr"] for g in resumed.optimizer.param_groups
    ]


def test_what_is_saved_matters(text: Text, tmp_path: Path) -> None:
    whole = train(tiny_run(), text, 8, tmp_path / "whole")
    train(tiny_run(), text, 4, tmp_path / "parts")
    for forgotten in ("memory", "random"):
        run = tiny_run(1)
        example.restore(run, text, tmp_path / "parts")
        if forgotten == "memory":
            run.memory = None
        else:
            torch.manual_seed(99)
        train(run, text, 8, tmp_path / forgotten)
        assert not torch.equal(run.model.embed.weight, whole.model.embed.weight), forgotten


def test_windows_are_read_in_turn_and_memory_ends_with_them() -> None:
    streams = example.as_streams(torch.arange(61), RECIPE, CPU)
    assert streams.tolist() == [list(range(30)), list(range(30, 60))]
    seen = [example.window_of(streams, step, RECIPE) for step in range(4)]
    assert [window[1].tolist() for window, _ in seen] == [
        list(range(30 + 8 * start, 39 + 8 * start)) for start in (0, 1, 2, 0)
    ]
    assert [continues for _, continues in seen] == [False, True, True, False]
    longer = example.as_streams(torch.arange(200), RECIPE, CPU)
    marks = [example.window_of(longer, step, RECIPE)[1] for step in range(12)]
    assert marks == 4 * [False, True, True]


def test_the_memory_is_carried_without_its_gradients(text: Text) -> None:
    still = replace(RECIPE, factor_rate=0.0, diagonal_rate=0.0, synapse_rate=0.0, matrix_rate=0.0)
    run = example.new_run(replace(TINY, dropout=0.0), still, 0, CPU)
    streams = example.as_streams(text.train, RECIPE, CPU)
    for _ in range(2):
        example.train_step(run, streams)
    _, expected = run.model(streams[:, : 2 * RECIPE.window].long())
    assert run.memory is not None
    assert run.memory.position == expected.position == 2 * RECIPE.window
    for found, synapses in zip(run.memory.synapses, expected.synapses, strict=True):
        assert not found.requires_grad
        torch.testing.assert_close(found, synapses.detach())


def test_it_learns(text: Text, tmp_path: Path) -> None:
    run = tiny_run(dropout=0.0)
    streams = example.as_streams(text.train, RECIPE, CPU)
    before = example.bits_per_byte(run.model, streams, RECIPE)
    train(run, text, 60, tmp_path)
    assert before == pytest.approx(8, abs=0.2)
    assert example.bits_per_byte(run.model, streams, RECIPE) < 4.5


def test_only_matrices_are_decayed() -> None:
    for factors in ("stiefel", "euclidean"):
        run = tiny_run(factors=factors)
        decayed = [n for g in run.optimizer.param_groups if g["weight_decay"] for n in g["param_names"]]
        free = ["decoder_x.weight", "decoder_y.weight", "encoder.weight"] if factors == "euclidean" else []
        assert sorted(decayed) == sorted(["embed.weight", "lm_head", *free])
        count = sum(len(group["params"]) for group in run.optimizer.param_groups)
        assert count == len(list(run.model.parameters()))


def test_an_interrupt_ends_after_a_step_that_is_saved(text: Text, tmp_path: Path) -> None:
    run = tiny_run()
    before = signal.getsignal(signal.SIGINT)
    with example.interruptible() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        example.train(run, text, 8, tmp_path, stop)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert run.step == 1
    assert signal.getsignal(signal.SIGINT) is before
    again = tiny_run(1)
    example.restore(again, text, tmp_path)
    assert again.step == 1


def test_a_failed_save_leaves_the_old_checkpoint(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny_run(), text, 1, tmp_path / "out")
    before = (tmp_path / "out" / "checkpoint.pt").read_bytes()

    def interrupted(content: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(example, "write_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        example.save(run, text, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "out" / "checkpoint.pt").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, write = tiny_run(), example.write_checkpoint
    monkeypatch.setattr(example, "write_checkpoint", lambda content, _: write(content, Path("/dev/full")))
    with pytest.raises(GeowarpError, match=r"cannot write to .*: No space left on device"):
        example.save(run, text, tmp_path)


def test_checkpoints_of_other_runs_are_refused(text: Text, tmp_path: Path) -> None:
    train(tiny_run(), text, 1, tmp_path)
    changed: tuple[tuple[str, Any], ...] = (("synapse", "hebbian"), ("n_layer", 3), ("factors", "euclidean"))
    for name, value in changed:
        with pytest.raises(GeowarpError, match=f"was trained with {name} = .*, not {value!r}"):
            example.restore(tiny_run(0, **{name: value}), text, tmp_path)
    run = example.new_run(TINY, replace(RECIPE, window=16), 0, CPU)
    with pytest.raises(GeowarpError, match="was trained with window = 8, not 16"):
        example.restore(run, text, tmp_path)
    other = replace(text, train=text.train.flip(0))
    with pytest.raises(GeowarpError, match="was trained with sha256 of the text"):
        example.restore(tiny_run(), other, tmp_path)
    with pytest.raises(GeowarpError, match="a vocabulary of 300 does not fit bytes; give 256"):
        tiny_run(vocab_size=300)


def test_texts_and_files_that_do_not_do(text: Text, tmp_path: Path) -> None:
    with pytest.raises(GeowarpError, match=r"has 17 bytes, and 2 streams of windows of 8 bytes need 18"):
        example.as_streams(torch.arange(17), RECIPE, CPU)
    assert example.as_streams(torch.arange(18), RECIPE, CPU).shape == (2, 9)
    with pytest.raises(GeowarpError, match=r"No such file or directory; train without --resume first"):
        example.restore(tiny_run(), text, tmp_path)
    for content in (b"", b"nothing", b"PK\x03\x04"):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(GeowarpError, match="is no checkpoint of this program"):
            example.restore(tiny_run(), text, tmp_path)
    torch.save(torch.zeros(3), tmp_path / "checkpoint.pt")
    with pytest.raises(GeowarpError, match="is no checkpoint of this program"):
        example.restore(tiny_run(), text, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "{tmp}/absent.txt"], "cannot read"),
        (["--resume"], "train without --resume first"),
        (["--synapse", "magic"], "'magic' is none of"),
        (["--factors", "magic"], "'magic' is none of"),
        (["--top-p", "1.5"], "top_p = 1.5 must be in (0, 1]"),
        (["--temperature", "-1"], "temperature = -1.0 must be at least 0"),
        (["--prompt", ""], "the prompt is empty"),
        (["--steps", "-5"], "--steps -5 must be at least 0"),
        (["--seed", "-1"], "--seed -1 must be at least 0 and below"),
        (["--seed", str(2**64)], "must be at least 0 and below 2**63"),
        (["--length", "-1"], "max_new_tokens = -1 is negative"),
        (["--out", "{tmp}/phrases.txt"], "cannot write to"),
        (["--out", "{tmp}/taken"], "holds a checkpoint; add --resume"),
        ([], "8 streams of windows of 128 bytes need"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(
    options: list[str], message: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = path.parent
    (folder / "taken").mkdir()
    (folder / "taken" / "checkpoint.pt").touch()
    if options:
        path.write_bytes(PHRASE * 200)
    before = sorted(folder.rglob("*"))
    defaults = ["--text", str(path), "--steps", "1", "--out", str(folder / "out")]
    assert example.main([*defaults, *(option.format(tmp=folder) for option in options)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_command_trains_draws_and_writes(tmp_path: Path) -> None:
    path, out = tmp_path / "text", tmp_path / "out"
    path.write_bytes(PHRASE * 200)
    program = [sys.executable, str(EXAMPLES / "bdh_language_model.py"), "--text", str(path), "--steps", "1"]
    done = subprocess.run(
        [*program, "--out", str(out), "--prompt", "é", "--length", "9"],
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "ascii"},
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in out.iterdir()} == {"checkpoint.pt", "synapses.png"}
    assert (out / "synapses.png").read_bytes().startswith(b"\x89PNG")
    assert "step 1: 7." in done.stdout
    assert "\n??" in done.stdout
    assert "1/1" in done.stderr
