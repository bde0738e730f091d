"""Factors of semidefinite matrices, as a subspace and a definite matrix in one basis of it.

The basis U of the subspace is the one whose first r rows are symmetric positive definite, so that the
matrices S of ``U S Uᵀ`` are comparable. What changes with the basis is written in it.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .linalg import newton_schulz, polar_factor, sym
from .linalg.differentiation import once_differentiable
from .linalg.eigenfunction import symmetric_function
from .linalg.lyapunov import lyapunov
from .linalg.product import add_product
from .linalg.spectral import sqrt
from .linalg.threads import over_threads

__all__ = ["AlignedFactor", "align", "aligned_factor", "principal_factor", "square_root"]


class _Root:
    """The square root, of 0 and of negative rounding errors almost 0."""

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return sqrt(eigenvalue.clamp_min(torch.finfo(eigenvalue.dtype).tiny))

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        tiny = torch.finfo(a.dtype).tiny
        return sqrt.divided_difference(a.clamp_min(tiny), b.clamp_min(tiny))

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return sqrt.second_divided_difference(*(x.clamp_min(torch.finfo(a.dtype).tiny) for x in (a, b, c)))


def square_root(matrix: Tensor) -> Tensor:
    """Return the positive square root of symmetric positive definite ``(..., r, r)``.

    Example:
        >>> square_root(torch.tensor([[4.0, 0.0], [0.0, 9.0]]))
        tensor([[2., 0.],
                [0., 3.]])
    """
    return symmetric_function(matrix, _Root())


def _inverse_sums(values: Tensor) -> Tensor:
    """Return ``1 / (λ_i + λ_j)``, and 0 for sums that are 0 to rounding, of values of at most 1."""
    sums = values[..., :, None] + values[..., None, :]
    some = sums > 16 * torch.finfo(sums.dtype).eps
    return torch.where(some, 1 / torch.where(some, sums, 1), 0)


class _Turn(torch.autograd.Function):
    """The orthogonal polar factor; it does not move in planes in which the matrix is 0 to rounding."""

    @staticmethod
    def forward(ctx: Any, top: Tensor) -> Tensor:
        left, values, right = torch.linalg.svd(top)
        ctx.save_for_backward(top, left, values, right)
        return newton_schulz(left @ right)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _, left, values, right = ctx.saved_tensors
        inner = left.mT @ grad @ right.mT
        result: Tensor = left @ ((inner - inner.mT) * _inverse_sums(values)) @ right
        return result


def align(basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return the orthogonal O for which the first r rows of ``basis Oᵀ`` are symmetric, and ``basis Oᵀ``.

    The rows are then also positive semidefinite. Where they are singular, O is one of several.

    Args:
        basis: orthonormal columns, ``(..., n, r)``.

    Example:
        >>> align(torch.tensor([[-0.6], [0.8]]))
        (tensor([[-1.]]), tensor([[ 0.6000],
                [-0.8000]]))
    """
    turn: Tensor = _Turn.apply(basis[..., : basis.shape[-1], :])  # type: ignore[no-untyped-call]
    return turn, basis @ turn.mT


