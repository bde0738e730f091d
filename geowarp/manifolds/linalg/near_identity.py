"""The Cholesky factor of a matrix near the identity, by matrix products only."""

import math

import torch
from torch import Tensor

__all__ = ["inverse_cholesky_near_identity"]


def _half_lower(matrix: Tensor) -> Tensor:
    """Return the strict lower triangle plus half of the diagonal: ``Φ + Φᵀ = A`` for symmetric A."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    return matrix.tril() - torch.diag_embed(0.5 * diagonal)


def inverse_cholesky_near_identity(matrix: Tensor, distance: float) -> Tensor:
    """Return the upper triangular ``P = L⁻ᵀ`` of ``A = LLᵀ``, so that ``PᵀAP = I``.

    Newton's iteration ``P ← P (I − Φ(PᵀAP − I)ᵀ)`` from ``P = I``, with Φ the lower triangle and half of the
    diagonal. The error after j steps is below ``distance^(2ʲ)``, which decides how many are made: one for
    ``distance <= 3e-4`` in float32. No factorisation, so a batch of small matrices costs a few products.

    Args:
        matrix: symmetric, ``(..., k, k)``.
        distance: a bound of ``‖A − I‖`` (Frobenius), at most 1/2.

    References:
        Chang, Paige, Stewart, New perturbation analyses for the Cholesky factorization, IMA J. Numer. Anal.
        16 (1996), section 2, for the derivative Φ of the factor.

    Example:
        >>> a = torch.tensor([[1.2, 0.1], [0.1, 0.9]])
        >>> p = inverse_cholesky_near_identity(a, 0.3)
        >>> torch.allclose(p.mT @ a @ p, torch.eye(2), atol=1e-6)
        True
    """
    factor = matrix.triu().neg_()
    factor.diagonal(dim1=-2, dim2=-1).mul_(0.5).add_(1.5)
    steps = _steps(distance, torch.finfo(matrix.dtype).eps)
    if steps == 1:
        return factor
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(steps - 1):
        residual = factor.mT @ (matrix @ factor) - eye
        factor = factor - factor @ _half_lower(residual).mT
    return factor


def _steps(distance: float, eps: float) -> int:
    if distance <= eps:
        return 1
    return max(1, math.ceil(math.log2(math.log(eps) / math.log(distance))))
