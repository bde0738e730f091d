"""Symmetric positive definite matrices, one file for each metric."""

from .points import SymmetricPositiveDefinite

__all__ = ["SymmetricPositiveDefinite"]
