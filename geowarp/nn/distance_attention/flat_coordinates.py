"""Coordinates in which the distances of a flat manifold are Euclidean, and the products that give them."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Euclidean, ProductManifold
from ...manifolds.spd.flat import FlatSPD

__all__ = ["flat_coordinates", "flat_features"]


def flat_coordinates(manifold: geoopt.Manifold, x: Tensor) -> Tensor | None:
    """Return vectors ``(..., e)`` of points ``(..., *point)`` with Euclidean distances, if it is flat.

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> flat_coordinates(LogEuclideanSPD(), torch.e * torch.eye(2))
        tensor([1., 0., 1.])
    """
    if isinstance(manifold, Euclidean | geoopt.Euclidean):
        ndim = int(manifold.ndim)
        return x.flatten(x.ndim - ndim) if ndim else x[..., None]
    if isinstance(manifold, FlatSPD):
        vectors: Tensor = manifold.coordinate_vectors(x)
        return vectors
    return _of_product(manifold, x) if isinstance(manifold, ProductManifold) else None


def _of_product(manifold: ProductManifold, x: Tensor) -> Tensor | None:
    parts = []
    for component, part in zip(manifold.manifolds, manifold.unpack_tensor(x), strict=True):
        coordinates = flat_coordinates(component, part)
        if coordinates is None:
            return None
        parts.append(coordinates.flatten(x.ndim - 1))
    return torch.cat(parts, -1)


def flat_features(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``[2q, 1]`` and ``[k, −‖k‖²]``, whose products are ``‖q‖² − ‖q − k‖²``, about the centre of k.

    The centre does not change the products but for terms of the query alone, and keeps their digits where all
    points are far from 0.

    Args:
        q: ``(..., N, e)``.
        k: ``(..., M, e)``.

    Example:
        >>> q, k = flat_features(torch.zeros(1, 1), torch.tensor([[1.0], [3.0]]))
        >>> q @ k.T
        tensor([[ 3., -5.]])
    """
    with torch.no_grad():
        centre = k.sum(-2, keepdim=True) / max(1, k.shape[-2])
    q, k = (q - centre).mul_(2), k - centre
    return torch.cat([q, torch.ones_like(q[..., :1])], -1), torch.cat([k, -k.square().sum(-1, True)], -1)
