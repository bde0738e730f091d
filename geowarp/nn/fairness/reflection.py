"""The potential that mirrors a bias between two kinds of points: what a projection does, as a stretch."""

import math

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.linalg import safe_sqrt
from ...manifolds.linalg.precision import full_precision
from ...metrics.validation import check_pair, check_points
from ..distance_attention.scores import SquaredDistance
from .gate import gate
from .groups import closest_groups, nearest_apart, read_groups
from .like import check_like, in_single
from .principal_geodesics import PrincipalGeodesics, of_pairs
from .squared_distances import all_squares

__all__ = ["ReflectionPotential"]

_SCALE = 0.85
_RANK = 64  # rounding units


class ReflectionPotential(nn.Module):
    """b: M → R^{K+1}, coordinates along K directions of a bias, and their mirror image for neutral points.

    A metric that stretches cannot project. But let f be the coordinates ``⟨u_k, log_o x⟩`` along the
    principal differences of pairs, and

        b(x) = (−f(x) / c, 0) at neutral points,  b(y) = (c f(y), √(R² − c²‖f(y)‖²)) at gendered ones.

    Then, on any base, the stretched chord distance of a neutral point and a gendered one has

        d_c²(x, y) = d²(x, y) + 2⟨f(x), f(y)⟩ + ‖f(x)‖² / c² + R².

    In flat space that is ``‖Px − y‖² + (1 + 1/c²) ‖f(x)‖² + R²``, P being the projection that takes the K
    directions from the neutral point alone: but for a term of x, on which neither the order of gendered
    points nor attention to them depends, the distance after Bolukbasi's "neutralize" without its division by
    the norm. Two neutral points have ``d² + ‖Δf‖² / c²``, so the bias between them grows. Two gendered points
    have at least ``d² + c²‖Δf‖²``, and keep their differences. The points stay as they are: it is no erasure.

    Either what is gendered must be listed or what is neutral; pairs are gendered in any case. All other
    points count as neutral beside a list of gendered ones, and as gendered beside a list of neutral ones. A
    gate of compact support about the points of the list leads from one to the other. Points on the wrong side
    become more biased than they were: along the directions, by the factor ``1 + 1/c²`` or ``1 + c²`` of d². A
    projection needs no list.

    With 303 professions and unit vectors of word2vec (GloVe), the attention gap to 10 pairs of gendered words
    that nothing is fitted to is 0.077 (0.143) without a stretch, 0.025 (0.051) after a projection of one
    direction, 0.026 (0.050) with K = 1, and 0.021 (0.041) with K = 8, where these words are listed as
    gendered: as means of 20 splits. Where they are not listed it is 0.190 (0.308). K = 8 costs meaning in 50
    dimensions.

    A mirror leaves what is not along the directions; a ``ParityPotential`` on top of it, with the score
    ``WarpedScore(mirror)``, makes parity exact, as ``debias`` does with pairs. This potential is geowarp's
    own.

    Args:
        pairs: ``(P, 2, *point)``, which differ by the bias alone.
        base: the manifold of the points.
        directions: K, at most the number of directions that the pairs differ in. More remove more of a bias,
            and more of the meaning.
        gendered: ``(M, *point)``, all other points that have the bias by definition.
        neutral: ``(M, *point)``, instead, all points that should not have it.
        scale: c > 0. A large one leaves neutral points alone, a small one gendered points.
        radius: of the gate, positive. By default half of the smallest distance of two points that are listed
            or in a pair; equal points count once.
        level: R, by default the largest ``c‖f(y)‖`` of gendered points that are listed or in a pair, and at
            least that. It makes ``‖b(y)‖`` equal, so that no gendered point is further from all neutral ones
            than another. b has no bounded derivative close to where ``c‖f(y)‖ = R``; a larger level is
            smoother.
        origin: o, ``(*point)``, by default ``base.origin``: 0 in flat space.

    Raises:
        GeowarpError: for pairs of another shape, more directions than they differ in, two lists, an empty
            one, a neutral point in a pair, settings out of range, and points unlike the pairs.
        NonFiniteError: for points that are infinite or not a number.
        NotOnManifoldError: for other points that are not on the base.

    References:
        Bolukbasi, Chang, Zou, Saligrama, Kalai, Man is to computer programmer as woman is to homemaker?
        Debiasing word embeddings, NeurIPS (2016), section 6, for the projection.

    Example:
        >>> from geowarp.manifolds import Euclidean, FairnessWarped
        >>> pair = torch.tensor([[2.0, 1.0], [-2.0, 1.0]])
        >>> potential = ReflectionPotential(pair[None], Euclidean(1), scale=1.0)
        >>> x = torch.tensor([1.0, 5.0])
        >>> potential(pair[0]), potential(x)
        (tensor([2., 0.]), tensor([-1.,  0.]))
        >>> Euclidean(1).dist(x, pair).square()
        tensor([17., 25.])
        >>> FairnessWarped(Euclidean(1), potential).dist2(x, pair, mode="chord")
        tensor([26., 26.])
    """

    alpha: float = 1.0
    """The weight of b in the metric, for which the formulas hold."""
    listed: Tensor
    level: Tensor

    def __init__(
        self,
        pairs: Tensor,
        base: geoopt.Manifold,
        directions: int = 1,
        *,
        gendered: Tensor | None = None,
        neutral: Tensor | None = None,
        scale: float = _SCALE,
        radius: float | None = None,
        level: float | None = None,
        origin: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.base, self.scale, self.opens = base, _positive("scale", scale), neutral is None
        self.axes = _axes(pairs, base, directions, origin)
        members, others = _read(pairs, base, gendered, neutral)
        known = torch.unique(torch.cat([members, others]), dim=0)
        self.radius = nearest_apart(base, known, known) / 2 if radius is None else _positive("radius", radius)
        self.register_buffer("listed", known if neutral is None else torch.unique(others, dim=0))
        f = self.coordinates(known if neutral is None else members)
        self.register_buffer("level", _level(scale * torch.linalg.vector_norm(f, dim=-1).max(), level))

    @property
    def outputs(self) -> int:
        """K + 1."""
        return len(self.axes.components) + 1

    @full_precision
    def forward(self, x: Tensor) -> Tensor:
        """Return b of points ``(..., *point)``: ``(..., K + 1)``."""
        f, opened = self.coordinates(x), self.gate(x)[..., None]
        mirrored = (self.scale * opened - (1 - opened) / self.scale) * f
        rest = self.level.to(f.dtype).square() - (self.scale * f).square().sum(-1, keepdim=True)
        return torch.cat([mirrored, opened * safe_sqrt(rest)], -1)

    @full_precision
    def coordinates(self, x: Tensor) -> Tensor:
        """Return f of points ``(..., *point)``: ``(..., K)``."""
        check_like("ReflectionPotential", x, self.listed, "pairs")
        return self.axes.coordinates(x)

    @full_precision
    def gate(self, x: Tensor) -> Tensor:
        """Return how gendered points are, ``(...)``: 0 or 1 but within ``radius`` of a listed one."""
        batch = check_like("ReflectionPotential", x, self.listed, "pairs")
        rows = x.reshape(-1, *self.listed.shape[1:])
        squares = all_squares(SquaredDistance(), self.base, rows, self.listed.to(x.dtype))
        near = gate(squares, self.radius).reshape(batch)
        return near if self.opens else 1 - near

    def extra_repr(self) -> str:
        """Return the settings, for ``repr``."""
        kind = "gendered" if self.opens else "neutral"
        return f"{kind}: {len(self.listed)}; scale={self.scale}, radius={self.radius:.4g}"


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise GeowarpError(f"ReflectionPotential: {name} = {value}; it must be positive and finite")
    return float(value)


def _axes(pairs: Tensor, base: geoopt.Manifold, directions: int, origin: Tensor | None) -> PrincipalGeodesics:
    """Return the principal differences of pairs, checked, about the origin."""
    check_points(base, pairs, "pairs")
    pairs = in_single(pairs)
    if origin is None:
        point = pairs.shape[pairs.ndim - base.ndim :]
        origin = base.origin(*point, dtype=pairs.dtype, device=pairs.device).as_subclass(Tensor)
    else:
        check_pair(base, pairs, origin := in_single(origin), ("pairs", "origin"))
    most = pairs.shape[0] if pairs.ndim else 0
    if not 1 <= directions <= max(1, most):
        raise GeowarpError(
            f"ReflectionPotential: directions = {directions}; with {most} pairs it must be from 1 to {most}"
        )
    axes = of_pairs(pairs, base, directions, origin, "ReflectionPotential")
    rank = int((axes.variances > _RANK * torch.finfo(pairs.dtype).eps * axes.variances[0]).sum())
    if rank < directions:
        raise GeowarpError(f"ReflectionPotential: directions = {directions}; the pairs differ in {rank} only")
    return axes


def _read(
    pairs: Tensor, base: geoopt.Manifold, gendered: Tensor | None, neutral: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the members of pairs and the listed points, ``(n, *point)``, checked."""
    if gendered is not None and neutral is not None:
        raise GeowarpError(
            "ReflectionPotential: gendered and neutral are both given; pass one, all else is the other kind"
        )
    members = in_single(pairs).flatten(0, 1)
    name, points = ("gendered", gendered) if neutral is None else ("neutral", neutral)
    if points is None:
        return members, members[:0]
    groups = read_groups("ReflectionPotential", {"pairs": members, name: in_single(points)}, base)
    if neutral is not None:
        closest_groups("ReflectionPotential", groups, base, SquaredDistance())  # raises where they meet
    return members, groups.members[len(members) :]


def _level(largest: Tensor, given: float | None) -> Tensor:
    if given is None:
        return largest
    if not float(largest) * (1 - 1e-6) <= given < math.inf:
        raise GeowarpError(
            f"ReflectionPotential: level = {given}; it must be finite and at least {float(largest):.4g}, the "
            "largest of a gendered point"
        )
    return largest.new_tensor(given)
