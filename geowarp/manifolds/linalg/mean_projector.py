"""The dominant eigenspace of a weighted sum of projectors, without the n x n matrix, and its derivative."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .broadcasting import broadcast_shapes
from .differentiation import once_differentiable
from .elementary import sym
from .polar import newton_schulz

__all__ = ["Eigenspace", "MeanProjector", "dominant_eigenspace"]

_ITERATIONS = 300
_CHECK_EVERY = 4
_SEED = 2654435769  # unlike one that the points themselves were drawn with


class Eigenspace(NamedTuple):
    """Eigenvectors of the k largest eigenvalues, and how far these are from the others.

    Example:
        >>> x = torch.eye(3)[:, :2]
        >>> dominant_eigenspace(x[None], torch.ones(1)).gap
        tensor(1.)
    """

    basis: Tensor
    """Orthonormal eigenvectors, ``(..., n, k)``, of descending eigenvalues."""
    eigenvalues: Tensor
    """``(..., k)``, descending."""
    gap: Tensor
    """``λ_k − λ_{k+1}``, ``(...)``; λ_k where k = n."""
    residual: Tensor
    """``‖P U − U Λ‖`` (Frobenius), ``(...)``."""


class MeanProjector(NamedTuple):
    """The matrix ``P = Σ w_i x_i x_iᵀ``, as a product of its factors.

    Example:
        >>> p = MeanProjector(torch.eye(3)[:, :2], torch.tensor([0.5, 0.25]))
        >>> p(torch.eye(3))
        tensor([[0.5000, 0.0000, 0.0000],
                [0.0000, 0.2500, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    columns: Tensor
    """The columns of all the bases side by side, ``(..., n, Nk)``."""
    weights: Tensor
    """The weight of each column, ``(..., Nk)``."""

    @classmethod
    def of(cls, x: Tensor, weights: Tensor) -> "MeanProjector":
        """Return that of bases ``(..., N, n, k)`` and weights ``(..., N)``."""
        return cls(x.movedim(-3, -2).flatten(-2), weights.repeat_interleave(x.shape[-1], -1))

    def __call__(self, z: Tensor) -> Tensor:
        """Return ``P z``, ``(..., n, m)``."""
        return self.columns @ (self.weights[..., None] * (self.columns.mT @ z))


def dominant_eigenspace(x: Tensor, weights: Tensor) -> Eigenspace:
    """Return the eigenvectors of the k largest eigenvalues of ``Σ w_i x_i x_iᵀ``.

    From those of the ``Nk x Nk`` Gram matrix where ``Nk < n``, and otherwise by locally optimal block
    conjugate gradients. The gradient is that of the span alone, for functions that are invariant under
    ``U → U Q``: exact also where eigenvalues repeat among the k largest, by conjugate gradients whose number
    grows like the inverse root of the gap. It can be taken once. Eigenvalues and gap have none.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        weights: nonnegative with sum 1, ``(..., N)``; the batch dimensions broadcast.

    References:
        Knyazev, Toward the optimal preconditioned eigensolver: locally optimal block preconditioned conjugate
        gradient method, SIAM J. Sci. Comput. 23 (2001); Stewart, Error and perturbation bounds for subspaces
        associated with certain eigenvalue problems, SIAM Rev. 15 (1973), for the derivative of the span.

    Example:
        >>> x = torch.eye(3)[:, :2]
        >>> basis = dominant_eigenspace(x[None], torch.ones(1)).basis
        >>> basis @ basis.mT
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """
    with torch.no_grad():
        projector = MeanProjector.of(x.detach(), weights.detach())
        count, n, k = x.shape[-3:]
        space = _by_gram(projector, k) if count * k < n else _by_iteration(projector, k)
    if torch.is_grad_enabled() and (x.requires_grad or weights.requires_grad):
        basis: Tensor = _Span.apply(x, weights, space.basis, space.eigenvalues)  # type: ignore[no-untyped-call]
        space = space._replace(basis=basis)
    return space


def _space(projector: MeanProjector, basis: Tensor, eigenvalues: Tensor, k: int) -> Eigenspace:
    """Return the space of the first k of descending eigenvalues and their vectors."""
    top, basis = eigenvalues[..., :k], basis[..., :k]
    following = eigenvalues[..., k] if eigenvalues.shape[-1] > k else torch.zeros_like(top[..., 0])
    rest = projector(basis) - basis * top[..., None, :]
    gap = (top[..., -1] - following.clamp_min(0)).clamp_min(0)
    return Eigenspace(basis, top, gap, torch.linalg.matrix_norm(rest))


def _by_gram(projector: MeanProjector, k: int) -> Eigenspace:
    columns, root = projector.columns, projector.weights.sqrt()
    gram = columns.mT @ columns
    values, vectors = torch.linalg.eigh(root[..., :, None] * gram * root[..., None, :])
    values, vectors = values.flip(-1), vectors.flip(-1)[..., :k]
    basis = columns @ (root[..., :, None] * vectors / values[..., None, :k].sqrt())
    return _space(projector, newton_schulz(basis), values, k)


def _by_iteration(projector: MeanProjector, k: int) -> Eigenspace:
    """Search in the span of the vectors, their residuals and their last change."""
    trial = vectors = _start(projector, k)
    width = trial.shape[-1]
    for iteration in range(_ITERATIONS):
        image = projector(trial)
        values, turn = torch.linalg.eigh(sym(trial.mT @ image))
        values, turn = values.flip(-1)[..., :width], turn.flip(-1)[..., :width]
        previous, vectors = vectors, trial @ turn
        rest = image @ turn - vectors * values[..., None, :]
        if iteration % _CHECK_EVERY == 0 and _is_exact(rest, k):
            break
        change = vectors - previous @ (previous.mT @ vectors)
        trial = torch.linalg.qr(torch.cat([vectors, rest, change], -1))[0]
    return _space(projector, vectors, values, k)


def _is_exact(rest: Tensor, k: int) -> bool:
    """Return whether the first k vectors are accurate to rounding, and the next one so is its eigenvalue."""
    tolerance = 32 * torch.finfo(rest.dtype).eps
    sizes = torch.linalg.vector_norm(rest, dim=-2)
    return bool((sizes[..., :k] <= tolerance).all() and (sizes[..., k : k + 1] <= tolerance**0.5).all())


def _start(projector: MeanProjector, k: int) -> Tensor:
    columns = projector.columns
    batch = broadcast_shapes(columns.shape[:-2], projector.weights.shape[:-1])
    n = columns.shape[-2]
    width = min(n, k + min(8, max(2, k)))
    generator = torch.Generator().manual_seed(_SEED)
    guess = torch.randn(n, width, generator=generator, dtype=columns.dtype).to(columns.device)
    start: Tensor = torch.linalg.qr(projector(guess.expand(*batch, n, width)))[0]
    return start


class _Span(torch.autograd.Function):
    """The eigenspace as a function of bases and weights: ``dU = Σ (λ_j − P)⁻¹ (I − UUᵀ) dP u_j``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, basis: Tensor, eigenvalues: Tensor) -> Tensor:
        ctx.save_for_backward(x, weights, basis, eigenvalues)
        return basis.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weights, basis, eigenvalues = ctx.saved_tensors
        projector = MeanProjector.of(x, weights)
        adjoint = _solve(projector, basis, eigenvalues, grad)
        of_basis, of_adjoint = projector.columns.mT @ basis, projector.columns.mT @ adjoint
        columns = projector.weights[..., None] * of_basis
        at_columns = adjoint @ columns.mT + basis @ (projector.weights[..., None] * of_adjoint).mT
        at_x = at_columns.unflatten(-1, (x.shape[-3], x.shape[-1])).movedim(-2, -3)
        at_weights = (of_basis * of_adjoint).sum(-1).unflatten(-1, (x.shape[-3], x.shape[-1])).sum(-1)
        return at_x.sum_to_size(x.shape), at_weights.sum_to_size(weights.shape), None, None


def _solve(projector: MeanProjector, basis: Tensor, eigenvalues: Tensor, grad: Tensor) -> Tensor:
    """Return Z normal to U with ``z_j λ_j − P z_j = g_j`` there, each column by conjugate gradients."""

    def normal(z: Tensor) -> Tensor:
        return z - basis @ (basis.mT @ z)

    eps, shift = torch.finfo(grad.dtype).eps, eigenvalues[..., None, :]
    residual = normal(normal(grad))
    solution, direction = torch.zeros_like(residual), residual
    square = residual.square().sum(-2, keepdim=True)
    bound = square * eps**2
    for iteration in range(_ITERATIONS):
        if iteration % _CHECK_EVERY == 0 and not bool((square > bound).any()):
            break
        image = normal(shift * direction - projector(direction))
        curvature = (direction * image).sum(-2, keepdim=True)
        active = (square > bound) & (curvature > eps * direction.square().sum(-2, keepdim=True))
        length = torch.where(active, square / torch.where(active, curvature, 1), 0)
        solution = solution + length * direction
        residual = residual - length * image
        previous, square = square, residual.square().sum(-2, keepdim=True)
        ratio = torch.where(active, square / torch.where(active, previous, 1), 0)
        direction = residual + ratio * direction
    return solution
