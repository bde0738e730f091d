"""The command line of the demonstration, checked before anything is computed or written."""

import argparse
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from .._device import usable_device
from ..errors import GeowarpError

__all__ = ["Arguments", "add_arguments", "check_arguments", "require_extras"]

_EXTRAS = ("matplotlib", "safetensors", "tqdm")


@dataclass(frozen=True)
class Arguments:
    """What to train on, how long, where, and where the results go."""

    text: Path | None
    steps: int
    device: torch.device
    seed: int
    out: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the demonstration's options to a parser."""
    parser.add_argument("--text", type=Path, help="file to learn (default: Python's own standard library)")
    parser.add_argument("--steps", type=int, default=400, help="training steps of each model (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, … (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, batches and sample (%(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("geowarp-demo"), help="folder to write (%(default)s)"
    )


def check_arguments(given: argparse.Namespace) -> Arguments:
    """Return the arguments, or raise GeowarpError with one line that says which is wrong and why."""
    if given.steps < 1:
        raise GeowarpError(f"--steps {given.steps} must be at least 1")
    if not 0 <= given.seed < 2**63:
        raise GeowarpError(f"--seed {given.seed} must be at least 0 and below 2**63")
    _check_folder(given.out)
    return Arguments(given.text, given.steps, _device(given.device), given.seed, given.out)


def require_extras() -> None:
    """Raise GeowarpError where a package of the extra ``demo`` is missing, with how to install it."""
    missing = [name for name in _EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise GeowarpError(f"the demo needs {', '.join(missing)}: pip install 'geowarp[demo]'")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(name, "--device", "auto", dtype=torch.float64)


def _check_folder(out: Path) -> None:
    nearest = out.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise GeowarpError(f"--out {out}: {nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise GeowarpError(f"--out {out}: {nearest} is not writable")
