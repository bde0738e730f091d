"""The orthonormal factor of a QR decomposition, by Cholesky of the Gram matrix."""

import torch
from torch import Tensor

__all__ = ["cholesky_qr"]


def _pass(x: Tensor) -> Tensor:
    factor, _ = torch.linalg.cholesky_ex(x.mT @ x)
    q: Tensor = torch.linalg.solve_triangular(factor.mT, x, upper=True, left=False)
    return q


def cholesky_qr(x: Tensor) -> Tensor:
    """Return Q of ``X = QR`` with ``diag(R) > 0``, by two passes of Cholesky-QR.

    Batched matrix products and triangular solves only. Meant for well-conditioned columns, such as a point
    of Stiefel plus a tangent vector, whose Gram matrix is ``I + uᵀu``; a Gram matrix that is not positive
    definite in floating point (condition number beyond ``1/√eps``) gives non-finite entries.

    Args:
        x: ``(..., n, k)`` with ``k <= n``.

    References:
        Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, Roundoff error analysis of the CholeskyQR2 algorithm,
        Electron. Trans. Numer. Anal. 44 (2015).

    Example:
        >>> cholesky_qr(torch.tensor([[-2.0], [0.0]]))
        tensor([[-1.],
                [ 0.]])
    """
    return _pass(_pass(x))
