"""Log-Euclidean and log-Cholesky distances: of the coordinates of A and of B."""

from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import LogCholeskySPD, LogEuclideanSPD

from . import divided_differences, exact, samples
from .norm import norm
from .spd import factor, whiten
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS", "cholesky_coordinates", "exact_cholesky_coordinates"]

N = 6
CONDITIONS = [1e2, 1e4]
DISTANCES = {"float32": [None, 1e-1, 1e-2, 1e-4], "float64": [None, 1e-2, 1e-4, 1e-6, 1e-8]}


def logarithm(a: Tensor) -> Tensor:
    """Return log A, by its eigenvalues."""
    values, vectors = torch.linalg.eigh(a)
    result: Tensor = (vectors * values.log()[..., None, :]) @ vectors.mT
    return result


def difference_of_logarithms(a: Tensor, b: Tensor) -> Tensor:
    """``‖log A − log B‖``."""
    return norm((logarithm(a) - logarithm(b)).flatten(-2))


def divided_difference(a: Tensor, b: Tensor) -> Tensor:
    """``‖log[λ_i, μ_j] (Uᵀ (A − B) V)_ij‖``, ``A = U Λ Uᵀ`` and ``B = V M Vᵀ``."""
    (x, u), (y, v) = torch.linalg.eigh(a), torch.linalg.eigh(b)
    factors = divided_differences.log_by_atanh(x[..., :, None], y[..., None, :])
    return norm((factors * (u.mT @ (a - b) @ v)).flatten(-2))


def cholesky_coordinates(a: Tensor) -> Tensor:
    """Return the lower triangle of the factor, its diagonal by the logarithm, as vectors."""
    lower = factor(a)
    coordinates = lower.tril(-1) + torch.diag_embed(lower.diagonal(dim1=-2, dim2=-1).log())
    return coordinates.flatten(-2)


def difference_of_factors(a: Tensor, b: Tensor) -> Tensor:
    """``‖φ(A) − φ(B)‖`` of the coordinates φ."""
    return norm(cholesky_coordinates(a) - cholesky_coordinates(b))


def _half_lower(a: Tensor) -> Tensor:
    return a.tril() - 0.5 * torch.diag_embed(a.diagonal(dim1=-2, dim2=-1))


def refined_difference(a: Tensor, b: Tensor) -> Tensor:
    """The same with ``N = L_A⁻¹ L_B − I`` after a Newton step for ``N + Nᵀ + N Nᵀ = L_A⁻¹ (B − A) L_A⁻ᵀ``."""
    lower = factor(a)
    n = torch.linalg.solve_triangular(lower, factor(b) - lower, upper=False)
    whole = n + torch.eye(N, dtype=a.dtype)
    residual = whiten(a, b - a) - n - n.mT - n @ n.mT
    half = torch.linalg.solve_triangular(whole, residual, upper=False)
    n = n + whole @ _half_lower(torch.linalg.solve_triangular(whole, half.mT, upper=False).mT)
    logarithms = n.diagonal(dim1=-2, dim2=-1).log1p()
    return norm(((lower @ n).tril(-1) + torch.diag_embed(logarithms)).flatten(-2))


def exact_difference_of_logarithms(a: Tensor, b: Tensor) -> list[Any]:
    """Return the exact log-Euclidean distance."""
    difference = exact.apply(exact.matrix(a), mp.log) - exact.apply(exact.matrix(b), mp.log)
    return [mp.norm(exact.entries(difference))]


def exact_cholesky_coordinates(a: Tensor) -> list[Any]:
    """Return the exact coordinates."""
    lower = mp.cholesky(exact.matrix(a))
    for i in range(lower.rows):
        lower[i, i] = mp.log(lower[i, i])
    return exact.entries(lower)


def exact_difference_of_factors(a: Tensor, b: Tensor) -> list[Any]:
    """Return the exact log-Cholesky distance."""
    pair = zip(exact_cholesky_coordinates(a), exact_cholesky_coordinates(b), strict=True)
    return [mp.norm([x - y for x, y in pair])]


def pairs(count: int) -> Iterator[Case]:
    """Make pairs of independent matrices, and pairs at affine-invariant distances."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for condition in CONDITIONS:
            for size in DISTANCES[name]:
                a = samples.spd(source, count, N, condition).to(dtype)
                far = samples.spd(source, count, N, condition)
                b = (samples.spd_near(source, a.double(), size) if size else far).to(dtype)
                labels = {"condition": f"{condition:.0e}", "distance": f"{size:.0e}" if size else "far"}
                yield Case({"dtype": name, **labels}, (a, b))


TOPICS = [
    Topic(
        name="log-euclidean",
        title="Log-Euclidean distance, by condition number and distance",
        why=(
            "The difference of two logarithms has an absolute error. As log A − log B = U (log[λ_i, "
            "μ_j] ∘ Uᵀ(A − B)V) Vᵀ with divided differences of the eigenvalues λ, μ and the "
            "eigenvectors U, V of A and B, it has a relative one, for the same two decompositions."
        ),
        candidates={
            "difference of logarithms": difference_of_logarithms,
            "divided differences of B − A": divided_difference,
            "geowarp": LogEuclideanSPD().dist,
        },
        shipped="geowarp",
        cases=pairs,
        exact=exact_difference_of_logarithms,
    ),
    Topic(
        name="log-cholesky",
        title="Log-Cholesky distance, by condition number and distance",
        why=(
            "The difference of two Cholesky factors has an absolute error of eps ‖A‖ / √λ_min. A Newton "
            "step from B − A removes it, for one more triangular solve; the rounding of L⁻¹(B − A)L⁻ᵀ is "
            "what is left."
        ),
        candidates={
            "difference of factors": difference_of_factors,
            "Newton step for B − A": refined_difference,
            "geowarp": LogCholeskySPD().dist,
        },
        shipped="geowarp",
        cases=pairs,
        exact=exact_difference_of_factors,
    ),
]
