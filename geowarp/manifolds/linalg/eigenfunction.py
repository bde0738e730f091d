"""Functions of symmetric matrices, with a Daleckii–Krein backward in closed divided differences."""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["SpectralFunction", "inverse_sqrt", "symmetric_function"]


class SpectralFunction(Protocol):
    """A function f of eigenvalues and its divided difference ``(f(a) − f(b)) / (a − b)``, f′ at a = b."""

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        """Return the function, elementwise."""
        ...

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the divided difference, elementwise, without cancellation."""
        ...


class _SymmetricFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, function: SpectralFunction) -> Tensor:
        eigenvalues, vectors = torch.linalg.eigh(matrix)
        ctx.save_for_backward(eigenvalues, vectors)
        ctx.function = function
        value: Tensor = (vectors * function(eigenvalues)[..., None, :]) @ vectors.mT
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        eigenvalues, vectors = ctx.saved_tensors
        quotient = ctx.function.divided_difference(eigenvalues[..., :, None], eigenvalues[..., None, :])
        symmetric = 0.5 * (grad + grad.mT)
        return vectors @ (quotient * (vectors.mT @ symmetric @ vectors)) @ vectors.mT, None


def symmetric_function(matrix: Tensor, function: SpectralFunction) -> Tensor:
    """Return ``f(A) = V f(Λ) Vᵀ`` of symmetric ``A``, ``(..., k, k)``.

    The gradient is exact at repeated eigenvalues; it can be differentiated once.

    References:
        Bhatia, Matrix Analysis (1997), theorem V.3.3 (Daleckii–Krein).

    Example:
        >>> class Square:
        ...     def __call__(self, eigenvalue):
        ...         return eigenvalue**2
        ...     def divided_difference(self, a, b):
        ...         return a + b
        >>> a = 2 * torch.eye(2).requires_grad_()
        >>> symmetric_function(a, Square())
        tensor([[4., 0.],
                [0., 4.]], grad_fn=<_SymmetricFunctionBackward>)
    """
    value: Tensor = _SymmetricFunction.apply(matrix, function)  # type: ignore[no-untyped-call]
    return value


class _InverseSqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.rsqrt()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        p, q = a.sqrt(), b.sqrt()
        return -1 / (p * q * (p + q))


inverse_sqrt = _InverseSqrt()
