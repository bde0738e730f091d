"""Where a bias lives: a submanifold that is found from words, and the distance to it."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from ..._geoopt import geoopt
from ..._warn import warn
from ...errors import NumericalWarning
from ...manifolds.linalg.precision import full_precision
from ...metrics.validation import check_points
from .groups import Members

if TYPE_CHECKING:
    from .principal_geodesics import PrincipalGeodesics
    from .zero_set import ZeroSet

__all__ = ["BiasSubmanifold", "Projection", "flattened"]


class Projection(NamedTuple):
    """The nearest points of a submanifold, and how well they were found.

    Example:
        >>> Projection(torch.zeros(1, 2), torch.zeros(1), torch.ones(1), torch.tensor([True])).converged
        tensor([True])
    """

    point: Tensor
    """``(..., *point)``."""
    residual: Tensor
    """The part along the submanifold of the geodesic to the given point, ``(...)``: 0 at a nearest point."""
    iterations: Tensor
    """How many steps were tried, ``(...)``."""
    converged: Tensor
    """Whether the residual is a rounding error, ``(...)``."""


class BiasSubmanifold(nn.Module, abc.ABC):
    """A submanifold of a manifold, with the nearest point on it of every point.

    ``from_pairs`` and ``from_groups`` span it by the principal geodesics of difference: what pairs of words,
    or groups of them, differ along. ``zero_set`` is where a potential is 0, such as all points that are
    equally far from all groups. Projection to the one leaves of a point the bias alone, to the other all but
    the bias.

    A subclass defines ``solve_projection``. The nearest point is a local minimum of the distance, found from
    a start that is close to it; it is computed without gradient, and ``distance`` has one.

    References:
        Bolukbasi, Chang, Zou, Saligrama, Kalai, Man is to computer programmer as woman is to homemaker?
        Debiasing word embeddings, NeurIPS (2016), section 5; Fletcher, Lu, Pizer, Joshi, Principal geodesic
        analysis for the study of nonlinear statistics of shape, IEEE Trans. Med. Imaging 23 (2004).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> pairs = torch.tensor([[[1.0, 1.0], [-1.0, 1.0]], [[2.0, 3.0], [0.0, 3.0]]])
        >>> line = BiasSubmanifold.from_pairs(pairs, Euclidean(1))
        >>> line.distance(torch.tensor([[7.0, 5.0]]))
        tensor([3.])
    """

    def __init__(self, base: geoopt.Manifold) -> None:
        super().__init__()
        self.base = base

    @abc.abstractmethod
    def solve_projection(self, x: Tensor) -> Projection:
        """Return the nearest points of points ``(..., *point)``, and how well they were found."""

    @full_precision
    def project(self, x: Tensor) -> Tensor:
        """Return the nearest points of the submanifold, ``(..., *point)``.

        Raises:
            NotOnManifoldError: for points that are not on the base.
            NonFiniteError: for points that are infinite or not a number.

        Warns:
            NumericalWarning: where the search did not converge.
        """
        check_points(self.base, x)
        found = self.solve_projection(x)
        if not bool(found.converged.all()):
            warn(
                f"{type(self).__name__}: {int((~found.converged).sum())} of {found.converged.numel()} "
                f"projections did not converge, the largest residual is {float(found.residual.max()):.1e}; "
                "solve_projection says which",
                NumericalWarning,
            )
        return found.point

    @full_precision
    def distance(self, x: Tensor) -> Tensor:
        """Return the distance ``(...)`` of points to the submanifold; it raises as ``project``."""
        nearest: Tensor = self.project(x)
        distance: Tensor = self.base.dist(x, nearest)
        return distance

    def forward(self, x: Tensor) -> Tensor:
        """Return the distance."""
        distance: Tensor = self.distance(x)
        return distance

    @staticmethod
    def from_pairs(pairs: Tensor, base: geoopt.Manifold, components: int = 1) -> "PrincipalGeodesics":
        """Return the principal geodesics of the differences within pairs, through the mean m of all points.

        The components are the principal axes of the ``½ (log_m a_i − log_m b_i)``, not centred. In flat space
        they are those of Bolukbasi et al., of all points about the centre of their pair.

        Args:
            pairs: ``(P, 2, *point)``.
            base: the manifold.
            components: the dimension of the submanifold.

        Raises:
            GeowarpError: for pairs of another shape, or a number of components that they do not have.
            NotOnManifoldError: for points that are not on the base.
            NonFiniteError: for points that are infinite or not a number.
        """
        from .principal_geodesics import of_pairs

        return of_pairs(pairs, base, components)

    @staticmethod
    def from_groups(
        groups: Members, base: geoopt.Manifold, components: int | None = None
    ) -> "PrincipalGeodesics":
        """Return the principal geodesics of the differences of the means of groups.

        They go through the mean of these means.

        Args:
            groups: ``(n_g, *point)`` of two or more groups, by name or in sequence.
            base: the manifold.
            components: the dimension of the submanifold; by default one less than groups, which is the most.

        Raises:
            GeowarpError: as ``ParityPotential`` does, and for more components.
            NotOnManifoldError: for members that are not on the base.
            NonFiniteError: for members that are infinite or not a number.
        """
        from .principal_geodesics import of_groups

        return of_groups(groups, base, components)

    @staticmethod
    def zero_set(potential: Callable[[Tensor], Tensor], base: geoopt.Manifold | None = None) -> "ZeroSet":
        """Return the set where a potential is 0; of a ``ParityPotential``, where parity needs no stretch.

        Args:
            potential: maps points ``(..., *point)`` to ``(..., K)``; of a ``ParityPotential``, ``parity``.
            base: the manifold; that of the potential by default.

        Raises:
            GeowarpError: for a potential without a base, where none is given.
        """
        from .zero_set import ZeroSet

        return ZeroSet(potential, base)


def flattened(x: Tensor, ndim: int) -> tuple[tuple[int, ...], Tensor]:
    """Return the batch dimensions of points ``(..., *point)``, and the points as ``(N, *point)``.

    Example:
        >>> flattened(torch.zeros(2, 3, 4), 1)[1].shape
        torch.Size([6, 4])
    """
    batch = tuple(x.shape[: x.ndim - ndim])
    return batch, x.detach().reshape(-1, *x.shape[x.ndim - ndim :])
