"""All geodesic distances of two sets of points, on manifolds of geowarp and of geoopt."""

from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import Manifold

__all__ = ["all_distances"]


def all_distances(manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
    """Return ``(..., N, M)`` of ``(..., N, *point)`` and ``(..., M, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> all_distances(Euclidean(1), torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[5., 0.]])
    """
    ndim = int(manifold.ndim)
    if q.shape[q.ndim - ndim - 1] == 0 or k.shape[k.ndim - ndim - 1] == 0:
        zero = (points.flatten(points.ndim - ndim).sum(-1) if ndim else points for points in (q, k))
        first, second = zero
        return first[..., :, None] * second[..., None, :]
    if isinstance(manifold, Manifold):
        return manifold.cdist(q, k)
    distance: Tensor = manifold.dist(q.unsqueeze(-ndim - 1), k.unsqueeze(-ndim - 2))
    return distance
