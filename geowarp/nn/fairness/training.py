"""Minimisation of a loss over the parameters of a module, with a progress bar."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..._extras import import_extra
from ...errors import GeowarpError, NonFiniteError

__all__ = ["check_training", "minimise"]


def minimise(
    module: nn.Module,
    loss: Callable[[], Tensor],
    epochs: int,
    learning_rate: float,
    *,
    verbose: bool = False,
    name: str = "minimise",
) -> list[float]:
    """Take full-batch steps of Adam with a rate that falls to 0 as a cosine; return ``epochs + 1`` losses.

    The module is left with the parameters of the smallest loss.

    Raises:
        NonFiniteError: for a loss that is infinite or not a number; the module is then as it was.

    Example:
        >>> layer = torch.nn.Linear(1, 1)
        >>> losses = minimise(layer, lambda: layer(torch.ones(1, 1)).square().sum(), 200, 0.1)
        >>> len(losses), losses[-1] < 1e-4
        (201, True)
    """
    before = best = _copy(module)
    optimizer = torch.optim.Adam(module.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
    losses: list[float] = []
    with torch.enable_grad(), _bar(epochs, verbose, name) as advance:
        for epoch in range(epochs + 1):
            optimizer.zero_grad()
            value = loss()
            losses.append(float(value.detach()))
            if not math.isfinite(losses[-1]):
                module.load_state_dict(before)
                raise NonFiniteError(
                    f"{name}: the loss after {epoch} epochs is {losses[-1]}; lower the learning rate "
                    f"({learning_rate})"
                )
            best = _copy(module) if losses[-1] <= min(losses) else best
            if epoch < epochs:
                value.backward()
                optimizer.step()
                schedule.step()
                advance(losses[-1])
    optimizer.zero_grad()
    module.load_state_dict(best)
    return losses


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def check_training(name: str, epochs: int, learning_rate: float) -> None:
    """Raise where there are less than 0 epochs, or the learning rate is not positive.

    Example:
        >>> check_training("LearnedPotential.fit", 100, 0.0)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: LearnedPotential.fit: learning_rate = 0.0; it must be positive
    """
    if epochs < 0:
        raise GeowarpError(f"{name}: epochs = {epochs}; it must be 0 or more")
    if not 0 < learning_rate < float("inf"):
        raise GeowarpError(f"{name}: learning_rate = {learning_rate}; it must be positive")


@contextmanager
def _bar(epochs: int, verbose: bool, name: str) -> Iterator[Callable[[float], None]]:
    if not verbose:
        yield lambda loss: None
        return
    tqdm = import_extra("tqdm", "cluster", f"{name}(verbose=True)").tqdm
    with tqdm(total=epochs, unit="epoch", dynamic_ncols=True) as bar:

        def advance(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            bar.update()

        yield advance
