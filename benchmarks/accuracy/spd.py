"""Factors of symmetric positive definite matrices, as the candidates of several topics use them."""

import torch
from torch import Tensor

__all__ = ["factor", "power", "relative_difference", "relative_factor", "whiten"]


def factor(a: Tensor) -> Tensor:
    """Return the Cholesky factor L, ``A = L Lᵀ``."""
    lower: Tensor = torch.linalg.cholesky(a)
    return lower


def power(a: Tensor, exponent: float) -> Tensor:
    """Return the power of A, by its eigenvalues."""
    values, vectors = torch.linalg.eigh(a)
    result: Tensor = (vectors * values.clamp_min(0)[..., None, :] ** exponent) @ vectors.mT
    return result


def whiten(a: Tensor, b: Tensor) -> Tensor:
    """Return ``L⁻¹ B L⁻ᵀ`` with ``A = L Lᵀ``."""
    lower = factor(a)
    half = torch.linalg.solve_triangular(lower, b, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(lower, half.mT, upper=False)
    return 0.5 * (whole + whole.mT)


def relative_factor(a: Tensor, b: Tensor) -> Tensor:
    """Return ``L_A⁻¹ L_B``."""
    quotient: Tensor = torch.linalg.solve_triangular(factor(a), factor(b), upper=False)
    return quotient


def relative_difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the eigenvalues of ``A⁻¹(B − A)``, which are those of ``A⁻¹B`` less 1."""
    values: Tensor = torch.linalg.eigvalsh(whiten(a, b - a))
    return values
