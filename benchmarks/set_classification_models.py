"""What is compared on sets of images: networks, and nearest subspaces."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from geowarp.manifolds import Grassmann
from geowarp.metrics import Chordal, Geodesic, SubspaceDistance, chordal_mean, frechet_mean
from geowarp.nn.subspaces import GrNet, ProjectionMap, SubspaceClassifier
from geowarp.optim import RiemannianAdam, param_groups

CLASSES = 10


@dataclass(frozen=True)
class Settings:
    """How networks are trained; the rates fall to 0 along half a cosine.

    Args:
        epochs: passes over the training sets.
        batch: sets per step.
        rate: of flat parameters.
        grassmann_rate: of points of Grassmann.
    """

    epochs: int = 20
    batch: int = 60
    rate: float = 1e-2
    grassmann_rate: float = 0.3


class Fitted(NamedTuple):
    """A function of data matrices ``(B, n, m)`` with scores ``(B, classes)``, and what it took."""

    scores: Callable[[Tensor], Tensor]
    seconds_per_epoch: float | None = None
    parameters: int | None = None


class Mean(nn.Module):
    """The mean of the columns, ``(B, n)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean."""
        return x.mean(-1)


def mlp(features: nn.Module, size: int, hidden: int = 512) -> nn.Module:
    """Return a perceptron with one hidden layer on the features of data matrices."""
    return nn.Sequential(
        features, nn.Flatten(), nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)
    )


def network(kind: str, n: int, m: int, width: int) -> nn.Module:
    """Return the network of a row of the table, for sets of m vectors of n entries."""
    distances = partial(SubspaceClassifier, temperature=3.0)
    builders: dict[str, Callable[[], nn.Module]] = {
        "GrNet": lambda: GrNet(n, m, CLASSES, widths=(width,)),
        "GrNet, distances": lambda: GrNet(n, m, CLASSES, widths=(width,), pooling=None, head=distances),
        "GrNet, no block": lambda: GrNet(n, m, CLASSES),
        "MLP, mean image": lambda: mlp(Mean(), n),
        "MLP, all vectors": lambda: mlp(nn.Identity(), n * m),
        "MLP, singular vectors": lambda: mlp(ProjectionMap(m), n * m),
    }
    return builders[kind]()


NETWORKS = [
    "GrNet",
    "GrNet, distances",
    "GrNet, no block",
    "MLP, mean image",
    "MLP, all vectors",
    "MLP, singular vectors",
]


def optimizer_for(model: nn.Module, settings: Settings, stiefel_rate: float) -> torch.optim.Optimizer:
    """Return RiemannianAdam, which is AdamW for the parameters without a manifold."""
    rates = {"Stiefel": stiefel_rate, "Grassmann": settings.grassmann_rate}
    groups = param_groups(model)
    for group in groups:
        manifold = group["manifold"]
        group["lr"] = settings.rate if manifold is None else rates[manifold.name]
    return RiemannianAdam(groups)


def train(
    model: nn.Module, x: Tensor, labels: Tensor, settings: Settings, seed: int, stiefel_rate: float = 1.0
) -> Fitted:
    """Train on data matrices ``(B, n, m)`` in float32; the scores are computed in the dtype of the data."""
    x, generator = x.float(), torch.Generator().manual_seed(seed)
    optimizer = optimizer_for(model, settings, stiefel_rate)
    steps = settings.epochs * math.ceil(len(x) / settings.batch)
    schedule = LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    seconds = []
    for _ in range(settings.epochs):
        start = time.perf_counter()
        for part in torch.randperm(len(x), generator=generator).split(settings.batch):
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), labels[part]).backward()
            optimizer.step()
            schedule.step()
        seconds.append(time.perf_counter() - start)

    @torch.no_grad()
    def scores(data: Tensor) -> Tensor:
        result: Tensor = model.to(data.dtype)(data)
        return result

    count = sum(parameter.numel() for parameter in model.parameters())
    return Fitted(scores, statistics.median(seconds), count)


def nearest(distance: SubspaceDistance, centres: Tensor, labels: Tensor, k: int) -> Fitted:
    """Return the classifier by the nearest centre ``(N, n, k)``: its scores are −distances to classes."""

    @torch.no_grad()
    def scores(data: Tensor) -> Tensor:
        table = distance.pairwise(ProjectionMap(k)(data), centres.to(data.dtype))
        return torch.stack([-table[:, labels == c].amin(-1) for c in range(CLASSES)], -1)

    return Fitted(scores)


def nearest_classifiers(x: Tensor, labels: Tensor) -> dict[str, Fitted]:
    """Return the classifiers by the nearest training set and by the nearest mean of a class."""
    k = x.shape[-1]
    bases = ProjectionMap(k)(x)
    of_class = [bases[labels == c] for c in range(CLASSES)]
    chordal = torch.stack([chordal_mean(points) for points in of_class])
    geodesic = torch.stack([frechet_mean(Grassmann(), points) for points in of_class])
    every = torch.arange(CLASSES)
    return {
        "nearest set, chordal": nearest(Chordal(), bases, labels, k),
        "nearest set, geodesic": nearest(Geodesic(), bases, labels, k),
        "nearest class mean, chordal": nearest(Chordal(), chordal, every, k),
        "nearest class mean, geodesic": nearest(Geodesic(), geodesic, every, k),
    }


def evaluate(fitted: Fitted, x: Tensor, turned: Tensor, labels: Tensor) -> dict[str, Any]:
    """Return the accuracy on float64 data, and how much the scores change when the sets are mixed anew."""
    scores = fitted.scores(x)
    return {
        "accuracy": (scores.argmax(-1) == labels).double().mean().item(),
        "invariance": (fitted.scores(turned) - scores).abs().max().item(),
        "s/epoch": fitted.seconds_per_epoch,
        "parameters": fitted.parameters,
    }
