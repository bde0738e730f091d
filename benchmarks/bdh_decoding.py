"""Decoding with BDH: against recomputation of the prefix, and the time per byte against the position."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import bdh_models as models
import harness
import torch
from bdh_official import OfficialBDH
from torch import Tensor

from geowarp.nn import BDH

PROMPT, COUNT, LONG = 1024, 512, 2048
QUICK_PROMPT, QUICK_COUNT, QUICK_LONG = 32, 20, 40
POSITIONS = 5
SAME = 8
DECODERS: dict[str, bool | None] = {"geowarp": None, "geowarp dense": False, "geowarp sparse": True}
DENSITY = 0.05  # of active neurons, which the paper reports of trained models

DECODING_COLUMNS = ["decoder", "bytes", "s", "ms/byte", "ratio", "same tokens"]
POSITION_COLUMNS = [
    "decoder",
    "active",
    "bytes",
    "prompt ms",
    "ms/byte",
    "first tenth",
    "last tenth",
    "last/first",
]


def against_recomputation(device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Return the time of continuing a prompt by state, with active rows only or all, and by recomputation.

    The official form is timed at a few lengths only, spread evenly over the positions, and integrated by
    the trapezoid rule. Timed tokens are drawn, so that they vary; the likeliest ones are compared.
    """
    config = models.QUICK_SIZE if quick else models.SIZE
    length, count = (QUICK_PROMPT, QUICK_COUNT) if quick else (PROMPT, COUNT)
    ours, official = (
        models.build("geowarp", config, device).eval(),
        models.build("official", config, device).eval(),
    )
    assert isinstance(ours, BDH)
    assert isinstance(official, OfficialBDH)
    prompt = models.random_tokens(1, length, device)
    longest = models.random_tokens(1, length + count, device)
    lengths = [round(length + i * (count - 1) / (POSITIONS - 1)) for i in range(POSITIONS)]

    def generate(sparse: bool | None) -> Callable[[], Tensor]:
        return lambda: ours.generate(prompt, count, sparse=sparse)

    def recompute(size: int) -> Callable[[], Tensor]:
        return lambda: official.generate(longest[:, :size], 1)

    calls: dict[str, Callable[[], Tensor]] = {name: generate(sparse) for name, sparse in DECODERS.items()}
    calls |= {f"recomputed at {size}": recompute(size) for size in lengths}
    seconds, _ = harness.interleaved(calls, device, rounds)
    points = torch.tensor([seconds[f"recomputed at {size}"] for size in lengths], dtype=torch.float64)
    whole = torch.trapezoid(points, torch.tensor(lengths, dtype=torch.float64)) * count / (count - 1)
    total = {**{name: seconds[name] for name in DECODERS}, "official, recomputed": whole.item()}
    expected = official.generate(prompt, SAME)
    same = {
        name: _agreement(ours.generate(prompt, SAME, temperature=0, sparse=sparse), expected)
        for name, sparse in DECODERS.items()
    }
    return [
        {
            "part": "decoding",
            "decoder": name,
            "bytes": count,
            "s": value,
            "ms/byte": 1e3 * value / count,
            "ratio": value / total["geowarp"],
            "same tokens": same.get(name),
            "measured at": None if name in DECODERS else lengths,
            "seconds there": None if name in DECODERS else points.tolist(),
        }
        for name, value in total.items()
    ]


def _agreement(tokens: Tensor, expected: Tensor) -> str:
    return f"{int((tokens == expected)[:, -SAME:].sum())} of {SAME}"


def against_position(device: torch.device, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Return the time per byte of long continuations, and how it differs between first and last bytes."""
    config = models.QUICK_SIZE if quick else models.SIZE
    prompt = models.random_tokens(1, QUICK_PROMPT if quick else PROMPT, device)
    rows = []
    for shifted in (False, True):
        model = models.build("geowarp", config, device).eval()
        assert isinstance(model, BDH)
        active = shift(model, DENSITY, prompt) if shifted else density(model, prompt)
        for count in (QUICK_COUNT, QUICK_LONG) if quick else (COUNT, LONG):
            runs: dict[str, list[list[float]]] = {name: [] for name in DECODERS}
            for _ in harness.progress(list(range(rounds if count <= COUNT else min(rounds, 3)))):
                for name, times in runs.items():
                    times.append(stream_times(model, prompt, count, DECODERS[name], device))
            rows += [_position_row(name, active, count, times) for name, times in runs.items()]
    return rows


def _position_row(name: str, active: float, count: int, runs: list[list[float]]) -> dict[str, Any]:
    tenth = max(1, (count - 1) // 10)
    first = [statistics.median(times[1 : 1 + tenth]) for times in runs]
    last = [statistics.median(times[-tenth:]) for times in runs]
    return {
        "part": "position",
        "decoder": name,
        "active": active,
        "bytes": count,
        "prompt ms": 1e3 * statistics.median(times[0] for times in runs),
        "ms/byte": 1e3 * statistics.median(statistics.median(times[1:]) for times in runs),
        "first tenth": 1e3 * statistics.median(first),
        "last tenth": 1e3 * statistics.median(last),
        "last/first": statistics.median(b / a for a, b in zip(first, last, strict=True)),
    }


def stream_times(
    model: BDH, prompt: Tensor, count: int, sparse: bool | None, device: torch.device
) -> list[float]:
    """Return the seconds of each streamed token; the first one includes the prompt."""
    times = []
    start = time.perf_counter()
    for _ in model.stream(prompt, count, sparse=sparse):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        times.append(now - start)
        start = now
    return times


@torch.no_grad()
def density(model: BDH, tokens: Tensor) -> float:
    """Return the share of neurons x that are active, over all layers and tokens."""
    shares = [(layer.x > 0).float().mean() for layer in model.activations(tokens)]
    return torch.stack(shares).mean().item()


@torch.no_grad()
def shift(model: BDH, share: float, tokens: Tensor) -> float:
    """Give all neurons a negative bias, so that about ``share`` of them is active, and return the share.

    There are no biases, so one direction of the features is made a constant of the stream: the embedding
    and the encoder write to it, and the rows of ``D_x`` read it with a negative weight, found by bisection.
    """
    d = model.config.n_embd
    direction = torch.ones(d, device=tokens.device)
    direction[1::2] = -1  # of mean zero, as LayerNorm leaves it
    model.embed.weight.add_(0.02 * direction)
    model.encoder.weight.add_(0.02 * direction)
    low, high = 0.0, 1.0
    rows = model.decoder_x.weight.clone()
    for _ in range(20):
        bias = (low + high) / 2
        model.decoder_x.weight.copy_(rows - bias * direction)
        low, high = (bias, high) if density(model, tokens) > share else (low, bias)
    return density(model, tokens)
