"""Two models, trained side by side on the same batches."""

import math
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ..nn import BDH
from ..optim import RiemannianAdam, param_groups
from .measures import bits_per_byte, condition_numbers, token_loss
from .settings import Settings
from .text import Text, sample_batch, validation_windows

__all__ = ["Contender", "build_contenders", "train"]


@dataclass
class Contender:
    """A model, its optimiser, and what was measured on the way."""

    name: str
    model: BDH
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    judged_at: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    conditions: list[dict[str, float]] = field(default_factory=list)

    @property
    def seconds_per_step(self) -> float:
        """The median time of a step."""
        return statistics.median(self.seconds)

    def step(self, windows: Tensor) -> None:
        """Take one optimiser step and note the loss and the time."""
        start = time.perf_counter()
        self.optimizer.zero_grad()
        loss = token_loss(self.model, windows)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(loss.item())  # waits for the device, so the time is that of the whole step
        self.seconds.append(time.perf_counter() - start)

    def judge(self, step: int, windows: Tensor) -> None:
        """Note the validation loss and the condition numbers after ``step`` steps."""
        self.judged_at.append(step)
        self.validation.append(bits_per_byte(self.model, windows))
        self.conditions.append(condition_numbers(self.model))


def build_contenders(settings: Settings, steps: int, seed: int, device: torch.device) -> list[Contender]:
    """Return the model with Stiefel factors under RiemannianAdam, and the Euclidean one under AdamW.

    Both start from the same seed, so their embeddings and heads start equal.
    """

    def schedule(optimizer: torch.optim.Optimizer) -> LambdaLR:
        return LambdaLR(optimizer, lambda step: settings.rate_at(step, steps))

    def build(factors: str) -> BDH:
        torch.manual_seed(seed)
        return BDH(replace(settings.config, factors=factors)).to(device)

    curved, flat = build("stiefel"), build("euclidean")
    riemannian = RiemannianAdam(_groups(curved, settings, settings.rest_rate))
    adamw = torch.optim.AdamW(_groups(flat, settings, settings.flat_rate))
    return [
        Contender("stiefel", curved, riemannian, schedule(riemannian)),
        Contender("euclidean", flat, adamw, schedule(adamw)),
    ]


def _groups(model: BDH, settings: Settings, rest_rate: float) -> list[dict[str, Any]]:
    """Return the parameters by learning rate; only embedding, head and free factors are decayed."""
    flat, *points = param_groups(model)
    options = {
        "synapse": {"lr": settings.synapse_rate, "weight_decay": 0.0},
        "diagonal": {"lr": settings.diagonal_rate, "weight_decay": 0.0},
        "rest": {"lr": rest_rate, "weight_decay": settings.weight_decay},
    }
    pairs: dict[str, list[tuple[str, nn.Parameter]]] = {kind: [] for kind in options}
    for name, parameter in flat["params"]:
        kind = next((kind for kind in ("synapse", "diagonal") if kind in name.split(".")), "rest")
        pairs[kind].append((name, parameter))
    groups = [{**flat, **options[kind], "params": found} for kind, found in pairs.items() if found]
    return [*groups, *({**group, "lr": settings.factor_rate} for group in points)]


def train(
    contenders: list[Contender], text: Text, settings: Settings, steps: int, seed: int, device: torch.device
) -> None:
    """Train all contenders in turn on each batch, behind a progress bar on stderr."""
    from tqdm import tqdm

    length = settings.context + 1
    windows = validation_windows(text.validation, settings.windows, length).to(device)
    generator = torch.Generator().manual_seed(seed)
    every = max(1, steps // settings.evaluations)
    for contender in contenders:
        contender.judge(0, windows)
    progress = tqdm(range(1, steps + 1), unit="step", mininterval=0.5, dynamic_ncols=True)
    for step in progress:
        batch = sample_batch(text.train, settings.batch, length, generator).to(device)
        for contender in contenders:
            contender.step(batch)
            if step % every == 0 or step == steps:
                contender.judge(step, windows)
        progress.set_postfix_str(_progress(contenders), refresh=False)


def _progress(contenders: list[Contender]) -> str:
    recent = (statistics.fmean(contender.losses[-20:]) / math.log(2) for contender in contenders)
    shown = (f"{c.name} {bits:.2f}" for c, bits in zip(contenders, recent, strict=True))
    return ", ".join(shown) + " bits/byte"
