"""Training steps of BDH: time in turns in one process, peak memory in a new process each."""

from pathlib import Path
from typing import Any

import bdh_models as models
import harness
import memory
import torch

from geowarp.nn import BDHConfig

LENGTHS = [512, 2048, 4096, 8192]
QUICK_LENGTHS = [32, 64]
WITH_OPTIMIZER = 512  # where the optimiser's share is largest; it does not depend on the length
COLUMNS = ["T", "rival", "s", "ratio", "peak MB", "peak ratio"]


def size(quick: bool) -> BDHConfig:
    """Return the sizes of the model: d = 128, n = 4096, h = 4 in the official model's 6 layers."""
    return models.QUICK_SIZE if quick else models.SIZE


def measure(device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Return one row per length and rival, and at the shortest length with the optimisers' steps too."""
    lengths = QUICK_LENGTHS if quick else LENGTHS
    rows = []
    for length in harness.progress(lengths):
        count = min(rounds, max(1, 8192 // length))
        rows += _length(length, device, count, quick)
        if length == (lengths[0] if quick else WITH_OPTIMIZER):
            rows += _with_optimizer(length, device, count, quick)
    return rows


def _length(length: int, device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    tokens = models.random_tokens(1, length + 1, device)
    config = size(quick)
    rivals = models.RIVALS if length < LENGTHS[-1] else models.FEW
    steps = {name: models.training_step(models.build(name, config, device), tokens) for name in rivals}
    seconds, ratios = harness.interleaved(steps, device, rounds)
    peaks = {name: _peak_of(name, length, device, quick) for name in rivals}
    return [
        {
            "part": "training",
            "T": length,
            "rival": name,
            "s": seconds[name],
            "ratio": ratios[name],
            "peak MB": peaks[name],
            "peak ratio": _ratio(peaks[name], peaks["geowarp"]),
            "n_layer": config.n_layer,
        }
        for name in rivals
    ]


def _with_optimizer(length: int, device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    tokens = models.random_tokens(1, length + 1, device)
    steps = {}
    for name in models.RIVALS:
        model = models.build(name, size(quick), device)
        steps[name] = models.training_step(model, tokens, models.optimizer_for(model))
    seconds, ratios = harness.interleaved(steps, device, rounds)
    return [
        {
            "part": "training",
            "T": length,
            "rival": f"{name} + optimiser",
            "s": seconds[name],
            "ratio": ratios[name],
        }
        for name in models.RIVALS
    ]


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _peak_of(name: str, length: int, device: torch.device, quick: bool) -> float | None:
    """Return the peak of a step in a new process, whose large tensors are not kept when they are freed."""
    arguments = ["--device", str(device), "--peak", name, str(length), *(["--quick"] if quick else [])]
    script = str(Path(__file__).with_name("bdh.py"))
    return memory.in_new_process(script, *arguments, MALLOC_MMAP_THRESHOLD_="1048576")


def peak(name: str, length: int, device: torch.device, quick: bool) -> float | None:
    """Return the megabytes that a training step adds at its highest, after one on a short sequence."""
    model = models.build(name, size(quick), device)
    models.training_step(model, models.random_tokens(1, 9, device))()
    return memory.peak_megabytes(
        models.training_step(model, models.random_tokens(1, length + 1, device)), device
    )
