"""Symmetric positive definite matrices, one file for each metric."""

from .affine_invariant import AffineInvariantSPD
from .bures_wasserstein import BuresWassersteinSPD
from .log_cholesky import LogCholeskySPD
from .log_euclidean import LogEuclideanSPD
from .points import SymmetricPositiveDefinite

__all__ = [
    "AffineInvariantSPD",
    "BuresWassersteinSPD",
    "LogCholeskySPD",
    "LogEuclideanSPD",
    "SymmetricPositiveDefinite",
]