class AlignedFactor(NamedTuple):
    """A factor ``Y = U P O`` with the aligned basis U, symmetric positive definite P, and orthogonal O.

    Tangent vectors Z at Y are pairs of Δ, which moves the subspace, ``UᵀΔ = 0``, and D, which moves the
    definite matrix ``S = P²``. With the symmetric ``M = Uᵀ Z Oᵀ`` they are

    - ``Δ = (Z Oᵀ − U M) P⁻¹`` and ``D = P M + M P + Ω S − S Ω``,
    - where the skew-symmetric Ω turns the basis that moves along Δ back to the aligned one: with H the first
      r rows of U, and E those of Δ, ``H Ω + Ω H = E − Eᵀ``.

    Example:
        >>> factor = aligned_factor(torch.tensor([[-2.0], [0.0]]))
        >>> factor.split(torch.tensor([[0.0], [1.0]]))
        (tensor([[ 0.0000],
                [-0.5000]]), tensor([[0.]]))
    """

    basis: Tensor
    root: Tensor
    turn: Tensor
    definite: Tensor

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return Δ and D of a tangent vector ``(..., n, r)``."""
        z = z @ self.turn.mT
        moved = sym(self.basis.mT @ z)
        normal = add_product(z, self.basis, self.basis.mT @ z, alpha=-1)
        factor, _ = torch.linalg.cholesky_ex(self.root)
        direction: Tensor = torch.cholesky_solve(normal.mT, factor).mT
        return direction, sym(2 * self.root @ moved) + self._commutator(direction)

    def join(self, direction: Tensor, change: Tensor) -> Tensor:
        """Return the tangent vector of Δ and D."""
        moved = lyapunov(self.root, change - self._commutator(direction))
        return (self.basis @ moved + direction @ self.root) @ self.turn

    def split_gradient(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients with respect to Δ and D of ``tr GᵀZ``; that of Δ is not yet normal."""
        gradient = gradient @ self.turn.mT
        change = lyapunov(self.root, sym(self.basis.mT @ gradient))
        product = self.definite @ change
        turned = self._unturn(product - product.mT)
        top, rest = torch.tensor_split(gradient @ self.root, (self.root.shape[-1],), dim=-2)
        return torch.cat([top + 2 * turned, rest.expand(*top.shape[:-2], *rest.shape[-2:])], dim=-2), change

    def follow(self, basis: Tensor, definite: Tensor) -> Tensor:
        """Return the factor of a moved subspace and matrix that goes with this factor.

        Args:
            basis: the subspace, in the basis that has moved from this one without turning.
            definite: the matrix, with respect to the aligned basis of that subspace.
        """
        turn, aligned = align(basis)
        return aligned @ square_root(definite) @ (turn @ self.turn)

    def _commutator(self, direction: Tensor) -> Tensor:
        """Return ``Ω S − S Ω``."""
        top = direction[..., : self.root.shape[-1], :]
        return 2 * sym(self._unturn(top - top.mT) @ self.definite)

    def _unturn(self, skew: Tensor) -> Tensor:
        """Return the skew-symmetric X with ``H X + X H`` given."""
        top = sym(self.basis[..., : self.root.shape[-1], :])
        with torch.no_grad():
            values, vectors = over_threads(torch.linalg.eigh, top)
        top, skew = torch.broadcast_tensors(top, skew)
        turned: Tensor = _Unturn.apply(top, skew, values, vectors)  # type: ignore[no-untyped-call]
        return turned


class _Unturn(torch.autograd.Function):
    """The skew-symmetric X with ``H X + X H = K``, 0 in planes in which H is 0 to rounding."""

    @staticmethod
    def forward(ctx: Any, top: Tensor, skew: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
        x: Tensor = vectors @ ((vectors.mT @ skew @ vectors) * _inverse_sums(values)) @ vectors.mT
        ctx.save_for_backward(top, values, vectors, x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        top, values, vectors, x = ctx.saved_tensors
        adjoint: Tensor = _Unturn.apply(top, grad, values, vectors)  # type: ignore[no-untyped-call]
        return -sym(adjoint @ x.mT + x.mT @ adjoint), adjoint, None, None


def aligned_factor(y: Tensor) -> AlignedFactor:
    """Return ``Y = U P O`` of full column rank, ``(..., n, r)``.

    Example:
        >>> aligned_factor(torch.tensor([[-3.0], [4.0]]))[:3]
        (tensor([[ 0.6000],
                [-0.8000]]), tensor([[5.0000]]), tensor([[-1.]]))
    """
    turn, basis = align(polar_factor(y))
    root = sym(basis.mT @ y @ turn.mT)
    return AlignedFactor(basis, root, turn, sym(root @ root))


class _PrincipalFactor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, values: Tensor, vectors: Tensor, rank: int) -> Tensor:
        ctx.save_for_backward(matrix, values, vectors)
        ctx.rank = rank
        factor: Tensor = vectors[..., -rank:] * values[..., None, -rank:].clamp_min(0).sqrt()
        return factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        _, values, vectors = ctx.saved_tensors
        rank, tiny = ctx.rank, torch.finfo(values.dtype).tiny
        rest, largest = values.tensor_split((values.shape[-1] - rank,), dim=-1)
        others, basis = vectors.tensor_split((values.shape[-1] - rank,), dim=-1)
        root = largest.clamp_min(tiny).sqrt()
        gaps = (largest[..., None, :] - rest[..., :, None]).clamp_min(tiny)
        across = others @ (others.mT @ (grad * root[..., None, :]) / gaps) @ basis.mT
        within = sym(basis.mT @ grad) / (root[..., :, None] + root[..., None, :])
        return sym(across) + basis @ within @ basis.mT, None, None, None


def principal_factor(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return ``V √Λ`` of the largest eigenvalues of symmetric ``(..., n, n)``, and all, smallest first.

    The gradient is that of functions which do not change with ``Y → Y Q``: it is finite where the largest
    eigenvalues repeat, and can be differentiated once.

    Example:
        >>> principal_factor(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), rank=1)[0].abs()
        tensor([[2.],
                [0.]])
    """
    with torch.no_grad():
        values, vectors = over_threads(torch.linalg.eigh, sym(matrix))
    factor: Tensor = _PrincipalFactor.apply(  # type: ignore[no-untyped-call]
        matrix, values, vectors, rank
    )
    return factor, values
