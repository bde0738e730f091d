"""The affine-invariant distance ``‖log λ(A⁻¹B)‖``."""

from collections.abc import Iterator
from typing import Any

import scipy.linalg
import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import AffineInvariantSPD

from . import exact, samples
from .norm import norm
from .spd import power, relative_difference, relative_factor, whiten
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

N = 6
CONDITIONS = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]
CLOSE_CONDITIONS = [1e2, 1e5]
DISTANCES = {"float32": [1e0, 1e-1, 1e-2, 1e-3, 1e-4], "float64": [1e0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10]}


def cholesky_eigvalsh(a: Tensor, b: Tensor) -> Tensor:
    """Eigenvalues of ``L_A⁻¹ B L_A⁻ᵀ``."""
    return norm(torch.linalg.eigvalsh(whiten(a, b)).log())


def inverse_sqrt_eigvalsh(a: Tensor, b: Tensor) -> Tensor:
    """Eigenvalues of ``A^{-1/2} B A^{-1/2}``."""
    root = power(a, -0.5)
    return norm(torch.linalg.eigvalsh(root @ b @ root).log())


def generalised(a: Tensor, b: Tensor) -> Tensor:
    """LAPACK's generalised symmetric eigenvalues of B and A (sygvd)."""
    values = [scipy.linalg.eigvalsh(y, x) for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    return norm(torch.stack([torch.from_numpy(value) for value in values]).log())


def nonsymmetric(a: Tensor, b: Tensor) -> Tensor:
    """Eigenvalues of ``A⁻¹B`` as a matrix without symmetry."""
    return norm(torch.linalg.eigvals(torch.linalg.solve(a, b)).real.log())


def singular_values(a: Tensor, b: Tensor) -> Tensor:
    """``2 ‖log σ(L_A⁻¹ L_B)‖``."""
    return 2 * norm(torch.linalg.svdvals(relative_factor(a, b)).log())


def gram_in_float64(a: Tensor, b: Tensor) -> Tensor:
    """Eigenvalues of ``MᵀM``, ``M = L_A⁻¹ L_B``, the product and the eigenvalues in float64."""
    m = relative_factor(a, b).double()
    return norm(torch.linalg.eigvalsh(m.mT @ m).log())


def all_in_float64(a: Tensor, b: Tensor) -> Tensor:
    """Cholesky, product and eigenvalues in float64."""
    return cholesky_eigvalsh(a.double(), b.double())


def by_difference(a: Tensor, b: Tensor) -> Tensor:
    """``‖log1p λ(A⁻¹(B − A))‖``."""
    return norm(relative_difference(a, b).log1p())


def artanh(a: Tensor, b: Tensor) -> Tensor:
    """``2 ‖artanh λ((A + B)⁻¹(B − A))‖``."""
    return 2 * norm(torch.linalg.eigvalsh(whiten(a + b, b - a)).atanh())


def distance(a: Tensor, b: Tensor) -> list[Any]:
    """Return the exact distance."""
    return [mp.norm([mp.log(x) for x in exact.eigenvalues_of_pair(exact.matrix(a), exact.matrix(b))])]


def conditions(count: int) -> Iterator[Case]:
    """Make pairs of independent matrices of each condition number."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for condition in CONDITIONS:
            a = samples.spd(source, count, N, condition)
            b = 2 * samples.spd(source, count, N, condition)
            yield Case({"dtype": name, "condition": f"{condition:.0e}"}, (a.to(dtype), b.to(dtype)))


def distances(count: int) -> Iterator[Case]:
    """Make pairs at each distance from matrices of each condition number."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for condition in CLOSE_CONDITIONS:
            for size in DISTANCES[name]:
                a = samples.spd(source, count, N, condition).to(dtype)
                b = samples.spd_near(source, a.double(), size).to(dtype)
                labels = {"condition": f"{condition:.0e}", "distance": f"{size:.0e}"}
                yield Case({"dtype": name, **labels}, (a, b))


BY_CONDITION = Topic(
    name="affine-invariant",
    title="Affine-invariant distance, by condition number",
    why=(
        "Eigenvalues of A⁻¹B, in whatever way they are computed, have an absolute error of eps times the "
        "largest one, so that the small ones lose their digits, all of them in float32 at condition "
        "numbers above 1e4. The singular values of L_A⁻¹ L_B are their roots, and lose only the root of "
        "that. geowarp computes in float64, by singular values where the eigenvalues are far apart, and "
        "by eigenvalues of A⁻¹(B − A), which are cheaper and right for close pairs (next table), where "
        "they are not."
    ),
    candidates={
        "Cholesky + eigvalsh": cholesky_eigvalsh,
        "A^-1/2 + eigvalsh": inverse_sqrt_eigvalsh,
        "generalised eigenvalues": generalised,
        "eigenvalues of A^-1 B": nonsymmetric,
        "SVD of L_A^-1 L_B": singular_values,
        "its Gram in float64": gram_in_float64,
        "all in float64": all_in_float64,
        "log1p of A^-1 (B − A)": by_difference,
        "artanh of (A + B)^-1 (B − A)": artanh,
        "geowarp": AffineInvariantSPD().dist,
    },
    shipped="geowarp",
    higher_precision=("its Gram in float64", "all in float64"),
    cases=conditions,
    exact=distance,
)
BY_DISTANCE = Topic(
    name="affine-invariant-close",
    title="Affine-invariant distance, close pairs",
    why=(
        "Close pairs have eigenvalues near 1, whose logarithms singular values know to eps over the "
        "distance. The eigenvalues of A⁻¹(B − A) are accurate relative to the distance, because B − A is, "
        "and so are those of (A + B)⁻¹(B − A), the hyperbolic tangents of ½ log λ. The latter lose less "
        "at distant pairs, too, but need a factor of each A + B; geowarp has one factor for each A, "
        "log1p, and float64."
    ),
    candidates={
        "Cholesky + eigvalsh": cholesky_eigvalsh,
        "SVD of L_A^-1 L_B": singular_values,
        "its Gram in float64": gram_in_float64,
        "all in float64": all_in_float64,
        "log1p of A^-1 (B − A)": by_difference,
        "artanh of (A + B)^-1 (B − A)": artanh,
        "geowarp": AffineInvariantSPD().dist,
    },
    shipped="geowarp",
    higher_precision=("its Gram in float64", "all in float64"),
    cases=distances,
    exact=distance,
)
TOPICS = [BY_CONDITION, BY_DISTANCE]
