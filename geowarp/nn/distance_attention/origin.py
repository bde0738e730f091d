"""The origin of a manifold, beside a tensor."""

from contextlib import nullcontext

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import ProductManifold
from ...manifolds.hyperbolic import HyperbolicSpace

__all__ = ["origin_like"]


def origin_like(manifold: geoopt.Manifold, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the manifold's origin, of a shape, with the dtype of a tensor, made on its device.

    It has a gradient with respect to a learned curvature.

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> origin_like(Lorentz(4.0), (3,), torch.zeros(1))
        tensor([2., 0., 0.])
    """
    if isinstance(manifold, HyperbolicSpace):
        centre: Tensor = manifold.projx(like.new_zeros(shape))
        return centre
    if isinstance(manifold, ProductManifold):
        parts = zip(manifold.manifolds, manifold.shapes, strict=True)
        return manifold.pack_point(*(origin_like(part, shape[:-1] + size, like) for part, size in parts))
    with nullcontext() if like.device.type == "cpu" else torch.device(like.device):
        point: Tensor = manifold.origin(shape, dtype=like.dtype, device=like.device)
    return point.as_subclass(Tensor)
