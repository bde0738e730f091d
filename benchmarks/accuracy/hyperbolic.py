"""Random pairs of points at given radii and distances, in both models of hyperbolic space."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import samples

__all__ = ["SIZE", "ball_pair", "levels", "lorentz_pair"]

SIZE = 4
RADII = {"float32": [1.0, 3.0, 5.0, 7.0, 10.0], "float64": [1.0, 5.0, 10.0, 15.0, 20.0]}
DISTANCES = {"float32": [1.0, 1e-2, 1e-4], "float64": [1.0, 1e-2, 1e-4, 1e-6]}


def levels(dtype: str) -> Iterator[tuple[float, float]]:
    """Yield radii and distances such that points at the distance do not round to one another."""
    for radius in RADII[dtype]:
        for distance in DISTANCES[dtype]:
            if distance > 10 * math.exp(radius) * torch.finfo(getattr(torch, dtype)).eps:
                yield radius, distance


def ball_pair(source: torch.Generator, count: int, radius: float, distance: float) -> tuple[Tensor, Tensor]:
    """Return points x at the radius and ``x ⊕ v`` at the distance from them, in float64."""
    x = math.tanh(radius / 2) * samples.unit(source, count, SIZE)
    v = math.tanh(distance / 2) * samples.unit(source, count, SIZE)
    return x, moebius_add(x, v)


def moebius_add(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x ⊕ y``."""
    inner = (x * y).sum(-1, keepdim=True)
    x2, y2 = (z.square().sum(-1, keepdim=True) for z in (x, y))
    return ((1 + 2 * inner + y2) * x + (1 - x2) * y) / (1 + 2 * inner + x2 * y2)


def lorentz_pair(
    source: torch.Generator, count: int, radius: float, distance: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return points with rounded space coordinates, and the rounded time that belongs to them."""
    direction = samples.unit(source, count, SIZE)
    step = samples.unit(source, count, SIZE)
    along = (step * direction).sum(-1, keepdim=True)
    tangent = step + (math.cosh(radius) - 1) * along * direction
    x = math.sinh(radius) * direction
    y = math.cosh(distance) * x + math.sinh(distance) * tangent
    return _with_time(x.to(dtype)), _with_time(y.to(dtype))


def _with_time(space: Tensor) -> Tensor:
    time = (1 + space.double().square().sum(-1, keepdim=True)).sqrt().to(space.dtype)
    return torch.cat([time, space], -1)
