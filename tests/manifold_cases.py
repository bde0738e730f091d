"""The manifolds of the conformance tests: how each is made, the shape of its points, and what it claims."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from geowarp.manifolds import (
    QR,
    SPSD,
    AffineInvariantSPD,
    AlphaMetric,
    BirkhoffPolytope,
    BuresWassersteinSPD,
    CanonicalMetric,
    Cayley,
    Euclidean,
    EuclideanMetric,
    Exponential,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    Oblique,
    PoincareBall,
    Polar,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.manifolds.checks import Claims


@dataclass(frozen=True)
class Case:
    """A manifold, made anew at every call; ``absent`` names the checks for which it has no operation.

    ``variant`` is a manifold that differs from another case in its retraction alone.
    """

    make: Callable[[], Manifold]
    shape: tuple[int, ...]
    claims: Claims = field(default_factory=Claims)
    absent: frozenset[str] = frozenset()
    variant: bool = False

    @property
    def name(self) -> str:
        return f"{self.make()!r}-{'x'.join(map(str, self.shape))}"

    def points(self, *batch: int, dtype: torch.dtype) -> Tensor:
        points: Tensor = self.make().random(*batch, *self.shape, dtype=dtype)
        return points.detach().clone()


def span(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x xᵀ − y yᵀ``: 0 for orthonormal bases of one subspace, and for factors of one matrix."""
    return x @ x.mT - y @ y.mT


FLAT = Claims(radius=3.0, order=2, isometric=True)
FIRST, SECOND = Claims(), Claims(order=2)
ROUND = Claims(radius=3.0, order=2, isometric=True)
ROTATION, SECOND_ROTATION = (Claims(radius=1.0, order=order, isometric=True) for order in (1, 2))
PULLED_BACK = Claims(order=2, isometric=True)
TRANSPORT = Claims(radius=0.3, order=2)
INVARIANT = Claims(order=2, isometric=True)
SUBSPACE = Claims(radius=1.0, order=2, isometric=True, difference=span)
FACTOR = Claims(order=2, isometric=True, difference=span)
FISHER = Claims(orthogonal=False)
NO_GEODESICS = frozenset(
    (
        "check_exponential_order",
        *("check_exponential_inverts_logarithm", "check_logarithm_inverts_exponential"),
        *("check_geodesic", "check_geodesic_length", "check_geodesic_speed"),
        *("check_distance_squared", "check_distance_symmetric", "check_distance_zero"),
        *("check_pairwise_distance", "check_triangle_inequality"),
        *("check_mean_midpoint", "check_mean_stationary"),
    )
)
HYPERBOLIC = Claims(order=2, isometric=True)
MINKOWSKI = Claims(order=2, isometric=True, orthogonal=False)

