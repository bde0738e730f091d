"""Interleaved timing of rivals in one process, and result files that name commit, torch and machine."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent


def interleaved(
    rivals: dict[str, Callable[[], Any]], device: torch.device, rounds: int, turn: float = 0.25
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of one call of each rival, and the median ratios to the first one.

    The rivals take turns, in an order that rotates from round to round. A turn is as many calls as fill
    ``turn`` seconds, so that all find the caches as their own work leaves them.
    """
    counts = {}
    for name, run in rivals.items():
        long = _seconds(run, device, 1) > turn
        counts[name] = 1 if long else max(1, round(turn / max(_seconds(run, device, 2), 1e-6)))
    samples: dict[str, list[float]] = {name: [] for name in rivals}
    names = list(rivals)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            samples[name].append(_seconds(rivals[name], device, counts[name]))
    first = samples[names[0]]
    ratios = {
        name: statistics.median(t / own for t, own in zip(times, first, strict=True))
        for name, times in samples.items()
    }
    return {name: statistics.median(times) for name, times in samples.items()}, ratios


def _seconds(run: Callable[[], Any], device: torch.device, count: int) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    _wait(device)
    return (time.perf_counter() - start) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def progress(items: list[Any]) -> Any:
    """Return the items with a progress bar."""
    return tqdm(items, leave=False)


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a result depends on."""
    return {
        "commit": _git("rev-parse", "HEAD") + ("-dirty" if _git("status", "--porcelain", "geowarp") else ""),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=False
    ).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def write(name: str, device: torch.device, rows: list[dict[str, Any]], path: Path | None = None) -> Path:
    """Write the rows with their environment as JSON, and return where."""
    path = path or ROOT / "results" / f"{name}-{device.type}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": environment(device), "rows": rows}, indent=1) + "\n")
    return path


def table(rows: list[dict[str, Any]], columns: list[str]) -> str:
    """Return rows as aligned text; a missing entry is a dash."""
    cells = [columns, *([_text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(text.rjust(w) for text, w in zip(line, widths, strict=True)) for line in cells)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
