"""Functions of symmetric matrices and their derivatives (Daleckii–Krein), in closed divided differences."""

from typing import Any, Protocol

import torch
from torch import Tensor

from ...errors import UnavailableError
from .differentiation import once_differentiable, without_derivative
from .elementary import sym
from .spectral import inverse_sqrt
from .threads import over_threads

__all__ = [
    "SpectralFunction",
    "frechet_derivative",
    "inverse_sqrt",
    "second_frechet_derivative",
    "symmetric_function",
]


class SpectralFunction(Protocol):
    """A function f of eigenvalues and its divided difference ``(f(a) − f(b)) / (a − b)``, f′ at a = b.

    With a third method ``second_divided_difference(a, b, c) = (f[b, c] − f[a, b]) / (c − a)``, symmetric in
    its arguments, ``symmetric_function`` has two derivatives and ``frechet_derivative`` one in its matrix.
    """

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        """Return the function, elementwise."""
        ...

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the divided difference, elementwise, without cancellation."""
        ...


def _derivative(
    eigenvalues: Tensor, vectors: Tensor, direction: Tensor, function: SpectralFunction
) -> Tensor:
    quotient = function.divided_difference(eigenvalues[..., :, None], eigenvalues[..., None, :])
    result: Tensor = vectors @ (quotient * (vectors.mT @ direction @ vectors)) @ vectors.mT
    return result


def _gradient_of_derivative(
    eigenvalues: Tensor, vectors: Tensor, direction: Tensor, grad: Tensor, function: Any
) -> Tensor:
    """Return the symmetric gradient of ``⟨G, Df(A)[V]⟩`` with respect to A."""
    if not hasattr(function, "second_divided_difference"):
        raise UnavailableError(
            f"{type(function).__name__} has no second_divided_difference; differentiate it only once"
        )
    a, b, c = eigenvalues[..., :, None, None], eigenvalues[..., :, None], eigenvalues[..., None, :]
    quotient = function.second_divided_difference(a, b[..., None, :, :], c[..., None, :, :])
    v, g = (vectors.mT @ matrix @ vectors for matrix in (direction, grad))
    total = torch.einsum("...ijk,...ij,...ik->...jk", quotient, v, g)
    total = total + torch.einsum("...ijk,...ji,...ki->...jk", quotient, g, v)
    result: Tensor = vectors @ sym(total) @ vectors.mT
    return result


class _FrechetDerivative(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        matrix: Tensor,
        direction: Tensor,
        eigenvalues: Tensor,
        vectors: Tensor,
        function: SpectralFunction,
    ) -> Tensor:
        ctx.save_for_backward(matrix, direction, eigenvalues, vectors)
        ctx.function = function
        return _derivative(eigenvalues, vectors, direction, function)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        _, direction, eigenvalues, vectors = ctx.saved_tensors
        at_matrix = at_direction = None
        if ctx.needs_input_grad[0]:
            at_matrix = _gradient_of_derivative(eigenvalues, vectors, direction, grad, ctx.function)
        if ctx.needs_input_grad[1]:
            at_direction = _derivative(eigenvalues, vectors, grad, ctx.function)
        return at_matrix, at_direction, None, None, None


class _SecondDerivative(torch.autograd.Function):
    """``D²f(A)[V, W]``, of which ``⟨G, D²f(A)[V, W]⟩`` is symmetric in G, V and W."""

    @staticmethod
    def forward(
        ctx: Any,
        matrix: Tensor,
        first: Tensor,
        second: Tensor,
        eigenvalues: Tensor,
        vectors: Tensor,
        function: SpectralFunction,
    ) -> Tensor:
        ctx.save_for_backward(matrix, first, second, eigenvalues, vectors)
        ctx.function = function
        return _gradient_of_derivative(eigenvalues, vectors, first, second, function)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        matrix, first, second, *decomposition = ctx.saved_tensors

        def along(direction: Tensor) -> Tensor:
            result: Tensor = _SecondDerivative.apply(  # type: ignore[no-untyped-call]
                matrix, direction, sym(grad), *decomposition, ctx.function
            )
            return result

        at_first = along(second) if ctx.needs_input_grad[1] else None
        at_second = along(first) if ctx.needs_input_grad[2] else None
        return torch.zeros_like(grad), at_first, at_second, None, None, None  # whose source raises


class _SymmetricFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        matrix: Tensor,
        function: SpectralFunction,
        decomposition: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        eigenvalues, vectors = decomposition or over_threads(torch.linalg.eigh, matrix)
        ctx.save_for_backward(matrix, eigenvalues, vectors)
        ctx.function = function
        value: Tensor = (vectors * function(eigenvalues)[..., None, :]) @ vectors.mT
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        matrix, eigenvalues, vectors = ctx.saved_tensors
        result: Tensor = _FrechetDerivative.apply(  # type: ignore[no-untyped-call]
            matrix, sym(grad), eigenvalues, vectors, ctx.function
        )
        return result, None, None


def symmetric_function(
    matrix: Tensor, function: SpectralFunction, *, decomposition: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Return ``f(A) = V f(Λ) Vᵀ`` of symmetric ``A``, ``(..., k, k)``.

    The gradient is exact at repeated eigenvalues; it can be differentiated once more where f has second
    divided differences.

    Args:
        matrix: ``(..., k, k)``, symmetric.
        function: with its divided differences.
        decomposition: eigenvalues and vectors of the matrix, where they are known.

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
    value: Tensor = _SymmetricFunction.apply(  # type: ignore[no-untyped-call]
        matrix, function, decomposition
    )
    return value


def frechet_derivative(
    matrix: Tensor,
    direction: Tensor,
    function: SpectralFunction,
    *,
    decomposition: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return ``Df(A)[V] = U (f[λ_i, λ_j] ∘ UᵀVU) Uᵀ`` of symmetric ``A = U Λ Uᵀ``.

    It is exact at repeated eigenvalues. It is differentiable in V, and in A where f has second divided
    differences.

    Args:
        matrix: ``(..., k, k)``, symmetric.
        direction: ``(..., k, k)``; the batch dimensions broadcast.
        function: with its divided differences.
        decomposition: eigenvalues and vectors of the matrix, where they are known.

    References:
        Bhatia, Matrix Analysis (1997), theorem V.3.3; Higham, Functions of Matrices (2008), section 3.2.

    Example:
        >>> from geowarp.manifolds.linalg.spectral import log
        >>> frechet_derivative(2 * torch.eye(2), torch.tensor([[1.0, 3.0], [3.0, 0.0]]), log)
        tensor([[0.5000, 1.5000],
                [1.5000, 0.0000]])
    """
    with torch.no_grad():
        eigenvalues, vectors = decomposition or over_threads(torch.linalg.eigh, matrix)
    matrix, direction = torch.broadcast_tensors(matrix, direction)
    value: Tensor = _FrechetDerivative.apply(  # type: ignore[no-untyped-call]
        matrix, direction, eigenvalues, vectors, function
    )
    return value


