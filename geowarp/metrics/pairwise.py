"""All distances between two sets of points."""

from torch import Tensor

from .._geoopt import geoopt

__all__ = ["pairwise_distance"]


def pairwise_distance(manifold: geoopt.Manifold, x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return all distances ``(..., N, M)`` between the points of x and those of y.

    Args:
        manifold: any manifold of geowarp, or one of geoopt with ``dist``.
        x: ``(..., N, *point)``.
        y: ``(..., M, *point)``; by default x.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> pairwise_distance(Sphere(), torch.eye(2))
        tensor([[0.0000, 1.5708],
                [1.5708, 0.0000]])
    """
    y = x if y is None else y
    if hasattr(manifold, "cdist"):
        distances: Tensor = manifold.cdist(x, y)
        return distances
    whole: Tensor = manifold.dist(x.unsqueeze(-manifold.ndim - 1), y.unsqueeze(-manifold.ndim - 2))
    return whole
