"""The difference of two matrix logarithms, to rounding accuracy for close matrices."""

from typing import Any

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.eigenfunction import frechet_derivative
from ..linalg.spectral import log

__all__ = ["logarithm_difference"]

Decomposition = tuple[Tensor, Tensor]


class _Difference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, of_a: Decomposition, of_b: Decomposition) -> Tensor:
        ctx.save_for_backward(a, b, *of_a, *of_b)
        (x, u), (y, v) = of_a, of_b
        quotient = log.divided_difference(x[..., :, None], y[..., None, :])
        return sym(u @ (quotient * (u.mT @ (a - b) @ v)) @ v.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        a, b, x, u, y, v = ctx.saved_tensors
        grad = sym(grad)
        at_a = frechet_derivative(a, grad, log, decomposition=(x, u))
        return at_a, -frechet_derivative(b, grad, log, decomposition=(y, v)), None, None


def logarithm_difference(a: Tensor, b: Tensor, of_a: Decomposition, of_b: Decomposition) -> Tensor:
    """Return ``log A − log B = U (log[λ_i, μ_j] ∘ Uᵀ (A − B) V) Vᵀ``, ``A = U Λ Uᵀ``, ``B = V M Vᵀ``.

    ``log[·, ·]`` is the divided difference. Its error is a few rounding units of the result, where the
    difference of the logarithms has one of the logarithms. The gradient is that of the logarithms.

    Args:
        a: ``(..., n, n)``, positive definite.
        b: ``(..., n, n)``; the batch dimensions broadcast.
        of_a: eigenvalues and vectors of a.
        of_b: eigenvalues and vectors of b.

    References:
        Higham, Functions of Matrices (2008), section 3.2 and problem 3.5.

    Example:
        >>> a, b = torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.eye(2)
        >>> logarithm_difference(a, b, torch.linalg.eigh(a), torch.linalg.eigh(b))
        tensor([[0.5493, 0.5493],
                [0.5493, 0.5493]])
    """
    value: Tensor = _Difference.apply(  # type: ignore[no-untyped-call]
        *torch.broadcast_tensors(a, b), of_a, of_b
    )
    return value
