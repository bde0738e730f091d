"""What the tests of fairness share: embeddings with an axis of gender, and points of manifolds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from geowarp.manifolds import (
    AffineInvariantSPD,
    Euclidean,
    Grassmann,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
)

SPACES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Euclidean": (Euclidean(1), (4,)),
    "PoincareBall": (PoincareBall(0.7), (3,)),
    "Lorentz": (Lorentz(1.3), (4,)),
    "AffineInvariantSPD": (AffineInvariantSPD(), (3, 3)),
    "LogEuclideanSPD": (LogEuclideanSPD(), (3, 3)),
    "Grassmann": (Grassmann(), (5, 2)),
}


def points(name: str, count: int) -> Tensor:
    """Return random points, of the ball and of Lorentz at distances up to about 2 from the origin."""
    space, shape = SPACES[name]
    x = 0.5 * torch.randn(count, *shape, dtype=torch.float64)
    if name in ("PoincareBall", "Lorentz"):
        x = space.expmap0(space.proju(space.origin(*shape, dtype=x.dtype), x)).as_subclass(Tensor)
    elif name == "Grassmann":
        x = space.projx(x)
    elif name != "Euclidean":
        x = torch.linalg.matrix_exp(x + x.mT)
    return x


def mass_gap(distances: Sequence[Tensor], tau: float) -> float:
    """Return the largest difference of the shares of groups, of distances ``(N, n_g)`` to their members."""
    weights = torch.stack([(-(part**2) / tau).exp().sum(-1) for part in distances], -1)
    shares = weights / weights.sum(-1, keepdim=True)
    return float((shares.amax(-1) - shares.amin(-1)).max())


def mean_gap(distances: Sequence[Tensor]) -> float:
    """Return the largest difference of the mean squared distances to groups."""
    means = torch.stack([(part**2).mean(-1) for part in distances], -1)
    return float((means.amax(-1) - means.amin(-1)).max())


def gendered_embeddings(targets: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit vectors of female and male words, ``(4, 8)`` each, and of words with a stereotype.

    The first entry is the axis of gender; targets lean to one side of it, more or less.
    """
    gender = torch.tensor([1.0, *[0.0] * 7], dtype=torch.float64)
    noise = 0.3 * torch.randn(4, 8, dtype=torch.float64)
    noise[:, 0] = 0
    female, male = noise + gender, noise - gender
    x = torch.randn(targets, 8, dtype=torch.float64)
    x[:, 0] = torch.linspace(-1, 1, targets, dtype=torch.float64)
    female, male, x = (rows / rows.norm(dim=-1, keepdim=True) for rows in (female, male, x))
    return female, male, x