def second_frechet_derivative(
    matrix: Tensor,
    first: Tensor,
    second: Tensor,
    function: SpectralFunction,
    *,
    decomposition: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return ``D²f(A)[V, W]``, ``Σ_k f[λ_i, λ_k, λ_j] (v_ik w_kj + w_ik v_kj)`` in the eigenbasis of A.

    It is exact at repeated eigenvalues, and differentiable in V and W, not in A.

    Args:
        matrix: ``(..., k, k)``, symmetric.
        first: V, ``(..., k, k)``, symmetric; the batch dimensions broadcast.
        second: W, likewise.
        function: with second divided differences.
        decomposition: eigenvalues and vectors of the matrix, where they are known.

    References:
        Higham, Relton, Higher order Fréchet derivatives of matrix functions and the level-2 condition number,
        SIAM J. Matrix Anal. Appl. 35 (2014).

    Example:
        >>> from geowarp.manifolds.linalg.spectral import log
        >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> second_frechet_derivative(2 * torch.eye(2), swap, swap, log)
        tensor([[-0.2500,  0.0000],
                [ 0.0000, -0.2500]])
    """
    with torch.no_grad():
        eigenvalues, vectors = decomposition or over_threads(torch.linalg.eigh, matrix)
    matrix, first, second = torch.broadcast_tensors(matrix, first, second)
    message = "second_frechet_derivative has no derivative in its matrix; take finite differences instead"
    fixed = without_derivative(matrix.detach(), message, matrix)
    value: Tensor = _SecondDerivative.apply(  # type: ignore[no-untyped-call]
        fixed, first, second, eigenvalues, vectors, function
    )
    return value
