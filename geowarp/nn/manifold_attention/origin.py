"""The origin of a manifold, beside a tensor."""

from torch import Tensor

from ..._geoopt import geoopt
from ...manifolds import ProductManifold
from ...manifolds.hyperbolic import HyperbolicSpace

__all__ = ["origin_like"]


def origin_like(manifold: geoopt.Manifold, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the manifold's origin, of a shape, with the dtype and device of a tensor.

    Example:
        >>> from geowarp.manifolds import Lorentz
        >>> origin_like(Lorentz(4.0), (3,), torch.zeros(1))
        tensor([2., 0., 0.])
    """
    if isinstance(manifold, HyperbolicSpace):  # a constant that is learned has a device, and a gradient
        centre: Tensor = manifold.projx(like.new_zeros(shape))
        return centre
    if isinstance(manifold, ProductManifold):
        parts = zip(manifold.manifolds, manifold.shapes, strict=True)
        return manifold.pack_point(*(origin_like(part, shape[:-1] + size, like) for part, size in parts))
    point: Tensor = manifold.origin(shape, dtype=like.dtype, device=like.device)
    return point.as_subclass(Tensor)
