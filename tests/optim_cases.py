"""What the tests of the optimisers share."""

from collections.abc import Callable
from typing import Any

import torch

from geowarp import ManifoldParameter
from geowarp.manifolds import (
    CanonicalMetric,
    Cayley,
    Exponential,
    Grassmann,
    Manifold,
    Polar,
    Sphere,
    Stiefel,
)
from geowarp.optim import RiemannianAdam, RiemannianOptimizer, RiemannianSGD

Maker = Callable[..., RiemannianOptimizer]
OPTIMIZERS: list[Maker] = [RiemannianAdam, RiemannianSGD]
MANIFOLDS: list[Manifold] = [
    *(Sphere(), Grassmann(), Stiefel(), Stiefel(CanonicalMetric(), Cayley())),
    *(Stiefel(retraction=Polar()), Stiefel(CanonicalMetric(), Exponential())),
]


def momentum(maker: Maker, value: float = 0.9) -> dict[str, Any]:
    return {"momentum": value} if maker is RiemannianSGD else {}


def points(manifold: Manifold, count: int, dtype: torch.dtype = torch.float64) -> list[ManifoldParameter]:
    return [ManifoldParameter(manifold.random(6, 3, dtype=dtype), manifold=manifold) for _ in range(count)]


def run(optimizer: torch.optim.Optimizer, parameters: list[Any], steps: int, seed: int = 1) -> None:
    """Minimise the same random linear and quadratic functions for every optimiser that is compared."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        noise = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        loss = torch.stack([(p * n).sum() + p.cos().sum() for p, n in zip(parameters, noise, strict=True)])
        loss.sum().backward()
        optimizer.step()
