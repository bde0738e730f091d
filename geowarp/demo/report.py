"""The final table, and the numbers as JSON."""

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .arguments import Arguments
from .measures import FACTORS, condition_numbers, orthonormality_error
from .settings import Settings
from .text import Text
from .training import Contender

__all__ = ["results", "save_checkpoint", "save_results", "table"]

_TITLES = {"stiefel": "Stiefel, RiemannianAdam", "euclidean": "Euclidean, AdamW"}
_ROWS = (
    ("validation bits per byte", "bits_per_byte", ".3f"),
    ("orthonormality error", "orthonormality_error", ".1e"),
    *((f"condition number of {symbol}", f"condition_{symbol}", ".2f") for symbol in FACTORS),
    ("the largest without diagonals", "condition_without_diagonals", ".2f"),
    ("seconds per step (median)", "seconds_per_step", ".3f"),
    ("parameters", "parameters", ",d"),
)


def results(
    contenders: list[Contender], text: Text, settings: Settings, arguments: Arguments
) -> dict[str, Any]:
    """Return what was measured, as what JSON can hold."""
    return {
        "versions": {
            "geowarp": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": str(arguments.device),
        "threads": torch.get_num_threads(),
        "seed": arguments.seed,
        "steps": arguments.steps,
        "text": {
            "source": text.source,
            "train_bytes": len(text.train),
            "validation_bytes": len(text.validation),
            "sha256": text.sha256,
        },
        "settings": asdict(settings),
        "models": {contender.name: _numbers(contender) for contender in contenders},
    }


def _numbers(contender: Contender) -> dict[str, Any]:
    conditions = {f"condition_{symbol}": value for symbol, value in contender.conditions[-1].items()}
    return {
        "bits_per_byte": contender.validation[-1],
        "orthonormality_error": orthonormality_error(contender.model),
        **conditions,
        "condition_without_diagonals": max(condition_numbers(contender.model, diagonal=False).values()),
        "seconds_per_step": contender.seconds_per_step,
        "parameters": sum(parameter.numel() for parameter in contender.model.parameters()),
        "curves": {
            "step": contender.judged_at,
            "bits_per_byte": contender.validation,
            "conditions": contender.conditions,
            "training_loss": contender.losses,
        },
    }


def table(numbers: dict[str, Any]) -> str:
    """Return the final table as plain text, one column per model."""
    models = numbers["models"]
    columns = [["", *(label for label, _, _ in _ROWS)]]
    for name, values in models.items():
        columns.append([_TITLES[name], *(format(values[key], spec) for _, key, spec in _ROWS)])
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("   ".join(cells).rstrip())
    lines.insert(1, "─" * (sum(widths) + 3 * (len(widths) - 1)))
    note = "orthonormality error: the largest ‖XᵀX − I‖ of the factors; Euclidean ones scaled to ‖X‖² = d"
    return "\n".join([*lines, note])


def save_results(numbers: dict[str, Any], path: Path) -> None:
    """Write the numbers as JSON."""
    path.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def save_checkpoint(contender: Contender, path: Path) -> None:
    """Write the model's parameters, with its config as JSON in the metadata."""
    from safetensors.torch import save

    state = contender.model.state_dict()
    tensors = {
        name: tensor.detach().as_subclass(torch.Tensor).cpu().contiguous() for name, tensor in state.items()
    }
    path.write_bytes(save(tensors, metadata={"config": json.dumps(asdict(contender.model.config))}))
