"""Symmetric positive definite matrices, one file for each metric."""

from .affine_invariant import AffineInvariantSPD
from .bures_wasserstein import BuresWassersteinSPD
from .log_cholesky import LogCholeskySPD
from .log_euclidean import LogEuclideanSPD
from .points import SymmetricPositiveDefinite
from .stein import stein_divergence, stein_divergence_pairwise
from .stein_barycentre import stein_mean

__all__ = [
    "AffineInvariantSPD",
    "BuresWassersteinSPD",
    "LogCholeskySPD",
    "LogEuclideanSPD",
    "SymmetricPositiveDefinite",
    "stein_divergence",
    "stein_divergence_pairwise",
    "stein_mean",
]
