"""Symmetric positive definite matrices, one file for each metric."""

from .affine_invariant import AffineInvariantSPD
from .points import SymmetricPositiveDefinite

__all__ = ["AffineInvariantSPD", "SymmetricPositiveDefinite"]
