"""Tokens per second of training BDH at the official size, on a GPU."""

from typing import Any

import bdh_models as models
import harness
import memory
import torch

BATCH, LENGTH = 32, 512
COLUMNS = ["precision", "rival", "tokens/s", "ratio", "peak MB", "skipped"]


def measure(device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Return one row per precision and rival, or one that says why there are none."""
    if device.type != "cuda":
        return [{"part": "throughput", "skipped": "the official size needs a GPU: --device cuda"}]
    return [
        row
        for precision in (torch.float32, torch.bfloat16)
        for row in _precision(precision, device, rounds, quick)
    ]


def _precision(
    precision: torch.dtype, device: torch.device, rounds: int, quick: bool
) -> list[dict[str, Any]]:
    config = models.QUICK_SIZE if quick else models.OFFICIAL_SIZE
    tokens = models.random_tokens(2 if quick else BATCH, LENGTH + 1, device)
    steps, rows, peaks = {}, [], {}
    for name in [*models.RIVALS, models.CHECKPOINTED]:
        model = models.build(name, config, device)
        autocast = None if precision == torch.float32 else precision
        step = models.training_step(model, tokens, models.optimizer_for(model), autocast)
        try:
            step()
            model.zero_grad(set_to_none=True)
            peaks[name] = memory.peak_megabytes(step, device)
        except torch.cuda.OutOfMemoryError:
            rows.append(_row(precision, name) | {"skipped": "out of memory"})
            continue
        finally:
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
        steps[name] = step
    if steps:
        seconds, ratios = harness.interleaved(steps, device, rounds)
        rows += [
            _row(precision, name)
            | {
                "tokens/s": tokens[:, 1:].numel() / seconds[name],
                "ratio": ratios[name],
                "peak MB": peaks[name],
            }
            for name in steps
        ]
    return rows


def _row(precision: torch.dtype, name: str) -> dict[str, Any]:
    return {"part": "throughput", "precision": str(precision).removeprefix("torch."), "rival": name}
