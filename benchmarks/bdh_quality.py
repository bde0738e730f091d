"""What BDH learns in the same steps: four kinds of synapses, Stiefel and Euclidean factors, three seeds.

python benchmarks/bdh_quality.py [--text PATH ...] [--no-library] [--device cuda] [--steps 400] [--seeds 3]

The texts are the standard library of this Python and the files given. All runs of a text and a seed see the
same batches in the same order and are judged on the same validation windows; the models of a seed start from
the same random numbers, the embedding and the head equal. A finished run is written to the result file at
once and is not repeated by a later call with the same settings; processes that work on different texts may
share the file. Without anything left to do, the tables are printed. The scatter is the sample standard
deviation over the seeds. ``orthonormality`` is the largest ``‖XᵀX − I‖`` of the factors, free ones first
scaled to ``‖X‖² = d``; ``active x``, ``active y`` are shares of neurons that are not zero.
"""

import argparse
import fcntl
import json
import math
import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import harness
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from geowarp.demo.measures import orthonormality_error
from geowarp.demo.text import Text, read_file, read_standard_library, sample_batch, validation_windows
from geowarp.nn import BDH, BDHConfig
from geowarp.optim import RiemannianAdam, param_groups

SYNAPSES = ["hebbian", "decay", "delta", "gated_delta"]
FACTORS = ["stiefel", "euclidean"]
MODEL = BDHConfig(n_layer=3, n_embd=64, dropout=0.0, n_head=4, mlp_internal_dim_multiplier=16)
COLUMNS = ["text", "synapse", "factors", "seeds", "bits/byte", "scatter", "orthonormality", "parameters"]
EXTRA = ["active x", "active y", "ms/step"]


@dataclass(frozen=True)
class Settings:
    """How a model is trained; the learning rates are those of ``geowarp demo``, tuned for Hebbian synapses.

    Args:
        steps: optimiser steps; the rates rise over the first twentieth and then fall linearly to a tenth.
        context: bytes of a window.
        batch: windows per step.
        windows: validation windows.
        every: steps between validations.
        factor_rate: of Stiefel factors.
        diagonal_rate: of their diagonals.
        rest_rate: of embedding and head beside Stiefel factors.
        flat_rate: of embedding, head and factors of the Euclidean model.
        synapse_rate: of decays and strengths.
        weight_decay: of embedding, head and Euclidean factors.
    """

    steps: int = 400
    context: int = 96
    batch: int = 8
    windows: int = 64
    every: int = 40
    factor_rate: float = 0.5
    diagonal_rate: float = 1e-2
    rest_rate: float = 3e-2
    flat_rate: float = 3.2e-2
    synapse_rate: float = 3e-2
    weight_decay: float = 0.1

    def rate_at(self, step: int) -> float:
        """Return the share of the learning rates that a step has."""
        rise = max(1, round(0.05 * self.steps))
        if step < rise:
            return (step + 1) / (rise + 1)
        return 1 - 0.9 * (step - rise) / max(1, self.steps - rise)