CASES = [
    Case(lambda: Euclidean(0), (), FLAT),
    Case(lambda: Euclidean(1), (3,), FLAT),
    Case(lambda: Euclidean(2), (2, 2), FLAT),
    Case(Sphere, (3,), ROUND),
    Case(Sphere, (2,), ROUND),
    Case(Oblique, (3, 2), ROUND),
    Case(lambda: Stiefel(EuclideanMetric(), QR()), (5, 2), FIRST),
    Case(lambda: Stiefel(EuclideanMetric(), Polar()), (5, 2), SECOND, variant=True),
    Case(lambda: Stiefel(EuclideanMetric(), Cayley()), (5, 2), FIRST, variant=True),
    Case(lambda: Stiefel(EuclideanMetric(), Exponential()), (5, 2), SECOND, variant=True),
    Case(lambda: Stiefel(CanonicalMetric(), QR()), (5, 2), FIRST),
    Case(lambda: Stiefel(CanonicalMetric(), Polar()), (5, 2), FIRST, variant=True),
    Case(lambda: Stiefel(CanonicalMetric(), Cayley()), (5, 2), SECOND, variant=True),
    Case(lambda: Stiefel(CanonicalMetric(), Exponential()), (5, 2), SECOND, variant=True),
    Case(lambda: Stiefel(AlphaMetric(0.4), QR()), (5, 2), FIRST),
    Case(lambda: Stiefel(AlphaMetric(0.4), Exponential()), (5, 2), SECOND, variant=True),
    Case(Stiefel, (4, 1), FIRST),
    Case(Stiefel, (3, 3), FIRST),
    Case(lambda: Stiefel(CanonicalMetric(), Cayley()), (3, 3), SECOND),
    Case(lambda: Stiefel(CanonicalMetric(), Cayley()), (1, 1), SECOND),
    Case(lambda: Stiefel(EuclideanMetric(), Polar()), (16, 2), SECOND),
    Case(lambda: Grassmann(QR()), (5, 2), SUBSPACE),
    Case(lambda: Grassmann(Polar()), (5, 2), SUBSPACE, variant=True),
    Case(lambda: Grassmann(Cayley()), (5, 2), SUBSPACE, variant=True),
    Case(lambda: Grassmann(Exponential()), (5, 2), SUBSPACE, variant=True),
    Case(Grassmann, (3, 1), SUBSPACE),
    Case(Grassmann, (3, 3), SUBSPACE),
    Case(lambda: SpecialOrthogonal(QR()), (3, 3), ROTATION),
    Case(lambda: SpecialOrthogonal(Polar()), (3, 3), SECOND_ROTATION, variant=True),
    Case(lambda: SpecialOrthogonal(Cayley()), (3, 3), SECOND_ROTATION, variant=True),
    Case(lambda: SpecialOrthogonal(Exponential()), (4, 4), SECOND_ROTATION),
    Case(SpecialOrthogonal, (2, 2), SECOND_ROTATION),
    Case(PoincareBall, (3,), HYPERBOLIC),
    Case(PoincareBall, (1,), HYPERBOLIC),
    Case(lambda: PoincareBall(0.7), (3,), HYPERBOLIC),
    Case(Lorentz, (4,), MINKOWSKI),
    Case(Lorentz, (2,), MINKOWSKI),
    Case(lambda: Lorentz(2.0), (4,), MINKOWSKI),
    Case(lambda: ProductManifold((PoincareBall(), (2, 2)), (Lorentz(2.0), 3)), (7,), MINKOWSKI),
    Case(AffineInvariantSPD, (3, 3), INVARIANT),
    Case(AffineInvariantSPD, (2, 2), INVARIANT),
    Case(AffineInvariantSPD, (1, 1), INVARIANT),
    Case(BuresWassersteinSPD, (3, 3), TRANSPORT),
    Case(BuresWassersteinSPD, (2, 2), TRANSPORT),
    Case(BuresWassersteinSPD, (1, 1), TRANSPORT),
    Case(LogCholeskySPD, (3, 3), PULLED_BACK),
    Case(LogCholeskySPD, (2, 2), PULLED_BACK),
    Case(LogCholeskySPD, (1, 1), PULLED_BACK),
    Case(LogEuclideanSPD, (3, 3), PULLED_BACK),
    Case(LogEuclideanSPD, (2, 2), PULLED_BACK),
    Case(LogEuclideanSPD, (1, 1), PULLED_BACK),
    Case(lambda: ProductManifold((Sphere(), (2, 3)), (Euclidean(1), 2), (Oblique(), (2, 1))), (10,), ROUND),
    Case(lambda: ProductManifold((Stiefel(), (3, 2)), (Euclidean(0), ())), (7,), FIRST),
    Case(lambda: SPSD(2), (5, 2), FACTOR),
    Case(lambda: SPSD(1), (3, 1), FACTOR),
    Case(lambda: SPSD(3), (3, 3), FACTOR),
    Case(lambda: SPSD(2, weight=0.5), (4, 2), FACTOR),
    Case(BirkhoffPolytope, (3, 3), FISHER, NO_GEODESICS),
    Case(BirkhoffPolytope, (2, 2), FISHER, NO_GEODESICS),
]
