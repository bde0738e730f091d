"""Families of ``attention.py``: ours, and the same N × N attention written pair by pair."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geowarp.manifolds import (
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
)
from geowarp.nn import (
    Aggregation,
    Centroid,
    ChordalSquaredDistance,
    LinearValues,
    Score,
    SquaredDistance,
    manifold_attention,
)

import geoopt  # isort: skip  (geowarp first: it silences geoopt's import)

HEADS, VALUES = 4, 32


def minus_square(distance: Tensor) -> Tensor:
    """Return ``−d²``."""
    return -distance.square()


def minus_lorentzian(distance: Tensor) -> Tensor:
    """Return ``−‖x − y‖²`` of Minkowski space, ``2 − 2 cosh d``."""
    return 2 - 2 * distance.cosh()


def projection_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return ``√(k − ‖XᵀY‖²)`` of subspaces, which is ``‖XXᵀ − YYᵀ‖ / √2``."""
    return (x.shape[-1] - (x.mT @ y).square().sum((-2, -1))).clamp_min(0).sqrt()


def cholesky_coordinates(x: Tensor) -> Tensor:
    """Return ``⌊L⌋ + log 𝔻(L)`` for the Cholesky factor L."""
    factor: Tensor = torch.linalg.cholesky(x)
    return factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).log())


def log_cholesky_distance(x: Tensor, y: Tensor) -> Tensor:
    """Return the distance of coordinates."""
    distance: Tensor = (cholesky_coordinates(x) - cholesky_coordinates(y)).norm(dim=(-2, -1))
    return distance


def average(weights: Tensor, v: Tensor) -> Tensor:
    """Return the weighted sums of vectors."""
    return weights @ v


def lorentz_centroid(weights: Tensor, v: Tensor) -> Tensor:
    """Return the weighted sums, scaled onto the hyperboloid of curvature −1."""
    total = weights @ v
    square = total[..., 1:].square().sum(-1, keepdim=True) - total[..., :1].square()
    return total / (-square).sqrt()


def _geoopt_log_euclidean() -> Callable[[Tensor, Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "not fully implemented": its distance is
        distance: Callable[[Tensor, Tensor], Tensor] = geoopt.SymmetricPositiveDefinite("LEM").dist
    return distance


@dataclass(frozen=True)
class Family:
    """An attention by distance, and how it is written pair by pair.

    Args:
        manifold: of queries and keys.
        point: the shape of one.
        distance: of points that broadcast: geoopt's ``dist``, or plain torch where geoopt has none.
        source: whose ``distance`` it is.
        head: the dimension to which the inner product that it is, and the values, are padded; where it is
            none, that of the points.
        score: ours.
        logit: the same as a function of the distance.
        aggregation: ours; values are points unless they are linear.
        mean: the same of weights and values.
        tau: the temperature.
    """

    manifold: Manifold
    point: tuple[int, ...]
    distance: Callable[[Tensor, Tensor], Tensor]
    source: str
    head: int
    score: Score = field(default_factory=SquaredDistance)
    logit: Callable[[Tensor], Tensor] = minus_square
    aggregation: Aggregation = field(default_factory=LinearValues)
    mean: Callable[[Tensor, Tensor], Tensor] = average
    tau: float = 1.0

    @property
    def linear(self) -> bool:
        """Whether values are vectors, and not points."""
        return isinstance(self.aggregation, LinearValues)

    def tokens(self, n: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        """Return the same random q, k and v ``(1, heads, n, ...)`` at each call."""
        generator = torch.Generator().manual_seed(0)

        def points() -> Tensor:
            drawn = self.manifold.random(1, HEADS, n, *self.point, dtype=dtype, generator=generator)
            return drawn.as_subclass(Tensor).detach().to(device)

        q, k = points(), points()
        if not self.linear:
            return [q, k, points()]
        return [q, k, torch.randn(1, HEADS, n, VALUES, dtype=dtype, generator=generator).to(device)]

    def ours(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return geowarp's attention."""
        return manifold_attention(
            q, k, v, self.manifold, self.tau, score=self.score, aggregation=self.aggregation
        )

    def pairwise(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the attention with one distance for each pair, whose points broadcast."""
        dimension = -1 - len(self.point)
        distance = self.distance(q.unsqueeze(dimension), k.unsqueeze(dimension - 1))
        return self.mean((self.logit(distance) / self.tau).softmax(-1), v)


FAMILIES = {
    "Euclidean": Family(Euclidean(1), (32,), geoopt.Euclidean(ndim=1).dist, "geoopt", 40, tau=16.0),
    "Grassmann(8, 3), projection metric": Family(
        Grassmann(), (8, 3), projection_distance, "torch", 40, score=ChordalSquaredDistance()
    ),
    "SPD(7), log-Euclidean": Family(LogEuclideanSPD(), (7, 7), _geoopt_log_euclidean(), "geoopt", 32),
    "SPD(7), log-Cholesky": Family(LogCholeskySPD(), (7, 7), log_cholesky_distance, "torch", 32),
    "Lorentz(32), Lorentzian": Family(
        Lorentz(),
        (33,),
        geoopt.Lorentz().dist,
        "geoopt",
        40,
        score=ChordalSquaredDistance(),
        logit=minus_lorentzian,
    ),
    "Lorentz(32), Lorentzian, centroids": Family(
        Lorentz(),
        (33,),
        geoopt.Lorentz().dist,
        "geoopt",
        40,
        score=ChordalSquaredDistance(),
        logit=minus_lorentzian,
        aggregation=Centroid(),
        mean=lorentz_centroid,
    ),
    "ball(32), geodesic": Family(PoincareBall(), (32,), geoopt.PoincareBall().dist, "geoopt", 32),
    "Lorentz(32), geodesic": Family(Lorentz(), (33,), geoopt.Lorentz().dist, "geoopt", 40),
}
