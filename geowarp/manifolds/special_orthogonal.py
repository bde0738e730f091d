"""The special orthogonal group of rotations."""

import math
from typing import Any

import torch
from torch import Tensor

from .linalg import full_precision, newton_schulz, skew, sym
from .linalg.broadcasting import broadcast_shapes
from .linalg.rotation import nearest_rotation, rotation_angles, rotation_exp, rotation_log
from .orthonormal import OrthonormalFrames

__all__ = ["SpecialOrthogonal"]


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        distance: Tensor = torch.linalg.vector_norm(rotation_angles(x, y), dim=-1)
        return distance

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        logarithm = rotation_log(x.mT @ (y - x))
        size = torch.linalg.matrix_norm(logarithm, keepdim=True)
        scale = torch.where(size > 0, grad[..., None, None] / torch.where(size > 0, size, 1), 0)
        return -scale * (x @ logarithm), scale * (y @ logarithm)


class SpecialOrthogonal(OrthonormalFrames):
    """Rotations ``{x : xᵀx = I, det x = 1}``, points ``(..., n, n)``.

    Tangent vectors are ``u = x Ω`` with skew-symmetric Ω. The metric is that of the surrounding space,
    ``tr uᵀv = tr Ω_uᵀΩ_v``, as on ``Stiefel()``. It is invariant under left and right multiplication, and its
    distance is ``√Σθ²`` over all n eigenvalues ``exp(iθ)`` of ``xᵀy``: on SO(2) and SO(3), √2 times the angle
    of rotation (radians). Exponential, logarithm and transport are exact.

    Where the rotation ``xᵀy`` has an angle of π the logarithm is not unique; ``logmap`` is then one of its
    values, and ``transp`` follows the same geodesic.

    Args:
        retraction: ``QR()``, ``Polar()``, ``Cayley()`` or ``Exponential()``; each ends in a rotation.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 2.2; do Carmo, Riemannian Geometry (1992), exercise 3.3, for the
        geodesics of bi-invariant metrics.

    Example:
        >>> rotations = SpecialOrthogonal()
        >>> quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> rotations.geodesic(0.5, torch.eye(2), quarter)
        tensor([[ 0.7071, -0.7071],
                [ 0.7071,  0.7071]])
        >>> rotations.dist(torch.eye(2), quarter) / 2**0.5
        tensor(1.5708)
    """

    name = "SpecialOrthogonal"
    reversible = True

    def constants(self) -> tuple[Any, ...]:
        """Return the retraction."""
        return (self.retraction,)

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``n(n − 1)/2``."""
        return shape[-1] * (shape[-1] - 1) // 2

    @full_precision
    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``‖xᵀx − I‖`` (Frobenius), plus 2 where the determinant is negative."""
        residual: Tensor = super().point_residual(x)
        return residual + torch.where(torch.linalg.det(x) < 0, 2, 0)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖sym(xᵀu)‖`` (Frobenius)."""
        residual: Tensor = torch.linalg.matrix_norm(sym(x.mT @ u))
        return residual

    def projx(self, x: Tensor) -> Tensor:
        """Return the nearest rotation."""
        return nearest_rotation(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x skew(xᵀu)``."""
        return x @ skew(x.mT @ u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projected gradient."""
        return self.proju(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``tr uᵀv``."""
        product = u * (u if v is None else v)
        return product.expand(broadcast_shapes(x.shape, product.shape)).sum((-2, -1), keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x expm(xᵀu)``."""
        return newton_schulz(x @ rotation_exp(skew(x.mT @ u)))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x logm(xᵀy)`` with angles in [0, π], by a symmetric eigendecomposition."""
        return x @ rotation_log(x.mT @ (y - x))

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√Σθ²`` of the angles of ``xᵀy``, from the singular values of ``x − y`` and ``x + y``."""
        x, y = torch.broadcast_tensors(x, y)
        distance: Tensor = _Distance.apply(x, y)  # type: ignore[no-untyped-call]
        return distance[..., None, None] if keepdim else distance

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``x h xᵀv h`` along the geodesic, ``h = expm(logm(xᵀy) / 2)``."""
        half = rotation_exp(0.5 * rotation_log(x.mT @ (y - x)))
        moved: Tensor = x @ half @ (x.mT @ v) @ half
        return moved

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retracted point y and ``v`` moved there by left translation, ``y xᵀv``.

        That is an isometry, as parallel transport is, and a rotation of half the step away from it. It takes
        two products where that takes a logarithm: it is the transport of the optimisers.
        """
        y = self.retr(x, u)
        return y, y @ (x.mT @ v)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and the parallel transport of ``v`` along it, however long it is."""
        half = rotation_exp(0.5 * skew(x.mT @ u))
        return newton_schulz(x @ half @ half), x @ half @ (x.mT @ v) @ half

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``½ x (uᵀv + vᵀu)``."""
        return x @ sym(u.mT @ v)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``−¼ x [[Ω_u, Ω_v], Ω_w]``, with the commutator ``[A, B] = A B − B A``.

        References:
            do Carmo, Riemannian Geometry (1992), chapter 4, exercise 1.
        """
        first, second, third = (x.mT @ part for part in (u, v, w))
        return -x @ skew(skew(first @ second) @ third)

    def uniqueness_radius(self) -> float:
        """Return π/√2, half of the injectivity radius √2 π, where one angle is π.

        The curvature ``‖[Ω_u, Ω_v]‖² / 4`` of orthonormal u and v is at most 1/4.

        References:
            Bloch, Iserles, Commutators of skew-symmetric matrices, Int. J. Bifurcation Chaos 15 (2005), for
            ``‖[Ω_u, Ω_v]‖ <= ‖Ω_u‖ ‖Ω_v‖``.
        """
        return math.pi / math.sqrt(2)

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] != shape[-2]:
            return False, f"{name}: {tuple(shape[-2:])} is not square; see Stiefel for rectangular matrices"
        return ok, reason
