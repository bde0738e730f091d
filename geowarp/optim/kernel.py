"""How a batch of points moves: any manifold by its contract, orthonormal frames in fewer products."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..manifolds import QR, Grassmann, Manifold, Stiefel
from ..manifolds.linalg.cholesky_qr import cholesky_qr
from ..manifolds.linalg.near_identity import inverse_cholesky_near_identity
from ..manifolds.orthonormal import OrthonormalFrames
from .memory import Memory

__all__ = ["ContractKernel", "FrameKernel", "Kernel", "Slope", "kernel_for"]

# Up to this ‖E − I‖ two Newton steps give the triangular factor in float32, and cost less than Cholesky's.
_NEAR = 1e-2


class Slope(NamedTuple):
    """The points ``(B, *shape)`` of a batch and their Riemannian gradients.

    The gradients are ``ambient``, or ``ambient − points @ normal`` where there is a ``normal``; ``squared``
    holds their squared norms, in a shape that broadcasts over the points.
    """

    points: Tensor
    ambient: Tensor
    normal: Tensor | None
    squared: Tensor


class Kernel(Protocol):
    """Gradients, moments and steps of a stacked batch ``(B, *shape)``, which may overwrite its arguments."""

    def slope(self, points: Tensor, gradients: Tensor) -> Slope:
        """Return the slope for the Euclidean ``gradients``."""
        ...

    def gradient(self, slope: Slope) -> Tensor:
        """Return the Riemannian gradients."""
        ...

    def accumulate(self, slope: Slope, moment: Tensor, keep: float, add: float | Tensor) -> None:
        """Set ``moment``, which the last ``move`` was told of, to ``keep · moment + add · gradient``."""
        ...

    def move(self, points: Tensor, along: Tensor, scale: Tensor | float, moment: Tensor | None) -> Tensor:
        """Return ``retr(points, scale · along)``, and see to it that ``moment`` comes along.

        Args:
            points: the points.
            along: tangent vectors, which may be ``moment`` itself.
            scale: broadcasts over ``along``.
            moment: tangent vectors that the next ``accumulate`` continues, or None.
        """
        ...


class ContractKernel:
    """The step of any manifold, by its ``egrad2rgrad``, ``component_inner`` and ``retr_transp``.

    Args:
        manifold: any geoopt or geowarp manifold.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> kernel = ContractKernel(Sphere())
        >>> slope = kernel.slope(torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 2.0]]))
        >>> kernel.gradient(slope), slope.squared
        (tensor([[0., 2.]]), tensor([[4.]]))
    """

    def __init__(self, manifold: geoopt.Manifold) -> None:
        self.manifold = manifold

    def slope(self, points: Tensor, gradients: Tensor) -> Slope:
        """Return the slope for the Euclidean ``gradients``."""
        if not isinstance(self.manifold, Manifold):
            gradients = gradients.clone()  # geoopt's Lorentz works in place
        gradient = self.manifold.egrad2rgrad(points, gradients)
        return Slope(points, gradient, None, self.manifold.component_inner(points, gradient))

    def gradient(self, slope: Slope) -> Tensor:
        """Return the Riemannian gradients."""
        return slope.ambient

    def accumulate(self, slope: Slope, moment: Tensor, keep: float, add: float | Tensor) -> None:
        """Set ``moment``, which is at the points already, to ``keep · moment + add · gradient``."""
        _add(moment.mul_(keep), slope.ambient, add)

    def move(self, points: Tensor, along: Tensor, scale: Tensor | float, moment: Tensor | None) -> Tensor:
        """Return the retracted points, and transport ``moment`` there in place."""
        direction = scale * along
        if moment is None:
            moved: Tensor = self.manifold.retr(points, direction)
            return moved
        moved, transported = self.manifold.retr_transp(points, direction, moment)
        moment.copy_(transported)
        return moved


class FrameKernel:
    """The step of Stiefel or Grassmann with the QR retraction, in five products of size n k² instead of ten.

    Up to rounding it gives what the contract gives, with projection at the new point as the transport. That
    is linear, so it is put off until the next gradient is there: one product projects both. Where a step is
    short, the triangular factor comes from ``inverse_cholesky_near_identity``.

    Args:
        manifold: Stiefel or Grassmann, with ``QR()``.
        memory: for the n x k intermediates.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix Anal.
        Appl. 20 (1998), equations 2.53 and 2.70; Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix
        Manifolds (2008), equation 4.8.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> from geowarp.optim.memory import Memory
        >>> x, g = Stiefel().random(2, 5, 3), torch.randn(2, 5, 3)
        >>> kernel = FrameKernel(Stiefel(), Memory())
        >>> torch.allclose(kernel.gradient(kernel.slope(x, g)), Stiefel().egrad2rgrad(x, g), atol=1e-6)
        True
    """

    def __init__(self, manifold: OrthonormalFrames, memory: Memory) -> None:
        self.manifold = manifold
        self.memory = memory
        self.alpha = manifold.metric.alpha if isinstance(manifold, Stiefel) else None

    def slope(self, points: Tensor, gradients: Tensor) -> Slope:
        """Return the slope for the Euclidean ``gradients``."""
        inner = points.mT @ gradients
        normal = inner if self.alpha is None else torch.lerp(inner, inner.mT, self.alpha + 1)
        squared = self._squared_norm(points, gradients, inner, normal)
        if self.alpha not in (None, -0.5):
            # xᵀ times the gradient is (α + 1)(xᵀg − gᵀx), of which the metric takes a part away
            vertical = (self.alpha + 1) * (inner - inner.mT)
            squared = squared - (2 * self.alpha + 1) / (2 * (self.alpha + 1)) * _square(vertical)
        return Slope(points, gradients, normal, squared)

    def gradient(self, slope: Slope) -> Tensor:
        """Return the Riemannian gradients."""
        return _subtract_product(slope.ambient, slope.points, slope.normal)

    def accumulate(self, slope: Slope, moment: Tensor, keep: float, add: float | Tensor) -> None:
        """Set ``moment`` to ``keep`` times its projection at the points plus ``add`` times the gradient."""
        inner = slope.points.mT @ moment
        projected = inner if self.alpha is None else torch.lerp(inner, inner.mT, 0.5)
        normal = _add(projected.mul_(keep), slope.normal, add)
        flat = (t.flatten(0, -3) for t in (slope.points, normal))
        moment.flatten(0, -3).baddbmm_(*flat, beta=keep, alpha=-1)
        _add(moment, slope.ambient, add)

    def move(self, points: Tensor, along: Tensor, scale: Tensor | float, moment: Tensor | None) -> Tensor:
        """Return the retracted points; ``moment`` stays, for ``accumulate`` to transport."""
        if not _may_look(points):
            moved: Tensor = self.manifold.retr(points, scale * along)
            return moved
        target = self.memory.like("gradients", points)
        if isinstance(scale, Tensor):
            torch.addcmul(points, along, scale.to(points.dtype), out=target)
        else:
            torch.add(points, along, alpha=scale, out=target)
        gram = target.mT @ target
        distance = _distance_from_identity(gram)
        if distance <= _NEAR:
            return torch.matmul(target, inverse_cholesky_near_identity(gram, distance), out=points)
        if distance <= 1:
            return cholesky_qr(target, 1)
        moved = self.manifold.retr(points, scale * along)
        return moved

    def _squared_norm(self, points: Tensor, ambient: Tensor, inner: Tensor, normal: Tensor) -> Tensor:
        """Return ``‖g − x C‖²`` as ``‖g‖² − 2⟨xᵀg, C⟩ + ‖C‖²`` where that loses at most two digits."""
        whole = _square(ambient)
        if self.alpha in (None, -0.5):  # C is the projection of xᵀg
            squared = whole - _square(normal)
        else:
            squared = whole - (normal * (2 * inner - normal)).sum((-2, -1), keepdim=True)
        if _may_look(ambient) and not (squared < 1e-2 * whole).any():
            return squared
        return _square(_subtract_product(ambient, points, normal))


def _may_look(tensor: Tensor) -> bool:
    """Return whether a value may decide what is computed: it costs nothing on the CPU alone."""
    return tensor.device.type == "cpu"


def _distance_from_identity(gram: Tensor) -> float:
    """Return the largest ``‖E − I‖`` of the matrices."""
    if gram.numel() == 0:
        return 0.0
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    return float(torch.linalg.matrix_norm(gram - eye).max())


def _square(matrix: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
    return norm.square_()


def _subtract_product(ambient: Tensor, points: Tensor, normal: Tensor | None) -> Tensor:
    if normal is None:
        return ambient
    flat = [t.flatten(0, -3) for t in (ambient, points, normal)]
    return torch.baddbmm(*flat, alpha=-1).view(points.shape)


def _add(target: Tensor, other: Tensor | None, factor: float | Tensor) -> Tensor:
    if other is None:
        return target
    if isinstance(factor, Tensor):
        return target.addcmul_(other, factor)
    return target.add_(other, alpha=factor)


def kernel_for(manifold: geoopt.Manifold, memory: Memory) -> Kernel:
    """Return the kernel that steps points of ``manifold``, with ``memory`` for its intermediates.

    Example:
        >>> from geowarp.manifolds import Polar, Sphere, Stiefel
        >>> from geowarp.optim.memory import Memory
        >>> for manifold in (Stiefel(), Stiefel(retraction=Polar()), Sphere()):
        ...     print(type(kernel_for(manifold, Memory())).__name__)
        FrameKernel
        ContractKernel
        ContractKernel
    """
    if type(manifold) in (Stiefel, Grassmann) and isinstance(manifold.retraction, QR):
        return FrameKernel(manifold, memory)
    return ContractKernel(manifold)
