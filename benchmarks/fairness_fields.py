"""Words on a manifold with heights: the graph of a potential, whose distance is the warped chord."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from geowarp.manifolds import Euclidean, Lorentz, Manifold

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


class ReflectionPotential(nn.Module):
    """The coordinates of gender of gendered words, and of all other words their mirror image.

    A metric cannot project, as it only stretches. But between a neutral word x and a gendered word y,
    ``|x − y|² + |f(x) + f(y)|² = |x − y|² − |f(x) − f(y)|² + 2|f(x)|² + 2|f(y)|²``: their distance without
    the coordinates f, and terms of one word alone. So ``b(x) = −f(x) / c`` at neutral words and
    ``b(y) = c f(y)`` at gendered ones do what a projection to K directions does, but leave two neutral, or
    two gendered words apart along them. One value more, ``√(R² − |c f(y)|²)`` and 0 at neutral words, makes
    ``|b(y)|`` equal for gendered words, so that none of them is further from all words than another.
    Between the two kinds b passes through a gate of compact support about the list of gendered words.

    f are principal coordinates of differences within pairs.

    Args:
        base: the manifold.
        pairs: ``(P, 2, *point)``, which differ by gender alone.
        gendered: ``(M, *point)``, all words that are of a gender by definition.
        directions: K.
        scale: c: a large one leaves neutral words alone, a small one gendered words.
        radius: of the gate.
        probe: of rows, ``(..., d)`` to ``(...)`` from 0 to 1, opens the gate for words that are on no list.
    """

    axes: Tensor
    gendered: Tensor
    square: Tensor

    def __init__(
        self,
        base: Manifold,
        pairs: Tensor,
        gendered: Tensor,
        directions: int = 8,
        scale: float = 0.85,
        radius: float = 0.2,
        probe: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.base, self.scale, self.radius, self.probe = base, scale, radius, probe
        rows = coordinates(base, pairs)
        differences = rows[:, 0] - rows[:, 1]
        self.register_buffer("axes", torch.linalg.svd(differences, full_matrices=False).Vh[:directions])
        self.register_buffer("gendered", gendered)
        self.register_buffer("square", (scale * self._values(gendered)).square().sum(-1).max())
        self.outputs, self.alpha = len(self.axes) + 1, 1.0

    def forward(self, x: Tensor) -> Tensor:
        """Return b of points ``(..., *point)``: ``(..., K + 1)``."""
        values = self._values(x)
        gate = self.gate(x)[..., None]
        mirrored = (self.scale * gate - (1 - gate) / self.scale) * values
        rest = (self.square - (self.scale * values).square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
        return torch.cat([mirrored, gate * rest], -1)

    def gate(self, x: Tensor) -> Tensor:
        """Return 1 at gendered words, and 0 from ``radius`` on unless the probe knows better, ``(...)``."""
        nearest = pairwise(self.base, x.reshape(-1, x.shape[-1]), self.gendered).amin(-1)
        listed = (1 - (nearest / self.radius).square()).clamp_min(0).pow(3).reshape(x.shape[:-1])
        return listed if self.probe is None else torch.maximum(listed, self.probe(coordinates(self.base, x)))

    def _values(self, x: Tensor) -> Tensor:
        return coordinates(self.base, x) @ self.axes.mT
