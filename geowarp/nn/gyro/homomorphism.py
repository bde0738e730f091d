"""The layer that takes the place of a linear map on a gyrovector space."""

from collections.abc import Sequence

from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.spd.flat import FlatSPD
from .families import default_family, require_gyrovector_space
from .homomorphism_family import CoordinateMaps, HomomorphismFamily
from .point_shapes import check_points

__all__ = ["GyroHomomorphism"]


class GyroHomomorphism(nn.Module):
    """A map with ``hom(P ⊕ Q) = hom(P) ⊕ hom(Q)`` and ``hom(t ⊙ P) = t ⊙ hom(P)``: what is linear there.

    By default:

    - ``AffineInvariantSPD``: ``O P Oᵀ`` with orthogonal O,
    - ``LogEuclideanSPD`` and ``LogCholeskySPD``: ``φ⁻¹(M φ(P) Mᵀ)`` with any ``(m, n)`` matrix M, and of the
      latter the lower triangle; with ``LinearCoordinates()`` any linear map of φ(P),
    - ``Grassmann``: ``diag(O_k, O_{n−k}) x``, and ``SPSD``: that of the subspace, and one of those above of
      the definite matrix,
    - ``PoincareBall`` and ``Lorentz``: ``W x``, of the space part, with orthonormal columns of W,
    - ``Euclidean``: any linear map.

    Orthonormal weights are points of ``Stiefel``, for the optimisers of ``geowarp.optim``.

    Args:
        manifold: a gyrovector space.
        point_shape: the shape of a point.
        out_shape: the shape of a result; by default that of a point.
        heads: the number of maps that are applied side by side; none means one map, without the dimension.
        family: the maps to choose from, by default those above.

    Attributes:
        isometry: whether the map preserves distances, whatever its weights.

    Raises:
        UnavailableError: for a manifold without gyrovector operations.
        GeowarpError: for a family of another manifold, shapes that it has no map of, heads below 1; in
            ``forward`` for points of another shape.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025); Nguyen, Yang, Building neural networks on matrix manifolds: a gyrovector
        space approach, ICML (2023).

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> hom = GyroHomomorphism(AffineInvariantSPD(), (3, 3), heads=4)
        >>> hom(torch.eye(3).expand(2, 1, 5, 3, 3)).shape, hom.isometry
        (torch.Size([2, 4, 5, 3, 3]), True)
    """

    def __init__(
        self,
        manifold: geoopt.Manifold,
        point_shape: Sequence[int],
        out_shape: Sequence[int] | None = None,
        *,
        heads: int | None = None,
        family: HomomorphismFamily | None = None,
    ) -> None:
        super().__init__()
        space = require_gyrovector_space("GyroHomomorphism", manifold)
        if heads is not None and heads < 1:
            raise GeowarpError(f"GyroHomomorphism: heads = {heads} must be at least 1, or None")
        self.family = default_family(space) if family is None else family
        if not isinstance(self.family, HomomorphismFamily):
            raise GeowarpError(
                f"GyroHomomorphism: the family {family!r} is no HomomorphismFamily; give a value, such as "
                f"{default_family(space)!r}, or None"
            )
        self.family.check_space(space)
        self.manifold, self.heads = space, heads
        self.point_shape = tuple(point_shape)
        self.out_shape = self.point_shape if out_shape is None else tuple(out_shape)
        for name, shape in (("point_shape", self.point_shape), ("out_shape", self.out_shape)):
            space._assert_check_shape(shape, name)
        self.isometry = self.family.isometric(space)
        batch = () if heads is None else (heads,)
        weights = self.family.weights(space, self.point_shape, self.out_shape, batch)
        self._names = tuple(weights)
        for name, weight in weights.items():
            self.register_parameter(name, weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the images of points.

        Args:
            x: ``(..., *point)``; with heads ``(..., heads or 1, N, *point)``.

        Returns:
            ``(..., *out)``; with heads ``(..., heads, N, *out)``.
        """
        check_points("GyroHomomorphism", x, self.point_shape, self.heads)
        return self.family.apply(self.manifold, self._weights(), x, self.out_shape)

    def of_coordinates(self, coordinates: Tensor) -> Tensor:
        """Return the coordinates of the images of points with some coordinates, on a flat metric.

        The points of ``φ⁻¹`` of these are what ``forward`` gives for ``φ⁻¹`` of those.

        Args:
            coordinates: ``φ(x)``, of the shape of x in ``forward``.

        Raises:
            GeowarpError: for a family that is no linear map of coordinates, and points of another shape.
        """
        if not isinstance(self.family, CoordinateMaps) or not isinstance(self.manifold, FlatSPD):
            raise GeowarpError(f"{self.family!r}: its maps of {self.manifold!r} are not maps of coordinates")
        check_points("GyroHomomorphism", coordinates, self.point_shape, self.heads)
        return self.family.of_coordinates(self.manifold, self._weights(), coordinates, self.out_shape)

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = {name: getattr(self, name) for name in self._names}
        if self.heads is None:
            return weights
        return {name: weight.unsqueeze(1) for name, weight in weights.items()}

    def extra_repr(self) -> str:
        """Return the shapes, the heads and the family, for ``repr``."""
        shapes = f"{self.point_shape}, {self.out_shape}"
        return f"{shapes}, heads={self.heads}, family={self.family!r}, isometry={self.isometry}"
