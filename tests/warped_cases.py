"""Potentials and bases of the tests of warped metrics."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from geowarp.manifolds import (
    AffineInvariantSPD,
    Euclidean,
    FairnessWarped,
    Grassmann,
    Lorentz,
    Manifold,
    PoincareBall,
    Sphere,
    Stiefel,
)


class Waves(torch.nn.Module):
    """Two smooth functions of the entries of a point, or of its projector: ``sin`` of directions, scaled."""

    directions: Tensor

    def __init__(self, entries: int, ndim: int, projector: bool = False, height: float = 1.0) -> None:
        super().__init__()
        self.ndim, self.projector, self.height = ndim, projector, height
        generator = torch.Generator().manual_seed(3)
        weights = torch.randn(entries, 2, generator=generator, dtype=torch.float64) / math.sqrt(entries)
        self.register_buffer("directions", weights)

    def forward(self, x: Tensor) -> Tensor:
        x = x @ x.mT if self.projector else x
        return self.height * (x.flatten(x.ndim - self.ndim) @ self.directions.to(x)).sin()


@dataclass(frozen=True)
class Base:
    """A base manifold, the shape of its points, and whether a potential takes their projectors."""

    manifold: Manifold
    shape: tuple[int, ...]
    projector: bool = False

    def potential(self, height: float = 1.0) -> Waves:
        entries = self.shape[0] ** 2 if self.projector else math.prod(self.shape)
        return Waves(entries, len(self.shape), self.projector, height)

    def warped(self, alpha: float | tuple[float, float] = 2.0, segments: int = 32) -> FairnessWarped:
        return FairnessWarped(self.manifold, self.potential(), alpha, segments=segments)

    def points(self, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
        points: Tensor = self.manifold.random(*batch, *self.shape, dtype=dtype)
        return points.detach().as_subclass(Tensor).clone()

    def tangent(self, x: Tensor, length: float | None = None) -> Tensor:
        u: Tensor = self.manifold.proju(x, torch.randn_like(x))
        if length is None:
            return u
        norm = self.manifold.norm(x, u)
        return length * u / norm.reshape(*norm.shape, *(1,) * len(self.shape))


BASES = {
    "Euclidean": Base(Euclidean(1), (5,)),
    "Sphere": Base(Sphere(), (4,)),
    "Poincare": Base(PoincareBall(0.5), (3,)),
    "Lorentz": Base(Lorentz(), (4,)),
    "SPD": Base(AffineInvariantSPD(), (2, 2)),
    "Stiefel": Base(Stiefel(), (4, 2)),
    "Grassmann": Base(Grassmann(), (4, 2), projector=True),
}
