"""The span of leading eigenvectors or singular vectors, and its derivative."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .differentiation import once_differentiable
from .elementary import sym
from .precision import working_precision
from .threads import over_threads

__all__ = ["LeadingSubspace", "leading_eigenvectors", "leading_left_singular_vectors"]

_ROUNDING = 16  # eps of the largest value: a smaller difference of values is none


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


def leading_left_singular_vectors(x: Tensor, k: int, *, exact: bool = True) -> LeadingSubspace:
    """Return the left singular vectors of the k largest singular values.

    float32 goes through the eigenvectors of the Gram matrix of the smaller side in float64, which loses
    nothing; float64 through a thin SVD. Where ``exact`` is False, both go through the Gram matrix in their
    own precision, in two thirds and half of the time, and singular values below ``√eps σ_1`` are lost with
    their vectors. Beyond the rank of X the vectors are some that complete the basis.

    The gradient is that of the span, for functions that are invariant under ``U → U Q``:
    ``Z (XᵀU)ᵀ + U (XᵀZ)ᵀ`` with Z normal to U and ``(λ_i − XXᵀ) z_i = (I − UUᵀ) g_i``, where ``λ_i = σ_i²``,
    through n x k and n x m products only. Terms of ``σ_i = σ_j`` (i <= k < j) and of ``σ_i = 0``, to
    rounding, are 0. It can be taken once. Values and gap have none.

    Args:
        x: ``(..., n, m)``.
        k: how many, from 1 to the smaller of n and m.
        exact: whether small singular values matter.

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
        basis, others, values = over_threads(_Decompose(k, exact), x.detach())
    if torch.is_grad_enabled() and x.requires_grad:
        basis = _OfColumns.apply(x, basis, others, values)  # type: ignore[no-untyped-call]
    return LeadingSubspace(basis, values[..., :k].to(x.dtype), _gap(values, k, x.shape[-2]).to(x.dtype))


class _Decompose:
    """Return U, the other singular vectors of the smaller side, and all singular values."""

    def __init__(self, k: int, exact: bool) -> None:
        self.k, self.exact = k, exact

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = working_precision(x) if self.exact else x
        if self.exact and wide.dtype == x.dtype:
            basis, others, values = _by_svd(wide, self.k)
        else:
            size = _size(wide.abs().amax((-2, -1), keepdim=True))
            basis, others, values = _by_gram(wide / size, self.k)
            values = values * size[..., 0]
        return _signed(basis.to(x.dtype)), others.to(x.dtype), values


def _by_svd(x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    vectors = u if x.shape[-2] <= x.shape[-1] else vh.mT
    return u[..., :k], vectors[..., k:], s


def _by_gram(x: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    n, m = x.shape[-2:]
    squares, vectors = torch.linalg.eigh(x @ x.mT if n <= m else x.mT @ x)
    values, vectors = squares.flip(-1).clamp_min(0).sqrt(), vectors.flip(-1)
    leading = vectors[..., :k]
    basis = leading if n <= m else torch.linalg.qr(x @ leading)[0]
    return basis, vectors[..., k:], values


def _signed(vectors: Tensor) -> Tensor:
    """Return the vectors with the sign that makes their largest entry positive."""
    low, high = vectors.aminmax(dim=-2, keepdim=True)
    return torch.where(low + high < 0, -vectors, vectors) + 0  # no zero is negative


def _gap(values: Tensor, k: int, n: int) -> Tensor:
    if k == n:
        return torch.full_like(values[..., 0], torch.inf)
    return values[..., k - 1] - values[..., k] if k < values.shape[-1] else values[..., k - 1]


def _reciprocal(difference: Tensor, rounding: Tensor, equal: Tensor | float = 0.0) -> Tensor:
    """Return ``1 / (λ_i − λ_j)`` of differences ``(..., r − k, k)``, ``equal`` where these are rounding."""
    close = difference <= rounding
    return torch.where(close, equal, 1 / torch.where(close, 1, difference))


def _pairs(values: Tensor, k: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return differences and sums of the first k and the other values, ``(..., r − k, k)``, and rounding."""
    leading, others = values[..., None, :k], values[..., k:, None]
    rounding = _ROUNDING * eps * values.abs().amax(-1)[..., None, None]
    return leading - others, leading + others, rounding


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
        difference, _, rounding = _pairs(values, ctx.k, torch.finfo(grad.dtype).eps)
        solution = others @ (_reciprocal(difference, rounding) * (others.mT @ grad))
        return sym(solution @ basis.mT), None, None, None


class _OfColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, basis: Tensor, others: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(x, basis, others, values)
        return basis.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        x, basis, others, values = ctx.saved_tensors
        size = _size(values[..., :1])  # squares of scaled values neither overflow nor vanish
        values, size = values / size, size[..., None].to(x.dtype)
        x = x / size
        solve = _solve_by_rows if x.shape[-2] <= x.shape[-1] else _solve_by_columns
        solution, of_columns = solve(x, basis, others, values, grad)
        if 2 * basis.shape[-1] > min(x.shape[-2:]):  # then the factors side by side exceed x
            gradient = (solution @ (basis.mT @ x)).add_(basis @ of_columns.mT)
        else:
            right = torch.cat([basis.mT @ x, of_columns.mT], -2)
            gradient = torch.cat([solution, basis], -1) @ right
        return gradient / size, None, None, None


def _size(largest: Tensor) -> Tensor:
    """Return a power of two next to the largest value: division by it is exact."""
    exponent = torch.where((largest > 0) & largest.isfinite(), largest.log2().floor(), 0)
    return torch.exp2(exponent)


def _solve_by_rows(
    x: Tensor, basis: Tensor, others: Tensor, values: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Z and XᵀZ, from the other left singular vectors, ``(..., n, n − k)``."""
    difference, total, rounding = _pairs(values, basis.shape[-1], torch.finfo(x.dtype).eps)
    reciprocal = _reciprocal(difference * total, rounding * total).to(x.dtype)
    solution = others @ (reciprocal * (others.mT @ grad))
    return solution, x.mT @ solution


def _solve_by_columns(
    x: Tensor, basis: Tensor, others: Tensor, values: Tensor, grad: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Z and XᵀZ, from the other right singular vectors V, ``(..., m, m − k)``.

    ``z_i = (I + X V diag(1 / (λ_i − λ_j)) VᵀXᵀ) N g_i / λ_i`` with N the projection normal to U.
    """
    k, eps = basis.shape[-1], torch.finfo(x.dtype).eps
    difference, total, rounding = _pairs(values, k, eps)
    squares = values.square()[..., k:, None]
    cancelling = -1 / torch.where(squares > 0, squares, torch.inf)  # the term of N g
    reciprocal = _reciprocal(difference * total, rounding * total, cancelling).to(x.dtype)
    zero = values[..., None, :k] <= max(x.shape[-2:]) * eps * values[..., None, :1]
    inverse = (1 / values[..., None, :k].square()).masked_fill(zero, 0).to(x.dtype)
    normal = grad - basis @ (basis.mT @ grad)
    image = x.mT @ normal
    coordinates = reciprocal * (others.mT @ image)
    solution = normal + x @ (others @ coordinates)
    of_columns = image + others @ (squares.to(x.dtype) * coordinates)
    return solution * inverse, of_columns * inverse
