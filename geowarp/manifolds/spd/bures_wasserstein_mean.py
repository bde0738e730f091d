"""The Bures–Wasserstein barycentre as the mean of aligned factors."""

import torch
from torch import Tensor

from ..karcher import KarcherMean
from ..linalg.dimensions import append_dimensions
from ..linalg.threads import over_threads
from .points import cholesky

__all__ = ["barycentre"]

_CHECK_EVERY = 4
_STAGNATION = 1000.0


def _average(weights: Tensor, matrices: Tensor) -> Tensor:
    return (append_dimensions(weights, 2) * matrices).sum(-3)


def _aligned(factors: Tensor, centre: Tensor) -> Tensor:
    """Return ``K_i O_i``, O_i the orthogonal polar factor of ``K_iᵀ C``."""
    u, _, vh = over_threads(torch.linalg.svd, factors.mT @ centre.unsqueeze(-3))
    aligned: Tensor = factors @ (u @ vh)
    return aligned


def barycentre(points: Tensor, weights: Tensor, *, max_iterations: int = 500) -> KarcherMean:
    """Return the mean of positive definite matrices ``(..., N, n, n)``, for a batch of problems at once.

    The iteration ``S ← S^{-½} (Σ w_i (S^½ P_i S^½)^½)² S^{-½}`` is, in factors ``S = C Cᵀ`` and
    ``P_i = K_i K_iᵀ``, the mean ``C ← Σ w_i K_i O_i`` of the factors that are nearest to C. It converges from
    every start, and needs neither roots nor inverses. Every problem stops on its own, at a residual of a few
    rounding units of ``‖C‖``; the device is asked for that every fourth iteration.

    Args:
        points: positive definite, ``(..., N, n, n)``.
        weights: ``(..., N)``, with sum 1; the batch dimensions broadcast.
        max_iterations: the largest number of iterations.

    References:
        Álvarez-Esteban, del Barrio, Cuesta-Albertos, Matrán, A fixed-point approach to barycenters in
        Wasserstein space, J. Math. Anal. Appl. 441 (2016), theorem 4.2; Gower, Generalized Procrustes
        analysis, Psychometrika 40 (1975).

    Example:
        >>> barycentre(torch.stack([torch.eye(1), 9 * torch.eye(1)]), torch.tensor([0.5, 0.5])).mean
        tensor([[4.]])
    """
    factors = cholesky(points)
    centre = _average(weights, factors)
    tolerance = 2 * torch.finfo(points.dtype).eps * points.shape[-1] ** 0.5
    residual = torch.full_like(centre[..., 0, 0], torch.inf)
    iterations = torch.zeros_like(residual, dtype=torch.long)
    for iteration in range(max_iterations):
        target = tolerance * torch.linalg.matrix_norm(centre)
        active = residual > target
        if iteration % _CHECK_EVERY == 0 and not bool(active.any()):
            break
        following = _average(weights, _aligned(factors, centre))
        length = torch.linalg.matrix_norm(following - centre)
        # rounding keeps the length from falling further
        stalled = (length >= residual) & (length <= _STAGNATION * target)
        centre = torch.where(append_dimensions(active, 2), following, centre)
        residual = torch.where(active, torch.where(stalled, 0, length), residual)
        iterations = iterations + active
    return _result(factors, weights, centre, iterations, _STAGNATION * tolerance)


def _result(
    factors: Tensor, weights: Tensor, centre: Tensor, iterations: Tensor, tolerance: float
) -> KarcherMean:
    aligned = _aligned(factors, centre)
    residual = torch.linalg.matrix_norm(_average(weights, aligned) - centre)
    apart = torch.linalg.matrix_norm(aligned - centre.unsqueeze(-3))
    radius = torch.where(weights > 0, apart, 0).amax(-1)
    converged = residual <= tolerance * torch.linalg.matrix_norm(centre)
    unique = torch.ones_like(converged)
    return KarcherMean(centre @ centre.mT, iterations, residual, converged, radius, unique)
