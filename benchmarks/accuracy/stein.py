"""The Stein divergence ``log det((A + B)/2) − ½ log det AB``."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds.spd import stein_divergence

from . import exact, samples
from .spd import factor, relative_difference, relative_factor, whiten
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

N = 6
DISTANCES = {
    "float32": [5e0, 1e0, 1e-1, 1e-2, 1e-3, 1e-4],
    "float64": [1e1, 1e0, 1e-2, 1e-4, 1e-6, 1e-8],
}


def _log_det(a: Tensor) -> Tensor:
    return 2 * factor(a).diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _exponents(a: Tensor, b: Tensor) -> Tensor:
    """Return ``½ log λ(A⁻¹B)``."""
    values: Tensor = torch.linalg.svdvals(relative_factor(a, b)).log()
    return values


def log_determinants(a: Tensor, b: Tensor) -> Tensor:
    """``log det((A + B)/2) − ½ log det A − ½ log det B`` by Cholesky."""
    return _log_det(0.5 * (a + b)) - 0.5 * _log_det(a) - 0.5 * _log_det(b)


def log_cosh(a: Tensor, b: Tensor) -> Tensor:
    """``Σ |x| + log1p(e^{-2|x|}) − log 2`` with ``x = ½ log λ``."""
    x = _exponents(a, b).abs()
    return (x + (-2 * x).exp().log1p() - math.log(2)).sum(-1)


def log_cosh_by_sinh(a: Tensor, b: Tensor) -> Tensor:
    """``Σ log1p(2 sinh²(x/2))``."""
    return (2 * (0.5 * _exponents(a, b)).sinh().square()).log1p().sum(-1)


def singular_values(a: Tensor, b: Tensor) -> Tensor:
    """``Σ log1p((σ − 1)² / (2σ))`` with ``σ = √λ``."""
    sigma: Tensor = torch.linalg.svdvals(relative_factor(a, b))
    return ((sigma - 1).square() / (2 * sigma)).log1p().sum(-1)


def by_difference(a: Tensor, b: Tensor) -> Tensor:
    """``½ Σ log1p(ε² / (4 (1 + ε)))`` with ``ε = λ(A⁻¹(B − A))``."""
    e = relative_difference(a, b)
    return 0.5 * (e.square() / (4 * (1 + e))).log1p().sum(-1)


def difference_from_mean(a: Tensor, b: Tensor) -> Tensor:
    """``−½ Σ log1p(−δ²)`` with ``δ = λ((A + B)⁻¹(B − A))``."""
    delta: Tensor = torch.linalg.eigvalsh(whiten(a + b, b - a))
    return -0.5 * (-delta.square()).log1p().sum(-1)


def divergence(a: Tensor, b: Tensor) -> list[Any]:
    """Return the exact divergence."""
    values = exact.eigenvalues_of_pair(exact.matrix(a), exact.matrix(b))
    return [sum(mp.log(mp.cosh(mp.log(value) / 2)) for value in values)]


def pairs(count: int) -> Iterator[Case]:
    """Make pairs at each affine-invariant distance from a matrix of condition number 100."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for size in DISTANCES[name]:
            a = samples.spd(source, count, N, 1e2).to(dtype)
            b = samples.spd_near(source, a.double(), size).to(dtype)
            yield Case({"dtype": name, "distance": f"{size:.0e}"}, (a, b))


TOPICS = [
    Topic(
        name="stein",
        title="Stein divergence, by affine-invariant distance (condition number 100)",
        why=(
            "Log-determinants cancel for close pairs, log cosh x needs x to be accurate near 0, and the "
            "logarithms of singular values are not. The eigenvalues of A⁻¹(B − A), or of (A + B)⁻¹(B − "
            "A), are. geowarp takes the former where log-determinants, which need no eigenvalues, have "
            "lost more than a digit, and float64 for all."
        ),
        candidates={
            "log-determinants": log_determinants,
            "log cosh": log_cosh,
            "log1p of sinh": log_cosh_by_sinh,
            "log1p of singular values": singular_values,
            "log1p of A^-1 (B − A)": by_difference,
            "log1p of (A + B)^-1 (B − A)": difference_from_mean,
            "geowarp": stein_divergence,
        },
        shipped="geowarp",
        cases=pairs,
        exact=divergence,
    )
]
