"""Exact values: mpmath matrices of tensors, and functions of symmetric matrices."""

from collections.abc import Callable
from typing import Any

from mpmath import mp
from torch import Tensor

__all__ = ["apply", "eigenvalues_of_pair", "entries", "matrix", "vector"]


def matrix(tensor: Tensor) -> Any:
    """Return a matrix of the exact values of the entries."""
    return mp.matrix(tensor.double().tolist())


def vector(tensor: Tensor) -> list[Any]:
    """Return the exact values of the entries."""
    return [mp.mpf(value) for value in tensor.double().flatten().tolist()]


def entries(a: Any) -> list[Any]:
    """Return the entries of a matrix, row by row."""
    return list(a)


def apply(a: Any, function: Callable[[Any], Any]) -> Any:
    """Return the function of a symmetric matrix."""
    values, vectors = mp.eigsy(a)
    return vectors * mp.diag([function(value) for value in values]) * vectors.T


def eigenvalues_of_pair(a: Any, b: Any) -> list[Any]:
    """Return the eigenvalues of ``A⁻¹B``, both symmetric positive definite."""
    inverse = mp.inverse(mp.cholesky(a))
    product = inverse * b * inverse.T
    return list(mp.eigsy((product + product.T) / 2, eigvals_only=True))
