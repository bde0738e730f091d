"""A learned translation of a gyrovector space."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..._geoopt import geoopt
from ...manifolds.parameter import ManifoldParameter
from .families import require_gyrovector_space
from .point_shapes import check_points

__all__ = ["GyroBias"]


class GyroBias(nn.Module):
    """``x ↦ B ⊕ x`` with a point B that starts at the identity element: an isometry.

    Args:
        manifold: a gyrovector space.
        point_shape: the shape of a point.

    Raises:
        UnavailableError: for a manifold without gyrovector operations.
        GeowarpError: for a shape that no point has, also in ``forward``.

    References:
        Nguyen, Yang, Building neural networks on matrix manifolds: a gyrovector space approach, ICML (2023).

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> GyroBias(PoincareBall(), (2,))(torch.tensor([0.5, 0.0])).detach()
        tensor([0.5000, 0.0000])
    """

    def __init__(self, manifold: geoopt.Manifold, point_shape: Sequence[int]) -> None:
        super().__init__()
        self.manifold = require_gyrovector_space("GyroBias", manifold)
        self.point_shape = tuple(point_shape)
        identity = self.manifold.identity_element(self.point_shape)
        self.point = ManifoldParameter(identity, manifold=self.manifold)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``B ⊕ x``, ``(..., *point)``."""
        check_points("GyroBias", x, self.point_shape)
        return self.manifold.gyro_add(self.point, x)

    def extra_repr(self) -> str:
        """Return the shape of a point, for ``repr``."""
        return f"{self.point_shape}"
