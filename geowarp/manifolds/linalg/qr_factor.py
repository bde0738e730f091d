"""The orthonormal factor of a QR decomposition, by Householder reflections, and its derivative."""

from typing import Any

import torch
from torch import Tensor

from .differentiation import once_differentiable
from .threads import over_threads

__all__ = ["qr_factor"]


def qr_factor(x: Tensor) -> Tensor:
    """Return Q of ``X = QR`` with ``diag(R) >= 0``.

    It is orthonormal to rounding for every X; a column that depends on those before it gives one of the unit
    vectors normal to them. The gradient is
    ``[(I − QQᵀ)G + Q(tril(QᵀG, −1) − tril(GᵀQ, −1))] R⁻ᵀ``, accurate up to the condition number of X; it is 0
    in dependent columns, those with ``R_jj <= eps ‖x_j‖``. It can be taken once.

    Args:
        x: ``(..., n, k)`` with ``k <= n``.

    References:
        Walter, Lehmann, Lamour, On evaluating higher-order derivatives of the QR decomposition of tall
        matrices with full column rank in forward and reverse mode algorithmic differentiation, Optim.
        Methods Softw. 27 (2012); Huang, Wu, Van Gool, Building deep networks on Grassmann manifolds, AAAI
        2018, equation 8.

    Example:
        >>> qr_factor(torch.tensor([[-2.0], [0.0]]))
        tensor([[-1.],
                [ 0.]])
    """
    factor: Tensor = _QRFactor.apply(x)  # type: ignore[no-untyped-call]
    return factor


class _QRFactor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        q, r = over_threads(torch.linalg.qr, x)
        sign = torch.where(r.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(x.dtype)
        factor: Tensor = q * sign[..., None, :] + 0  # no zero is negative
        ctx.save_for_backward(x, factor, r * sign[..., :, None])
        return factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _, q, r = ctx.saved_tensors
        inner = q.mT @ grad
        return _solve(r, grad - q @ (inner.triu() + inner.mT.tril(-1)))


def _solve(r: Tensor, x: Tensor) -> Tensor:
    """Return ``X R⁻ᵀ``, 0 in the columns in which R is singular to rounding."""
    diagonal = r.diagonal(dim1=-2, dim2=-1)
    largest = r.abs().amax(-2, keepdim=True)
    scaled = r / torch.where(largest > 0, largest, 1)  # its squares neither overflow nor vanish
    size = largest[..., 0, :] * torch.linalg.vector_norm(scaled, dim=-2)
    dependent = (diagonal <= torch.finfo(r.dtype).eps * size)[..., None, :]
    eye = torch.eye(r.shape[-1], dtype=r.dtype, device=r.device)
    triangle = torch.where(dependent.mT, eye, r)
    solution: Tensor = torch.linalg.solve_triangular(
        triangle.mT, torch.where(dependent, 0, x), upper=False, left=False
    )
    return solution
