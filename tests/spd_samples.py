"""Positive definite matrices for tests, and their exact distances by mpmath."""

from typing import Any

import mpmath
import torch
from torch import Tensor

DIGITS = 60


def covariances(*batch: int, n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return covariances of n + 3 normal samples."""
    samples = torch.randn(*batch, n, n + 3, dtype=torch.float64)
    return (samples @ samples.mT / (n + 3)).to(dtype)


def pair(condition: float, distance: float, n: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return a matrix of a condition number, and one about so far from it, relative to its eigenvalues."""
    basis = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
    root = torch.linspace(0, -0.5, n, dtype=torch.float64) * torch.tensor(condition).log()
    direction = torch.randn(n, n, dtype=torch.float64)
    inner = torch.linalg.matrix_exp(0.5 * distance * (direction + direction.mT))
    factor = basis * root.exp()
    matrices = [factor @ factor.mT, factor @ inner @ factor.mT]
    return [(0.5 * (matrix + matrix.mT)).to(dtype) for matrix in matrices]


def exact(matrix: Tensor) -> Any:
    """Return the entries as an mpmath matrix."""
    return mpmath.matrix(matrix.double().tolist())


def spectral(matrix: Any, function: Any) -> Any:
    """Return a function of a symmetric mpmath matrix."""
    values, vectors = mpmath.eigsy(matrix)
    return vectors * mpmath.diag([function(value) for value in values]) * vectors.T


def log_euclidean(a: Tensor, b: Tensor) -> Any:
    with mpmath.workdps(DIGITS):
        difference = spectral(exact(a), mpmath.log) - spectral(exact(b), mpmath.log)
        return mpmath.norm(list(difference))


def _cholesky_coordinates(a: Tensor) -> list[Any]:
    factor = mpmath.cholesky(exact(a))
    entries = [(i, j) for i in range(factor.rows) for j in range(i + 1)]
    return [factor[i, j] if i > j else mpmath.log(factor[i, i]) for i, j in entries]


def log_cholesky(a: Tensor, b: Tensor) -> Any:
    with mpmath.workdps(DIGITS):
        pairs = zip(_cholesky_coordinates(a), _cholesky_coordinates(b), strict=True)
        return mpmath.norm([x - y for x, y in pairs])


def bures_wasserstein(a: Tensor, b: Tensor) -> Any:
    with mpmath.workdps(DIGITS):
        p, q = exact(a), exact(b)
        root = spectral(p, mpmath.sqrt)
        cross = spectral(root * q * root, mpmath.sqrt)
        square = sum(p[i, i] + q[i, i] - 2 * cross[i, i] for i in range(p.rows))
        return mpmath.sqrt(square)