def optimizer_for(model: BDH, settings: Settings) -> torch.optim.Optimizer:
    """Return RiemannianAdam where the factors are on Stiefel, and otherwise AdamW."""
    flat, *curved = param_groups(model)
    names: dict[str, list[Any]] = {"rest": [], "diagonal": [], "synapse": []}
    for name, parameter in flat["params"]:
        kind = "synapse" if name.startswith("synapse.") else "diagonal" if "diagonal" in name else "rest"
        names[kind].append((name, parameter))
    rate = settings.rest_rate if curved else settings.flat_rate
    groups = [
        {"params": names["rest"], "lr": rate, "weight_decay": settings.weight_decay},
        {"params": names["diagonal"], "lr": settings.diagonal_rate, "weight_decay": 0.0},
        {"params": names["synapse"], "lr": settings.synapse_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not curved:
        return torch.optim.AdamW(groups)
    points = [{**group, "lr": settings.factor_rate, "weight_decay": 0.0} for group in curved]
    return RiemannianAdam([*({**group, "manifold": None} for group in groups), *points])


def token_loss(model: BDH, windows: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of every byte of ``windows (B, T + 1)`` but the first."""
    logits, _ = model(windows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def judge(model: BDH, windows: Tensor) -> float:
    """Return the bits per byte of all windows."""
    parts = windows.split(16)
    total = sum(token_loss(model, part).item() * len(part) for part in parts)
    return total / (len(windows) * math.log(2))


@torch.no_grad()
def active(model: BDH, windows: Tensor) -> dict[str, float]:
    """Return the shares of activations x and y that are not zero, over all layers."""
    layers = list(model.activations(windows[:8, :-1]))
    return {
        "active x": statistics.fmean((layer.x != 0).float().mean().item() for layer in layers),
        "active y": statistics.fmean((layer.y != 0).float().mean().item() for layer in layers),
    }


def train(
    text: Text, synapse: str, factors: str, seed: int, settings: Settings, device: torch.device
) -> dict[str, Any]:
    """Train one model and return its row."""
    torch.manual_seed(seed)
    model = BDH(replace(MODEL, synapse=synapse, factors=factors)).to(device)
    optimizer = optimizer_for(model, settings)
    schedule = LambdaLR(optimizer, settings.rate_at)
    windows = validation_windows(text.validation, settings.windows, settings.context + 1).to(device)
    generator = torch.Generator().manual_seed(seed)
    curve, seconds = {0: judge(model, windows)}, []
    for step in harness.progress(list(range(1, settings.steps + 1))):
        start = time.perf_counter()
        batch = sample_batch(text.train, settings.batch, settings.context + 1, generator).to(device)
        optimizer.zero_grad()
        token_loss(model, batch).backward()
        optimizer.step()
        schedule.step()
        seconds.append(time.perf_counter() - start)
        if step % settings.every == 0 or step == settings.steps:
            curve[step] = judge(model, windows)
    synapses = {name: p.detach().flatten().tolist() for name, p in model.synapse.named_parameters()}
    return {
        "bits/byte": curve[settings.steps],
        "curve": list(curve.items()),
        "orthonormality": orthonormality_error(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        **active(model, windows),
        "synapse parameters": synapses,
        "ms/step": 1e3 * statistics.median(seconds),
    }


def key_of(row: dict[str, Any]) -> str:
    """Return what tells one run from another."""
    names = ("sha256", "synapse", "factors", "seed", "settings", "model")
    return json.dumps([row[name] for name in names], sort_keys=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a result file, none where there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def add_row(path: Path, row: dict[str, Any], device: torch.device) -> None:
    """Add a finished run to the result file, which other processes may be adding to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = [old for old in read_rows(path) if key_of(old) != key_of(row)]
        new = path.with_suffix(".new")
        harness.write("bdh_quality", device, [*rows, row], new)
        new.replace(path)
    finally:
        os.close(lock)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per text and variant: means over the seeds, and the scatter of the bits."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["text"], SYNAPSES.index(row["synapse"]), row["factors"])):
        groups.setdefault((row["text"], row["synapse"], row["factors"]), []).append(row)
    return [_summarised(*names, runs) for names, runs in groups.items()]


def _summarised(text: str, synapse: str, factors: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    bits = [run["bits/byte"] for run in runs]
    means = {name: statistics.fmean(run[name] for run in runs) for name in EXTRA}
    steps = [step for step, _ in runs[0]["curve"]]
    curve = {str(s): statistics.fmean(run["curve"][i][1] for run in runs) for i, s in enumerate(steps)}
    return {
        "text": text,
        "synapse": synapse,
        "factors": factors,
        "seeds": len(runs),
        "bits/byte": f"{statistics.fmean(bits):.4f}",
        "scatter": f"{statistics.stdev(bits):.4f}" if len(bits) > 1 else None,
        "orthonormality": max(run["orthonormality"] for run in runs),
        "parameters": runs[0]["parameters"],
        **means,
        **{step: f"{value:.3f}" for step, value in curve.items()},
    }


def report(rows: list[dict[str, Any]]) -> None:
    """Print the results, and the mean curves."""
    lines = summary(rows)
    if not lines:
        return
    steps = sorted((name for name in lines[0] if name.isdigit()), key=int)
    print(harness.table(lines, [*COLUMNS, *EXTRA]))
    print("\nvalidation bits per byte after so many steps")
    print(harness.table(lines, ["text", "synapse", "factors", *steps]))


def main() -> None:
    """Do the runs that are missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="files to learn")
    parser.add_argument("--no-library", action="store_true", help="leave the standard library out")
    parser.add_argument("--synapse", nargs="+", choices=SYNAPSES, default=SYNAPSES)
    parser.add_argument("--factors", nargs="+", choices=FACTORS, default=FACTORS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path)
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    settings = Settings(**{name: getattr(arguments, name) for name in asdict(Settings())})
    path = arguments.out or harness.ROOT / "results" / f"bdh_quality-{device.type}.json"
    texts = [] if arguments.no_library else [("standard library", read_standard_library())]
    texts += [(file.stem, read_file(file)) for file in arguments.text]
    environment = harness.environment(device)  # of the code that is now imported
    wanted: list[tuple[Text, dict[str, Any]]] = []
    for seed in range(arguments.seeds):
        for name, text in texts:
            base: dict[str, Any] = {"text": name, "sha256": text.sha256, "seed": seed}
            base |= {"settings": asdict(settings), "model": asdict(MODEL)}
            for synapse in arguments.synapse:
                for factors in arguments.factors:
                    wanted.append((text, base | {"synapse": synapse, "factors": factors}))
    for text, row in wanted:
        if key_of(row) in map(key_of, read_rows(path)):
            continue
        row |= train(text, row["synapse"], row["factors"], row["seed"], settings, device)
        row["environment"] = environment
        add_row(path, row, device)
        print(row["text"], row["synapse"], row["factors"], row["seed"], f"{row['bits/byte']:.4f}", flush=True)
    keys = {key_of(row) for _, row in wanted}
    report([row for row in read_rows(path) if key_of(row) in keys])


if __name__ == "__main__":
    main()
