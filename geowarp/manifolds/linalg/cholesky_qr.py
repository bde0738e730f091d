"""The orthonormal factor of a QR decomposition, by Cholesky of the Gram matrix."""

import torch
from torch import Tensor

__all__ = ["cholesky_qr"]


def _inverse_pays(n: int, k: int) -> bool:
    """Return whether ``X R⁻¹`` is faster as a product with the inverse than as a triangular solve."""
    return n >= 4 * k and 8 <= k <= 256


def _pass(x: Tensor) -> Tensor:
    factor, _ = torch.linalg.cholesky_ex(x.mT @ x)
    if _inverse_pays(x.shape[-2], x.shape[-1]):
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        inverse: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
        return x @ inverse.mT
    q: Tensor = torch.linalg.solve_triangular(factor.mT, x, upper=True, left=False)
    return q


def cholesky_qr(x: Tensor, passes: int = 2) -> Tensor:
    """Return Q of ``X = QR`` with ``diag(R) > 0``, by passes of Cholesky-QR.

    Batched matrix products and triangular solves only. One pass loses orthonormality like the square of the
    condition number of X: it is enough for a point of Stiefel plus a tangent vector u with ``‖u‖ <= 1``,
    whose Gram matrix ``I + uᵀu`` has condition at most 2. Two passes are accurate up to a condition number
    of about ``1/√eps``; beyond, the Gram matrix is not positive definite in floating point and entries are
    not finite.

    Args:
        x: ``(..., n, k)`` with ``k <= n``.
        passes: how often to orthonormalise.

    References:
        Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, Roundoff error analysis of the CholeskyQR2 algorithm,
        Electron. Trans. Numer. Anal. 44 (2015).

    Example:
        >>> cholesky_qr(torch.tensor([[-2.0], [0.0]]))
        tensor([[-1.],
                [ 0.]])
    """
    for _ in range(passes):
        x = _pass(x)
    return x
