"""The span of leading eigenvectors or singular vectors, and its derivative."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .differentiation import once_differentiable
from .elementary import sym
from .precision import working_precision
from .threads import over_threads

__all__ = ["LeadingSubspace", "leading_eigenvectors", "leading_left_singular_vectors"]


class LeadingSubspace(NamedTuple):
    """The vectors of the k largest eigenvalues or singular values, and how far these are from the others.

    Example:
        >>> leading_eigenvectors(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2)
        LeadingSubspace(basis=tensor([[0., 0.],
                [1., 0.],
                [0., 1.]]), values=tensor([3., 2.]), gap=tensor(1.))
    """

    basis: Tensor
    """Orthonormal vectors, ``(..., n, k)``, of descending values; the largest entry of each is positive."""
    values: Tensor
    """The k largest eigenvalues or singular values, descending, ``(..., k)``."""
    gap: Tensor
    """How much the k-th exceeds the next value, ``(...)``; infinite for k = n."""


def leading_eigenvectors(matrix: Tensor, k: int) -> LeadingSubspace:
    """Return the eigenvectors of the k largest eigenvalues of the symmetric part of a matrix.

    The gradient is that of the span, for functions that are invariant under ``U → U Q``:
    ``sym(U₂ (L ∘ U₂ᵀG) Uᵀ)`` with U₂ the other eigenvectors and ``L_ji = 1 / (λ_i − λ_j)``. Eigenvalues that
    repeat among the k largest do no harm; where ``λ_k = λ_{k+1}`` to rounding, which no span belongs to, the
    terms of equal eigenvalues are 0. It can be taken once. Values and gap have none.

    Args:
        matrix: ``(..., n, n)``.
        k: how many, from 1 to n.

    References:
        Stewart, Error and perturbation bounds for subspaces associated with certain eigenvalue problems,
        SIAM Rev. 15 (1973), for the derivative of the span.

    Example:
        >>> leading_eigenvectors(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1).basis
        tensor([[0.7071],
                [0.7071]])
    """
    with torch.no_grad():
        values, vectors = over_threads(torch.linalg.eigh, sym(matrix.detach()))
        values, vectors = values.flip(-1), _signed(vectors.flip(-1))
    basis = vectors[..., :k]
    if torch.is_grad_enabled() and matrix.requires_grad:
        basis = _OfMatrix.apply(matrix, vectors, values, k)  # type: ignore[no-untyped-call]
    return LeadingSubspace(basis, values[..., :k], _gap(values, k, matrix.shape[-1]))


def leading_left_singular_vectors(x: Tensor, k: int) -> LeadingSubspace:
    """Return the left singular vectors of the k largest singular values.

    float32 goes through the eigenvectors of the Gram matrix of the smaller side in float64, which loses
    nothing; float64 through a thin SVD. Beyond the rank of X the vectors are some that complete the basis.

    The gradient is that of the span, for functions that are invariant under ``U → U Q``:
    ``Z (XᵀU)ᵀ + U (XᵀZ)ᵀ`` with Z normal to U and ``(λ_i − XXᵀ) z_i = (I − UUᵀ) g_i``, where ``λ_i = σ_i²``,
    through n x k and n x m products only. Terms of ``σ_i = σ_j`` (i <= k < j) and of ``σ_i = 0``, to
    rounding, are 0. It can be taken once. Values and gap have none.

    Args:
        x: ``(..., n, m)``.
        k: how many, from 1 to the smaller of n and m.

    References:
        Stewart, Error and perturbation bounds for subspaces associated with certain eigenvalue problems,
        SIAM Rev. 15 (1973), for the derivative of the span.

    Example:
        >>> leading_left_singular_vectors(torch.tensor([[0.0, 1.0], [-3.0, 0.0], [0.0, 0.0]]), 1)
        LeadingSubspace(basis=tensor([[0.],
                [1.],
                [0.]]), values=tensor([3.]), gap=tensor(2.))
    """
    with torch.no_grad():
        size = x.detach().abs().amax((-2, -1), keepdim=True)
        size = torch.where((size > 0) & size.isfinite(), size, 1)
        basis, rest, values = over_threads(_Decompose(k), x.detach() / size)
    if torch.is_grad_enabled() and x.requires_grad:
        basis = _OfColumns.apply(x, size, basis, rest, values)  # type: ignore[no-untyped-call]
    sizes = values * size.squeeze(-1)
    return LeadingSubspace(basis, sizes[..., :k].to(x.dtype), _gap(sizes, k, x.shape[-2]).to(x.dtype))


class _Decompose:
    """Return U, the other vectors times their singular values ``(n, r − k)``, and all singular values."""

    def __init__(self, k: int) -> None:
        self.k = k

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = working_precision(x)
        decompose = _by_svd if wide.dtype == x.dtype else _by_gram
        basis, rest, values = decompose(wide, self.k)
        return _signed(basis.to(x.dtype)), rest.to(x.dtype), values


def _by_svd(x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    return u[..., :k], u[..., k:] * s[..., None, k:], s


def _by_gram(x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    n, m = x.shape[-2:]
    squares, vectors = torch.linalg.eigh(x @ x.mT if n <= m else x.mT @ x)
    values, vectors = squares.flip(-1).clamp_min(0).sqrt(), vectors.flip(-1)
    if n <= m:
        return vectors[..., :k], vectors[..., k:] * values[..., None, k:], values
    columns = x @ vectors
    return torch.linalg.qr(columns[..., :k])[0], columns[..., k:], values


def _signed(vectors: Tensor) -> Tensor:
    """Return the vectors with the sign that makes their largest entry positive."""
    largest = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))
    return torch.where(largest < 0, -vectors, vectors) + 0  # no zero is negative


def _gap(values: Tensor, k: int, n: int) -> Tensor:
    if k == n:
        return torch.full_like(values[..., 0], torch.inf)
    return values[..., k - 1] - values[..., k] if k < values.shape[-1] else values[..., k - 1]


def _is_close(values: Tensor, k: int, n: int, dtype: torch.dtype) -> Tensor:
    """Return which pairs ``(..., r − k, k)`` of descending values, one of them leading, are equal."""
    tolerance = 4 * n**0.5 * torch.finfo(dtype).eps * values.abs().amax(-1)[..., None, None]
    close: Tensor = values[..., None, :k] - values[..., k:, None] <= tolerance
    return close


class _OfMatrix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, vectors: Tensor, values: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(matrix, vectors, values)
        ctx.k = k
        return vectors[..., :k].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        _, vectors, values = ctx.saved_tensors
        basis, others = vectors[..., : ctx.k], vectors[..., ctx.k :]
        close = _is_close(values, ctx.k, vectors.shape[-1], grad.dtype)
        difference = values[..., None, : ctx.k] - values[..., ctx.k :, None]
        quotient = torch.where(close, 0, 1 / torch.where(close, 1, difference))
        return sym(others @ (quotient * (others.mT @ grad)) @ basis.mT), None, None, None


class _OfColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: Tensor, basis: Tensor, rest: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(x, size, basis, rest, values)
        return basis.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        x, size, basis, rest, values = ctx.saved_tensors
        x, values = x / size, values.clone()
        normal = grad - basis @ (basis.mT @ grad)
        normal = normal - basis @ (basis.mT @ normal)
        k, longest = basis.shape[-1], max(x.shape[-2:])
        solution = normal + rest @ (_quotient(values, k, longest, grad.dtype) * (rest.mT @ normal))
        tolerance = longest * torch.finfo(grad.dtype).eps * values[..., :1]
        leading = values[..., None, :k]
        zero = leading <= tolerance[..., None]
        inverse = torch.where(zero, 0, 1 / torch.where(zero, 1, leading).square())
        solution = solution * inverse.to(grad.dtype)
        at_x = solution @ (basis.mT @ x) + basis @ (solution.mT @ x)
        return at_x / size, None, None, None, None


def _quotient(values: Tensor, k: int, n: int, dtype: torch.dtype) -> Tensor:
    """Return ``1 / (λ_i − λ_j)``, or ``−1 / λ_j`` for equal ones, whose term then cancels that of N g."""
    lead, rest = values[..., None, :k], values[..., k:, None]
    close = _is_close(values, k, n, dtype)
    difference = torch.where(close, -rest.square(), (lead - rest) * (lead + rest))
    return (1 / torch.where(difference == 0, torch.inf, difference)).to(dtype)
