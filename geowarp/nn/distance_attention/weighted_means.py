"""Means by the matrix of the weights, for every query at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Grassmann, ProductManifold
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.broadcasting import broadcast_shapes
from ...manifolds.linalg.dimensions import append_dimensions
from ...manifolds.linalg.mean_projector import dominant_eigenspace
from .mean_encodings import centroid_encoding
from .origin import origin_like

__all__ = ["Mean", "by_component", "centroid", "chordal", "nonempty"]

Mean = Callable[[geoopt.Manifold, Tensor, Tensor], Tensor]
"""Of points ``(..., M, *point)`` and weights ``(..., N, M)``, ``(..., N, *point)``."""

_LARGEST = 512  # n up to which an n x n eigendecomposition is faster than iterations, there and back


def nonempty(manifold: geoopt.Manifold, v: Tensor, weights: Tensor, mean: Mean) -> Tensor:
    """Return a mean, and the manifold's origin where all weights are 0, or there are no points.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> weights = torch.tensor([[0.25, 0.75], [0.0, 0.0]])
        >>> nonempty(Euclidean(1), torch.eye(2), weights, lambda manifold, v, weights: weights @ v)
        tensor([[0.2500, 0.7500],
                [0.0000, 0.0000]])
    """
    ndim = int(manifold.ndim)
    weights = weights.to(torch.promote_types(v.dtype, torch.float32))
    shape, count = tuple(v.shape[v.ndim - ndim :]), weights.shape[-1]
    origin = origin_like(manifold, shape, v)
    if weights.numel() == 0:
        batch = broadcast_shapes(v.shape[: v.ndim - ndim - 1], weights.shape[:-2])
        unused = v.sum() * 0 + weights.sum() * 0  # gradients of 0, as where there is something
        return origin.expand(*batch, weights.shape[-2], *shape) + unused.to(origin.dtype)
    empty = (weights == 0).all(-1, keepdim=True)
    points = mean(manifold, v, torch.where(empty, 1 / count, weights)).to(v.dtype)
    return torch.where(append_dimensions(empty.squeeze(-1), ndim), origin, points)


def by_component(manifold: ProductManifold, v: Tensor, weights: Tensor, mean: Mean) -> Tensor:
    """Return the packed means of the components ``(..., M, *copies, *point)``, each by the same weights.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> manifold = ProductManifold((Euclidean(1), 1), (Euclidean(1), 1))
        >>> weights = torch.tensor([[0.25, 0.75]])
        >>> by_component(manifold, torch.eye(2), weights, lambda manifold, v, weights: weights @ v)
        tensor([[0.2500, 0.7500]])
    """
    parts = zip(manifold.manifolds, manifold.shapes, manifold.unpack_tensor(v), strict=True)
    return manifold.pack_point(*(_component(part, shape, x, weights, mean) for part, shape, x in parts))


def _component(
    manifold: geoopt.Manifold, shape: tuple[int, ...], v: Tensor, weights: Tensor, mean: Mean
) -> Tensor:
    ndim = int(manifold.ndim)
    copies = len(shape) - ndim
    v = v.movedim(-len(shape) - 1, -ndim - 1)
    weights = weights[(..., *[None] * copies, slice(None), slice(None))]
    return mean(manifold, v, weights).movedim(-ndim - 1, -len(shape) - 1)


def centroid(manifold: geoopt.Manifold, v: Tensor, weights: Tensor) -> Tensor:
    """Return the centroids: of subspaces, the chordal means.

    Example:
        >>> centroid(Grassmann(), torch.eye(3)[:, :1].expand(4, 3, 1), torch.full((1, 4), 0.25)).shape
        torch.Size([1, 3, 1])
    """
    if isinstance(manifold, ProductManifold):
        return by_component(manifold, v, weights, centroid)
    shape = tuple(v.shape[v.ndim - int(manifold.ndim) :])
    if isinstance(manifold, Grassmann) and shape[0] > _LARGEST:
        mean: Tensor = chordal(v.unsqueeze(-4), weights)
        return mean
    points: Tensor = centroid_encoding(manifold, shape).mean(v, weights, shape)
    return points


@full_precision
def chordal(v: Tensor, weights: Tensor) -> Tensor:
    """Return the chordal mean ``(..., n, k)`` of ``(..., M, n, k)`` without an n x n matrix.

    Example:
        >>> chordal(torch.eye(3)[:, :1].expand(4, 3, 1), torch.full((4,), 0.25)).abs().squeeze()
        tensor([1., 0., 0.])
    """
    basis: Tensor = dominant_eigenspace(v, weights).basis
    return basis
