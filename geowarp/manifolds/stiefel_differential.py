"""The adjoint of the differential of the Stiefel exponential, inverted by conjugate gradients."""

import torch
from torch import Tensor

from .linalg import sinc, skew
from .stiefel_geodesic import Geodesic, generator

__all__ = ["Differential", "solve_adjoint"]


def _tangent(v: Tensor) -> Tensor:
    k = v.shape[-1]
    return torch.cat([skew(v[..., :k, :]), v[..., k:, :]], dim=-2)


class _Twist:
    """``expm(−S) Dexpm(S)[·]`` of a skew-symmetric S, by its eigenvectors: ``(1 − e^{−z}) / z`` of ad_S."""

    def __init__(self, matrix: Tensor) -> None:
        angles, self.vectors = torch.linalg.eigh(-1j * matrix)
        half = 0.5 * (angles[..., :, None] - angles[..., None, :])
        self.weights = torch.polar(torch.ones_like(half), -half) * sinc(half)

    def __call__(self, matrix: Tensor, *, conjugate: bool) -> Tensor:
        weights = self.weights.conj() if conjugate else self.weights
        inner = self.vectors.mH @ matrix.to(weights.dtype) @ self.vectors
        twisted: Tensor = self.vectors @ (inner * weights) @ self.vectors.mH
        return twisted.real


class Differential:
    """The differential J of ``v ↦ Geodesic(v)`` at its end, followed by the isometry back to ``[I; 0]``.

    Args:
        v: ``(..., k + p, k)``.
        alpha: of the metric.

    Example:
        >>> v, w = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [1.0]])
        >>> Differential(v, alpha=0.0).apply(w).squeeze()
        tensor([0.0000, 0.8415, 1.0000])
    """

    def __init__(self, v: Tensor, alpha: float) -> None:
        self.alpha, self.ratio = alpha, alpha / (alpha + 1)
        self.left = _Twist(generator(v, alpha))
        self.right = _Twist(v[..., : v.shape[-1], :] * self.ratio)

    def apply(self, u: Tensor) -> Tensor:
        """Return ``J u`` of tangent ``u = [A; R]``, ``(..., k + p, k)``."""
        k = u.shape[-1]
        moved = self.left(generator(u, self.alpha), conjugate=False)[..., :k]
        turned = self.right(u[..., :k, :], conjugate=True) * self.ratio
        return _tangent(torch.cat([moved[..., :k, :] + turned, moved[..., k:, :]], dim=-2))

    def adjoint(self, u: Tensor) -> Tensor:
        """Return ``Jᵀ u`` for the inner product ``tr AᵀA + tr RᵀR``."""
        k = u.shape[-1]
        padded = torch.cat([u, u.new_zeros((*u.shape[:-1], u.shape[-2] - k))], dim=-1)
        moved = self.left(padded, conjugate=True)
        turned = self.right(u[..., :k, :], conjugate=False) * self.ratio
        top = moved[..., :k, :k] / (self.alpha + 1) + turned
        return _tangent(torch.cat([top, moved[..., k:, :k] - moved[..., :k, k:].mT], dim=-2))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)


def _over(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / torch.where(b > 0, b, 1), 0)


@torch.library.custom_op("geowarp::stiefel_adjoint", mutates_args=())
def solve_adjoint(v: Tensor, cotangent: Tensor, alpha: float) -> Tensor:
    """Return λ, tangent at the end of ``Geodesic(v)``, with ``Dexpᵀ λ`` equal to tangent ``cotangent``.

    Conjugate gradients on ``JᵀJ μ = cotangent``, λ = J μ; every problem of the batch stops on its own.

    Args:
        v: ``(..., k + p, k)``.
        cotangent: ``(..., k + p, k)``.
        alpha: of the metric.

    Example:
        >>> v, w = torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [0.0]])
        >>> solve_adjoint(v, w, 0.0).squeeze()
        tensor([0.0000, 1.1884, 0.0000])
    """
    differential, path = Differential(v, alpha), Geodesic(v, alpha)
    residual = _tangent(cotangent)
    solution, direction, size = torch.zeros_like(v), residual, _dot(residual, residual)
    goal = size * (4 * torch.finfo(v.dtype).eps) ** 2
    for step in range(2 * v.shape[-2] * v.shape[-1] + 10):
        active = size > goal
        if (step % 4 == 0 or v.device.type == "cpu") and not bool(active.any()):
            break
        image = differential.apply(direction)
        length = torch.where(active, _over(size, _dot(image, image)), 0)
        solution = solution + length * direction
        residual = residual - length * differential.adjoint(image)
        before, size = size, torch.where(active, _dot(residual, residual), size)
        direction = residual + torch.where(active, _over(size, before), 0) * direction
    at_start = differential.apply(solution)
    moved = at_start + path.left @ at_start
    return moved + moved @ path.right


@solve_adjoint.register_fake
def _(v: Tensor, cotangent: Tensor, alpha: float) -> Tensor:
    return torch.empty_like(v)
