"""What a family of homomorphisms of gyrovector spaces is, with weights that are points or free numbers."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import GyrovectorSpace, Stiefel
from ...manifolds.parameter import ManifoldParameter
from ...manifolds.spd.flat import FlatSPD

__all__ = ["CoordinateMaps", "HomomorphismFamily", "free", "orthonormal"]


class HomomorphismFamily(abc.ABC):
    """Maps of points with ``hom(P ⊕ Q) = hom(P) ⊕ hom(Q)`` and ``hom(t ⊙ P) = t ⊙ hom(P)``, by their weights.

    A value that ``GyroHomomorphism`` is given: it says which weights there are, and what they do.

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> from geowarp.nn.gyro import OrthogonalCongruence
        >>> family = OrthogonalCongruence()
        >>> {name: w.shape for name, w in family.weights(AffineInvariantSPD(), (3, 3), (3, 3), ()).items()}
        {'rotation': torch.Size([3, 3])}
    """

    spaces: ClassVar[tuple[type[GyrovectorSpace], ...]]
    """The spaces that the maps are homomorphisms of."""

    @abc.abstractmethod
    def isometric(self, manifold: GyrovectorSpace) -> bool:
        """Return whether every map of the family preserves distances."""

    @abc.abstractmethod
    def weights(
        self,
        manifold: GyrovectorSpace,
        point_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
        heads: tuple[int, ...],
    ) -> dict[str, nn.Parameter]:
        """Return new weights by name, each ``(*heads, m, n)``.

        Raises:
            GeowarpError: for a shape of results that no map of the family has.
        """

    @abc.abstractmethod
    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return the images ``(..., *out_shape)`` of points.

        Args:
            manifold: the space.
            weights: as ``weights`` names them, with batch dimensions that broadcast with those of x.
            x: ``(..., *point)``.
            out_shape: of a result.
        """

    def check_space(self, manifold: GyrovectorSpace) -> None:
        """Raise GeowarpError where the maps are no homomorphisms of the space."""
        if not isinstance(manifold, self.spaces):
            names = ", ".join(space.__name__ for space in self.spaces)
            raise GeowarpError(f"{self!r}: its maps are homomorphisms of {names}, not of {manifold!r}")


class CoordinateMaps(HomomorphismFamily):
    """Homomorphisms of a flat metric, as linear maps of its coordinates ``(..., n, n)``.

    Example:
        >>> from geowarp.manifolds import LogEuclideanSPD
        >>> from geowarp.nn.gyro import LogarithmCongruence
        >>> family = LogarithmCongruence()
        >>> family.of_coordinates(LogEuclideanSPD(), {"matrix": torch.ones(1, 2)}, torch.eye(2), (1, 1))
        tensor([[2.]])
    """

    @abc.abstractmethod
    def of_coordinates(
        self,
        manifold: FlatSPD[Any],
        weights: Mapping[str, Tensor],
        coordinates: Tensor,
        out_shape: tuple[int, ...],
    ) -> Tensor:
        """Return the coordinates ``(..., m, m)`` of the images of points with coordinates ``(..., n, n)``."""

    def apply(
        self, manifold: GyrovectorSpace, weights: Mapping[str, Tensor], x: Tensor, out_shape: tuple[int, ...]
    ) -> Tensor:
        """Return the point whose coordinates are those of x, mapped."""
        assert isinstance(manifold, FlatSPD)
        coordinates = self.of_coordinates(manifold, weights, manifold.coordinates(x), out_shape)
        point: Tensor = manifold.from_coordinates(coordinates)
        return point


def orthonormal(heads: tuple[int, ...], rows: int, columns: int) -> ManifoldParameter:
    """Return uniformly distributed matrices with orthonormal columns, ``(*heads, rows, columns)``.

    Example:
        >>> orthonormal((2,), 4, 3).shape
        torch.Size([2, 4, 3])
    """
    return ManifoldParameter(Stiefel().random(*heads, rows, columns), manifold=Stiefel())


def free(heads: tuple[int, ...], rows: int, columns: int) -> nn.Parameter:
    """Return matrices ``(*heads, rows, columns)`` that start with orthonormal columns, or rows if fewer.

    Example:
        >>> free((), 2, 3).shape
        torch.Size([2, 3])
    """
    tall = Stiefel().random(*heads, max(rows, columns), min(rows, columns)).detach().as_subclass(Tensor)
    return nn.Parameter((tall if rows >= columns else tall.mT).clone(memory_format=torch.contiguous_format))
