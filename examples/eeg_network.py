"""A network of one attention block for sequences of positive definite matrices, and its training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from eeg_tokens import Tokens, coordinates
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from geowarp.manifolds import GyrovectorSpace
from geowarp.nn import GyroAttention, GyroHomomorphism, Score, attention_entropy
from geowarp.optim import RiemannianAdam, param_groups


@dataclass(frozen=True)
class Settings:
    """How the network is trained; chosen by cross-validation on recordings to train with, see the example.

    Args:
        epochs: how often every recording is seen.
        batch: recordings in a step.
        rate: the highest learning rate, of a cycle that ends at zero.
        decay: weight decay of the classifier.
        heads: of the attention.
        skip: whether what is attended to is added to the tokens; without, it takes their place.
    """

    epochs: int = 12
    batch: int = 32
    rate: float = 1e-2
    decay: float = 10.0
    heads: int = 1
    skip: bool = True


class GyroNetwork(nn.Module):
    """Tokens ``(..., m, n, n)`` to scores of classes: linear in logarithms of ``hom(x) ⊕ attention(x)``.

    Args:
        manifold: a metric of positive definite matrices with gyrovector operations.
        tokens: m.
        size: n.
        classes: the number of classes.
        heads: of the attention.
        score: what the attention weighs by.
        skip: whether there is the term ``hom(x)``.
    """

    def __init__(
        self,
        manifold: GyrovectorSpace,
        tokens: int,
        size: int,
        classes: int,
        *,
        heads: int = 1,
        score: Score | None = None,
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.manifold = manifold
        self.attention = GyroAttention(manifold, (size, size), heads, score=score)
        self.skip = GyroHomomorphism(manifold, (size, size)) if skip else None
        self.classifier = nn.Linear(tokens * size * (size + 1) // 2, classes)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., classes)``."""
        y = self.attention(x)
        if self.skip is not None:
            y = self.manifold.gyro_add(self.skip(x), y)
        scores: Tensor = self.classifier(coordinates(self.manifold, y).flatten(-2))
        return scores

    def groups(self, decay: float) -> list[dict[str, object]]:
        """Return groups for an optimiser: of the points by manifold, and of the classifier, which decays."""
        points = nn.ModuleList(filter(None, (self.attention, self.skip)))
        return [
            *param_groups(points),
            {"params": [*self.classifier.named_parameters()], "weight_decay": decay},
        ]


def train(
    network: GyroNetwork,
    data: Tokens,
    settings: Settings,
    seed: int,
    step: Callable[[], object] = lambda: None,
) -> None:
    """Train a network.

    Args:
        network: what is trained; its temperature is first set by the distances of the tokens.
        data: with the true classes.
        settings: how.
        seed: of the order of the recordings.
        step: called after each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = RiemannianAdam(network.groups(settings.decay), lr=settings.rate)
    per_epoch = -(-len(data.labels) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, total_steps=max(1, settings.epochs * per_epoch), cycle_momentum=False
    )
    for _ in range(settings.epochs):
        for chosen in torch.randperm(len(data.labels), generator=generator).split(settings.batch):
            batch = data.part(chosen)
            optimizer.zero_grad()
            cross_entropy(network(batch.points), batch.labels).backward()
            optimizer.step()
            schedule.step()
        step()


@torch.no_grad()
def accuracy(network: GyroNetwork, data: Tokens) -> float:
    """Return the share of recordings whose class the network tells."""
    return float((network(data.points).argmax(-1) == data.labels).double().mean())


@torch.no_grad()
def entropy(network: GyroNetwork, data: Tokens) -> float:
    """Return the mean normalised entropy of the rows of attention: 1 is uniform."""
    return float(attention_entropy(network.attention.attention_weights(data.points)).mean())
