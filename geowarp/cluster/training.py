"""Training of a multiview network on views of samples."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor, nn

from ..errors import NonFiniteError
from ..optim import RiemannianAdam, param_groups
from .neighbors import random_matching

__all__ = ["TrainingSettings", "batches", "default_batch_size", "smallest_batch", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """How long to train, on how many samples at a time, in steps of which length.

    Example:
        >>> TrainingSettings(max_epochs=10, batch_size=32, learning_rate=1e-3).batch_size
        32
    """

    max_epochs: int
    batch_size: int
    learning_rate: float


def default_batch_size(samples: int) -> int:
    """Return an eighth of the samples, at least 50 and at most 500.

    Example:
        >>> default_batch_size(100), default_batch_size(2000), default_batch_size(70_000)
        (50, 250, 500)
    """
    return min(500, max(50, -(-samples // 8)))


def batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Split indices ``(N,)`` into as few batches as ``batch_size`` allows, of sizes that differ by at most 1.

    So no batch is small because N does not divide.

    Example:
        >>> [len(batch) for batch in batches(torch.arange(101), 50)]
        [34, 34, 33]
    """
    return order.tensor_split(-(-len(order) // batch_size))


def smallest_batch(samples: int, batch_size: int) -> int:
    """Return the size of the smallest of the ``batches`` of some samples.

    Example:
        >>> smallest_batch(101, 50)
        33
    """
    return samples // -(-samples // batch_size)


@torch.enable_grad()
def train(
    network: nn.Module,
    loss: Callable[..., Tensor],
    views: Sequence[Tensor],
    graph: scipy.sparse.csr_array,
    settings: TrainingSettings,
    generator: torch.Generator,
    progress: Callable[[float], object],
) -> list[float]:
    """Train a network in place by Riemannian Adam, and leave it in evaluation mode.

    The learning rate falls to 0 along half a cosine.

    Args:
        network: called with the views of a batch, on its device.
        loss: a number, of the network's output and of the place in the batch of a neighbour of each sample;
            that of the sample itself where it has none in the batch.
        views: tensors ``(N, ...)`` of the network's dtype; every epoch uses all samples, in a new order.
        graph: of neighbours, ``(N, N)``; every epoch pairs them anew.
        settings: epochs, batch size and learning rate.
        generator: source of the orders; dropout draws from torch's own.
        progress: called after each epoch with its mean loss over the samples.

    Returns:
        The mean loss of each epoch.

    Raises:
        NonFiniteError: where the loss of an epoch is infinite or not a number.

    Example:
        >>> class Mean(nn.Linear):
        ...     def forward(self, views):
        ...         return super().forward(torch.stack(views).mean(0))
        >>> losses = train(
        ...     Mean(2, 1),
        ...     lambda output, neighbors: (output - 3).square().mean(),
        ...     [torch.ones(9, 2), torch.zeros(9, 2)],
        ...     scipy.sparse.csr_array((9, 9)),
        ...     TrainingSettings(max_epochs=3, batch_size=4, learning_rate=0.1),
        ...     torch.Generator().manual_seed(0),
        ...     lambda loss: None,
        ... )
        >>> losses[0] > losses[1] > losses[2]
        True
    """
    optimizer = RiemannianAdam(param_groups(network), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, settings.max_epochs))
    network.train()
    losses: list[float] = []
    for _ in range(settings.max_epochs):
        remedy = f"in epoch {len(losses) + 1}; lower learning_rate={settings.learning_rate}"
        try:
            mean = _epoch(network, loss, views, graph, settings.batch_size, generator, optimizer)
        except (NonFiniteError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            raise NonFiniteError(f"training diverged {remedy} ({error})") from error
        if not torch.isfinite(mean):
            raise NonFiniteError(f"the loss is {mean.item()} {remedy}")
        schedule.step()
        losses.append(mean.item())
        progress(losses[-1])
    network.eval()
    return losses


def _epoch(
    network: nn.Module,
    loss: Callable[..., Tensor],
    views: Sequence[Tensor],
    graph: scipy.sparse.csr_array,
    batch_size: int,
    generator: torch.Generator,
    optimizer: torch.optim.Optimizer,
) -> Tensor:
    device = next(network.parameters()).device
    samples = len(views[0])
    total = torch.zeros((), device=device)
    for batch, places in _paired_batches(*random_matching(graph, generator), batch_size):
        optimizer.zero_grad()
        output = network([view[batch].to(device) for view in views])
        value = loss(output, places.to(device))
        value.backward()
        optimizer.step()
        total += value.detach() * len(batch)
    return total / samples


def _paired_batches(order: Tensor, partner: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches, and where in the batch the partner of each sample is; its own place where it is not."""
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    start = 0
    for batch in batches(order, batch_size):
        own = torch.arange(len(batch))
        place = position[partner[batch]] - start
        yield batch, torch.where((place >= 0) & (place < len(batch)), place, own)
        start += len(batch)
