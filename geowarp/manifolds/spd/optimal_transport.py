"""Bures–Wasserstein distance and logarithm by aligned factors, to rounding accuracy for the closest pairs.

For factors ``P = C Cᵀ`` and ``Q = K Kᵀ`` the distance is the least ``‖K O − C‖`` over orthogonal O, at the
orthogonal polar factor O of ``Kᵀ C``. The difference ``E = K O − C`` is the horizontal lift of the logarithm
``E Cᵀ + C Eᵀ``, and ``T = I + E C⁻¹`` the optimal transport map, ``T P T = Q``. As a difference, E has an
error of eps ‖C‖. It satisfies ``E Cᵀ + C Eᵀ + E Eᵀ = Q − P`` and ``Cᵀ E = Eᵀ C``, where nothing large
cancels: one Newton step for both brings the error to a few eps ‖E‖. It costs no decomposition, because that
of ``Kᵀ C`` diagonalises it.

References:
    Bhatia, Jain, Lim, On the Bures–Wasserstein distance between positive definite matrices, Expo. Math. 37
    (2019), theorem 1; Malagò, Montrucchio, Pistone, Wasserstein Riemannian geometry of Gaussian densities,
    Inf. Geom. 1 (2018), propositions 7 and 9.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.differentiation import once_differentiable
from ..linalg.threads import over_threads
from .points import cholesky

__all__ = ["Coupling", "couple", "transport_distance", "transport_gradients", "transport_logarithm"]


class Coupling(NamedTuple):
    """Aligned factors of P and Q, with which everything about the pair is computed.

    Example:
        >>> coupling = couple(torch.eye(1), 4 * torch.eye(1))
        >>> coupling.difference, coupling.singular_values
        (tensor([[1.]]), tensor([2.]))
    """

    factor: Tensor
    """The Cholesky factor C of P."""
    target: Tensor
    """The Cholesky factor K of Q."""
    rotation: Tensor
    """The orthogonal O that brings K next to C."""
    difference: Tensor
    """``E = K O − C``, with ``Cᵀ E`` symmetric."""
    vectors: Tensor
    """``Wᵀ`` of ``Kᵀ C = U Σ Wᵀ``."""
    singular_values: Tensor
    """``Σ``, the roots of the eigenvalues of P Q."""

    def divide(self, matrix: Tensor) -> Tensor:
        """Return the Z with ``M Z + Z M = A`` for ``M = W Σ Wᵀ``, A symmetric or skew."""
        sums = self.singular_values[..., :, None] + self.singular_values[..., None, :]
        return self.vectors.mT @ (self.vectors @ matrix @ self.vectors.mT / sums) @ self.vectors


def couple(p: Tensor, q: Tensor) -> Coupling:
    """Return the aligned factors of ``(..., n, n)`` positive definite matrices.

    Example:
        >>> couple(torch.eye(1), 4 * torch.eye(1)).rotation
        tensor([[1.]])
    """
    factor, target = cholesky(p), cholesky(q)
    u, singular_values, vectors = over_threads(torch.linalg.svd, target.mT @ factor)
    rotation = u @ vectors
    coupling = Coupling(factor, target, rotation, target @ rotation - factor, vectors, singular_values)
    apart = (p != q).flatten(-2).any(-1)[..., None, None]
    return coupling._replace(difference=torch.where(apart, _refined(coupling, q - p), 0))


def _refined(coupling: Coupling, difference: Tensor) -> Tensor:
    """Return E after a Newton step, given ``Q − P``."""
    factor, e = coupling.factor, coupling.difference
    turn = factor.mT @ e
    e = e + (factor + e) @ coupling.divide(turn.mT - turn)
    half = e @ factor.mT
    residual = difference - half - half.mT - e @ e.mT
    step = coupling.divide(factor.mT @ residual @ factor)
    refined: Tensor = e + torch.linalg.solve_triangular(factor.mT, step, upper=True)
    return refined


class _Logarithm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor) -> Tensor:
        coupling = couple(p, q)
        ctx.save_for_backward(p, q, *coupling)
        half = coupling.difference @ coupling.factor.mT
        return half + half.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        _, _, *parts = ctx.saved_tensors
        coupling = Coupling(*parts)
        factor, aligned, g = coupling.factor, coupling.factor + coupling.difference, sym(grad)
        inner = torch.linalg.solve_triangular(factor, g @ factor, upper=False)
        middle = coupling.divide(inner + inner.mT)
        displacement = _displacement(coupling.difference, factor) @ g
        at_p = displacement + displacement.mT - aligned @ middle @ aligned.mT
        return at_p, factor @ middle @ factor.mT


def _displacement(difference: Tensor, factor: Tensor) -> Tensor:
    """Return ``T − I = E C⁻¹``."""
    displacement: Tensor = torch.linalg.solve_triangular(factor, difference, upper=False, left=False)
    return sym(displacement)


def transport_logarithm(p: Tensor, q: Tensor) -> Tensor:
    """Return ``(T − I) P + P (T − I)``, ``(..., n, n)``, T the optimal transport map from P to Q.

    Its gradient can be differentiated once.

    Example:
        >>> transport_logarithm(torch.eye(1), 4 * torch.eye(1))
        tensor([[2.]])
    """
    value: Tensor = _Logarithm.apply(*torch.broadcast_tensors(p, q))  # type: ignore[no-untyped-call]
    return value


def transport_gradients(coupling: Coupling, value: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(I − T) / 2d`` and ``(I − T⁻¹) / 2d`` times grad, 0 for equal matrices."""
    scale = torch.where(value > 0, 0.5 * grad / torch.where(value > 0, value, 1), 0)[..., None, None]
    backwards = coupling.difference @ coupling.rotation.mT
    at_p = -scale * _displacement(coupling.difference, coupling.factor)
    return at_p, scale * _displacement(backwards, coupling.target)


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor) -> Tensor:
        coupling = couple(p, q)
        value: Tensor = torch.linalg.matrix_norm(coupling.difference)
        ctx.save_for_backward(p, q, value, *coupling)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        _, _, value, *coupling = ctx.saved_tensors
        return transport_gradients(Coupling(*coupling), value, grad)


def transport_distance(p: Tensor, q: Tensor) -> Tensor:
    """Return ``‖E‖``, the root of ``tr P + tr Q − 2 tr (P^½ Q P^½)^½``, ``(...)``.

    Its gradient, from the transport map, is 0 for equal matrices and can be differentiated once.

    Example:
        >>> transport_distance(torch.eye(2), 4 * torch.eye(2))
        tensor(1.4142)
    """
    value: Tensor = _Distance.apply(*torch.broadcast_tensors(p, q))  # type: ignore[no-untyped-call]
    return value
