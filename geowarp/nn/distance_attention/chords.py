"""Squared chords of all pairs of points in the surrounding space, and the products that give them."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import UnavailableError
from ...manifolds import (
    FairnessWarped,
    Grassmann,
    Oblique,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ...metrics import Chordal
from .distances import all_distances
from .flat_coordinates import flat_coordinates, flat_features
from .triangle import pack_symmetric, triangle_size
from .unit_hyperboloid import is_hyperbolic, radius_squared, unit_hyperboloid

__all__ = ["chordal_features", "squared_chords"]

Features = tuple[Tensor, Tensor]

_SPHERICAL = Sphere | Oblique | Stiefel | SpecialOrthogonal
_LONGEST = 256  # entries of the triangle of a projector, the largest head dimension of fused kernels


def squared_chords(manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
    """Return ``(..., N, M)``, accurate for close points.

    Raises:
        UnavailableError: on a manifold without a chord.

    Example:
        >>> squared_chords(Sphere(), torch.eye(2)[:1], torch.eye(2))
        tensor([[0.0000, 2.0000]])
    """
    if isinstance(manifold, Grassmann):
        return Chordal().pairwise(q, k).square()
    if is_hyperbolic(manifold):
        square = radius_squared(manifold)
        half = all_distances(manifold, q, k) / (2 * square**0.5)
        chords: Tensor = 4 * square * half.sinh().square()
        return chords.to(q.dtype)
    if isinstance(manifold, _SPHERICAL):
        return _between(q.flatten(q.ndim - manifold.ndim), k.flatten(k.ndim - manifold.ndim))
    if isinstance(manifold, ProductManifold):
        parts = [squared_chords(m, a, b).sum(-3) for m, a, b in _components(manifold, q, k)]
        return torch.stack(parts).sum(0)
    if flat_coordinates(manifold, q) is None:
        score = "WarpedScore.of(manifold)" if isinstance(manifold, FairnessWarped) else "SquaredDistance()"
        raise UnavailableError(f"{manifold!r} has no chordal distance; use {score} for the score")
    return all_distances(manifold, q, k).square()


def chordal_features(manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features | None:
    """Return vectors whose products are minus the squared chords, up to terms of the query alone.

    Example:
        >>> q, k = chordal_features(Sphere(), torch.eye(2)[:1], torch.eye(2))
        >>> q @ k.T
        tensor([[2., 0.]])
    """
    if isinstance(manifold, Grassmann):
        if triangle_size(q.shape[-2]) > max(_LONGEST, 2 * math.prod(q.shape[-2:])):
            return None
        return _projector(q), _projector(k)
    if is_hyperbolic(manifold):
        return _hyperbolic(manifold, q, k)
    if isinstance(manifold, _SPHERICAL):
        return 2 * q.flatten(q.ndim - manifold.ndim), k.flatten(k.ndim - manifold.ndim)
    if isinstance(manifold, ProductManifold):
        return _of_product(manifold, q, k)
    first, second = flat_coordinates(manifold, q), flat_coordinates(manifold, k)
    return None if first is None or second is None else flat_features(first, second)


def _between(q: Tensor, k: Tensor) -> Tensor:
    return torch.cdist(q, k, compute_mode="donot_use_mm_for_euclid_dist").square()


@full_precision
def _projector(x: Tensor) -> Tensor:
    """Return the triangle of ``x xᵀ``, such that products of two are those of the matrices."""
    n = x.shape[-2]
    weight = x.new_full((n, n), math.sqrt(2)).fill_diagonal_(1)
    return pack_symmetric(x @ x.mT * weight)


def _hyperbolic(manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Features:
    first = unit_hyperboloid(manifold, q, q.dtype, mirrored=True)
    factor = torch.as_tensor(-2 * radius_squared(manifold), dtype=q.dtype, device=q.device)
    return factor * first, unit_hyperboloid(manifold, k, k.dtype)


def _components(
    manifold: ProductManifold, q: Tensor, k: Tensor
) -> Iterator[tuple[geoopt.Manifold, Tensor, Tensor]]:
    """Yield the manifold of each component, and its points ``(..., c, N, *point)``, of c copies."""
    parts = zip(manifold.unpack_tensor(q), manifold.unpack_tensor(k), strict=True)
    for component, (first, second) in zip(manifold.manifolds, parts, strict=True):
        ndim = int(component.ndim)  # type: ignore[arg-type]
        yield component, _copies(first, q.ndim - 1, ndim), _copies(second, k.ndim - 1, ndim)


def _copies(part: Tensor, batch: int, ndim: int) -> Tensor:
    count = math.prod(part.shape[batch : part.ndim - ndim])
    shape = (*part.shape[:batch], count, *part.shape[part.ndim - ndim :])
    return part.reshape(shape).movedim(batch, batch - 1)


def _of_product(manifold: ProductManifold, q: Tensor, k: Tensor) -> Features | None:
    first: list[Tensor] = []
    second: list[Tensor] = []
    for component, a, b in _components(manifold, q, k):
        features = chordal_features(component, a, b)
        if features is None:
            return None
        for parts, part in zip((first, second), features, strict=True):
            parts.append(part.movedim(-3, -2).flatten(-2))
    return _join(first), _join(second)


def _join(parts: list[Tensor]) -> Tensor:
    batch = broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)
