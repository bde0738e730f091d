"""The published network for deep Grassmannian multiview subspace clustering, and its training.

Wang, Li, Hu, Wu, Bao, Deep Grassmannian multiview subspace clustering with contrastive learning, Electronic
Research Archive 32 (2024), as their code has it: the views go through one encoder one after the other; its 64
channels of 7 x 7 places are read as 49 rows of 64 numbers, E; the leading 13 eigenvectors of ``E Eᵀ`` are
mapped to 25 dimensions by an orthonormal matrix and made orthonormal, ``Q``; ``Q Qᵀ`` has 625 entries, which
go to clusters by Student's t and to a perceptron. The objective is two contrastive losses of clusters and
their balance; there is none by the projection metric. Settings are those published for Multi-COIL-10.

Their gradient of ``Q Qᵀ``, ``2 G Q`` for ``(G + Gᵀ) Q``, is right here, and so is that of QR.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from multiview_curve import Curve, Labels, Outcome
from multiview_sources import Data
from torch import Tensor, nn

from geowarp.manifolds.linalg.differentiation import once_differentiable
from geowarp.nn import ClusterContrastiveLoss, balance, target_distribution

BATCH = 50
RATE = 1e-4
HIDDEN = 4096
ROWS, CHANNELS, SUBSPACE, AMBIENT = 49, 64, 13, 25


class LeadingEigenvectors(torch.autograd.Function):
    """Eigenvectors of the k largest eigenvalues; of equal eigenvalues the gradient has no term."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, k: int) -> Tensor:
        """Return the eigenvectors ``(B, n, k)``."""
        values, vectors = torch.linalg.eigh(matrix)
        values, vectors = values.flip(-1), vectors.flip(-1)
        ctx.save_for_backward(values, vectors)
        ctx.k = k
        leading: Tensor = vectors[..., :k].contiguous()
        return leading

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Return the gradient as published, which is not symmetric; ``E Eᵀ`` takes its symmetric part."""
        values, vectors = ctx.saved_tensors
        gap = values[..., None, : ctx.k] - values[..., :, None]
        inverse = torch.where(gap.abs() > 1e-12, 1 / gap, 0)
        return vectors @ (inverse * (vectors.mT @ grad)) @ vectors[..., : ctx.k].mT, None


def leading_eigenvectors(matrix: Tensor, k: int) -> Tensor:
    """Return the eigenvectors ``(B, n, k)`` of the k largest eigenvalues of ``(B, n, n)``."""
    vectors: Tensor = LeadingEigenvectors.apply(matrix, k)  # type: ignore[no-untyped-call]
    return vectors


class GrassmannStage(nn.Module):
    """Matrices ``(B, 49, 64)`` to the projectors of subspaces of R^25, ``(B, 625)``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(ROWS, AMBIENT))[0])

    def forward(self, matrices: Tensor) -> Tensor:
        """Return the projectors as vectors."""
        bases = leading_eigenvectors(matrices @ matrices.mT, SUBSPACE)
        basis = torch.linalg.qr(self.weight.mT @ bases)[0]
        projectors: Tensor = basis @ basis.mT
        return projectors.flatten(1)

    @torch.no_grad()
    def retract(self) -> None:
        """Make the weight orthonormal after a step."""
        q, r = torch.linalg.qr(self.weight)
        self.weight.copy_(q * r.diagonal().sign())


class LinearStage(nn.Sequential):
    """A linear layer in its place."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(ROWS * CHANNELS, AMBIENT**2))

    def retract(self) -> None:
        """Do nothing."""


class ReferenceNetwork(nn.Module):
    """Images ``(B, 1, h, w)`` of several views to two soft assignments, ``(V, B, K)`` each."""

    def __init__(self, clusters: int, stage: GrassmannStage | LinearStage) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(7),
        )
        self.stage = stage
        self.centres = nn.Parameter(nn.init.xavier_uniform_(torch.empty(clusters, AMBIENT**2)))
        self.perceptron = nn.Sequential(
            nn.Dropout(),
            nn.Linear(AMBIENT**2, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, clusters),
            nn.Softmax(1),
        )

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the assignments by Student's t, and by the perceptron."""
        pairs = [self._assign(view) for view in views]
        return torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])

    def _assign(self, view: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(view).reshape(len(view), ROWS, CHANNELS)
        vectors = self.stage(features)
        kernel = 1 / (1 + torch.cdist(vectors, self.centres).square())
        return F.normalize(kernel, p=1, dim=1), self.perceptron(vectors)


def reference_loss(students: Tensor, softmax: Tensor) -> Tensor:
    """Return the sum over all pairs of views of the published objective, of assignments ``(V, B, K)``."""
    views = len(students)
    targets = target_distribution(softmax)
    contrast = ClusterContrastiveLoss()  # a mean over the pairs
    pairs = views * (views - 1) // 2
    evenness = (views - 1) * balance(targets).sum()
    loss: Tensor = pairs * (contrast(students) + 0.01 * contrast(targets)) + 0.01 * evenness
    return loss


class ReferenceTraining:
    """A reference network in training on views ``(N, 1, h, w)``."""

    def __init__(self, network: ReferenceNetwork, views: list[Tensor]) -> None:
        self.network, self.views = network, views
        self.optimizer = torch.optim.Adam(network.parameters(), RATE)

    def epoch(self) -> None:
        """Train on all samples in batches of 50; those that are left over have no part in it."""
        self.network.train()
        order = torch.randperm(len(self.views[0]))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            self.optimizer.zero_grad()
            reference_loss(*self.network([view[batch] for view in self.views])).backward()
            self.optimizer.step()
            self.network.stage.retract()

    @torch.no_grad()
    def labels(self) -> Labels:
        """Return the cluster of each sample by the mean of its views, in evaluation mode."""
        self.network.eval()
        batches = zip(*(view.split(BATCH) for view in self.views), strict=True)
        means = [self.network(batch)[1].mean(0) for batch in batches]
        labels: Labels = torch.cat(means).argmax(1).numpy()
        return labels


Stage = type[GrassmannStage | LinearStage]


def prepare(data: Data, stage: Stage, seed: int) -> ReferenceTraining:
    """Return the training of a network that a seed has initialised; images are taken as they are."""
    torch.manual_seed(seed)
    network = ReferenceNetwork(data.classes, stage())
    return ReferenceTraining(network, [torch.from_numpy(view).float() for view in data.views])


def cluster(data: Data, stage: Stage, seed: int, epochs: int) -> Outcome:
    """Train a reference network, and judge it after every epoch."""
    training = prepare(data, stage, seed)
    curve = Curve(data.labels, training.labels)
    for _ in range(epochs):
        training.epoch()
        curve()
    return curve.outcome(sum(parameter.numel() for parameter in training.network.parameters()))
