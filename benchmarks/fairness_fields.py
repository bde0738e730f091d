"""Words on a manifold with heights: the graph of a potential, whose distance is the warped chord."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from geowarp.manifolds import Euclidean, Lorentz, Manifold
from geowarp.nn import ReflectionPotential

RADIUS = 0.2  # of the gate about gendered words
_BLOCK = 2048


@dataclass(frozen=True)
class Embedding:
    """Points of a base manifold, and what a potential adds to each: ``√α b``."""

    base: Manifold
    points: Tensor
    heights: Tensor

    @cached_property
    def packed(self) -> Tensor:
        """The points of the graph ``(N, n + K)``, on which ``distance`` is defined."""
        return torch.cat([self.points, self.heights], -1)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all chords between points of the graph: ``d² + Σ α (Δb)²``, as FairnessWarped has them."""
        size = self.points.shape[-1]
        squares = pairwise(self.base, x[:, :size], y[:, :size]).square()
        return (squares + pairwise(Euclidean(1), x[:, size:], y[:, size:]).square()).sqrt()

    def with_heights(self, places: Tensor, heights: Tensor) -> "Embedding":
        """Return an embedding in which the words at ``places`` have other heights."""
        changed = self.heights.clone()
        changed[places] = heights.to(changed)
        return replace(self, heights=changed)


def flat(rows: Tensor) -> Embedding:
    """Return unit rows as points of Euclidean space."""
    return Embedding(Euclidean(1), rows, rows[:, :0])


def hyperbolic(rows: Tensor) -> Embedding:
    """Return unit rows as points of the hyperboloid: the exponential at the origin, all at distance 1."""
    tangent = torch.nn.functional.pad(rows, (1, 0))
    return Embedding(Lorentz(), Lorentz().expmap0(tangent), rows[:, :0])


def coordinates(base: Manifold, points: Tensor) -> Tensor:
    """Return the rows of which ``flat`` or ``hyperbolic`` made points."""
    return points if isinstance(base, Euclidean) else base.logmap0(points)[..., 1:]


def pairwise(base: Manifold, x: Tensor, y: Tensor) -> Tensor:
    """Return all distances without the cancellation of ``|x|² + |y|² − 2⟨x, y⟩``."""
    if isinstance(base, Euclidean):
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return base.cdist(x, y)


def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the values of a function of rows, with little memory."""
    with torch.no_grad():
        return torch.cat([function(block) for block in x.split(_BLOCK)])


def warp(embedding: Embedding, potential: Callable[[Tensor], Tensor], alpha: float | Tensor) -> Embedding:
    """Return the points with the heights ``√α b`` of a potential."""
    heights = in_blocks(potential, embedding.points)
    return replace(embedding, heights=torch.as_tensor(alpha, dtype=heights.dtype).sqrt() * heights)


class JudgedReflection(ReflectionPotential):
    """A reflection that opens for words on no list, too.

    Args:
        pairs: as of the potential.
        base: the manifold.
        directions: K.
        gendered: ``(M, *point)``.
        probe: of rows, ``(..., d)`` to ``(...)`` from 0 to 1.
    """

    def __init__(
        self,
        pairs: Tensor,
        base: Manifold,
        directions: int,
        gendered: Tensor,
        probe: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(pairs, base, directions, gendered=gendered, radius=RADIUS)
        self.probe = probe

    def gate(self, x: Tensor) -> Tensor:
        """Return 1 at listed words, and what the probe says at others if that is more, ``(...)``."""
        return torch.maximum(super().gate(x), self.probe(coordinates(self.base, x)))
