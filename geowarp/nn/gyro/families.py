"""Which homomorphisms a manifold has when none are asked for."""

from ..._geoopt import geoopt
from ...errors import UnavailableError
from ...manifolds import (
    SPSD,
    AffineInvariantSPD,
    Euclidean,
    Grassmann,
    GyrovectorSpace,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
)
from .definite_homomorphisms import definite_family
from .homomorphism_family import HomomorphismFamily
from .subspace_homomorphisms import BlockRotation, FactorHomomorphisms
from .vector_homomorphisms import LinearMap, OrthogonalMap

__all__ = ["default_family", "require_gyrovector_space"]

_METRICS = (AffineInvariantSPD(), LogEuclideanSPD(), LogCholeskySPD())
_DEFAULTS: dict[type[GyrovectorSpace], HomomorphismFamily] = {
    **{type(metric): definite_family(metric)[0] for metric in _METRICS},
    SPSD: FactorHomomorphisms(),
    Grassmann: BlockRotation(),
    PoincareBall: OrthogonalMap(),
    Lorentz: OrthogonalMap(),
    Euclidean: LinearMap(),
}


def require_gyrovector_space(name: str, manifold: geoopt.Manifold) -> GyrovectorSpace:
    """Return the manifold, which has gyrovector operations.

    Raises:
        UnavailableError: for one that has none.

    Example:
        >>> require_gyrovector_space("layer", Lorentz())
        Lorentz(1.0)
    """
    if isinstance(manifold, GyrovectorSpace):
        return manifold
    spaces = ", ".join(space.__name__ for space in _DEFAULTS)
    raise UnavailableError(
        f"{name}: {manifold!r} has no gyrovector operations; {spaces} have them. Positive definite matrices "
        "may take any of the first three metrics"
    )


def default_family(manifold: geoopt.Manifold) -> HomomorphismFamily:
    """Return the family that ``GyroHomomorphism`` takes by default.

    Raises:
        UnavailableError: for a manifold that has none.

    Example:
        >>> default_family(Grassmann()), default_family(LogEuclideanSPD())
        (BlockRotation(), LogarithmCongruence())
    """
    space = require_gyrovector_space("default_family", manifold)
    for kind, family in _DEFAULTS.items():
        if isinstance(space, kind):
            return family
    raise UnavailableError(f"default_family: {space!r} has no default; give GyroHomomorphism a family")
