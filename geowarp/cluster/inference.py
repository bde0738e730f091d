"""What a trained network says about samples, all of them in their order."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Predictions", "infer"]


class Predictions(NamedTuple):
    """What a network says about N samples, on the CPU.

    Args:
        consensus: ``(N, K)`` assignments by all views together.
        assignments: ``(V, N, K)`` assignments by each view.
        embedding: ``(N, e)``.

    Example:
        >>> Predictions(torch.eye(2), torch.eye(2).expand(3, 2, 2), torch.zeros(2, 5)).labels
        tensor([0, 1])
    """

    consensus: Tensor
    assignments: Tensor
    embedding: Tensor

    @property
    def labels(self) -> Tensor:
        """The likeliest cluster of each sample, ``(N,)``."""
        return self.consensus.argmax(-1)

    @property
    def view_labels(self) -> Tensor:
        """The likeliest cluster of each sample by each view, ``(V, N)``."""
        return self.assignments.argmax(-1)


@torch.no_grad()
def infer(network: nn.Module, views: Sequence[Tensor], batch_size: int) -> Predictions:
    """Return a network's predictions in evaluation mode, batch by batch; its mode is as before afterwards.

    Example:
        >>> from types import SimpleNamespace
        >>> class Plain(nn.Linear):
        ...     def forward(self, views):
        ...         each = torch.stack([super(Plain, self).forward(view).softmax(-1) for view in views])
        ...         return SimpleNamespace(assignments=each, consensus=each.mean(0), embedding=views[0])
        >>> infer(Plain(4, 3), [torch.zeros(7, 4), torch.zeros(7, 4)], batch_size=5).assignments.shape
        torch.Size([2, 7, 3])
    """
    device, training = next(network.parameters()).device, network.training
    network.eval()
    try:
        outputs = [
            network([view.to(device) for view in batch])
            for batch in zip(*(view.split(batch_size) for view in views), strict=True)
        ]
    finally:
        network.train(training)
    return Predictions(
        torch.cat([output.consensus for output in outputs]).cpu(),
        torch.cat([output.assignments for output in outputs], dim=1).cpu(),
        torch.cat([output.embedding for output in outputs]).cpu(),
    )
