"""The unit sphere."""

import torch
from torch import Tensor

from .base import Manifold
from .linalg import safe_sqrt, sinc

__all__ = ["Sphere"]


def _norm(x: Tensor) -> Tensor:
    return safe_sqrt(x.square().sum(-1, keepdim=True))


def _angle(x: Tensor, y: Tensor) -> Tensor:
    return 2 * torch.atan2(_norm(x - y), _norm(x + y))


class Sphere(Manifold):
    """Unit vectors ``{x : ‖x‖ = 1}``, points ``(..., n)``, with the metric of the surrounding space.

    Distances are angles in radians. The retraction is the exponential map. At antipodal points, where the
    logarithm is not unique, ``logmap`` is 0 and ``dist`` is π.

    References:
        Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), example 4.1.1.

    Example:
        >>> sphere = Sphere()
        >>> sphere.dist(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(1.5708)
    """

    name = "Sphere"
    ndim = 1
    reversible = True

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``n − 1``."""
        return shape[-1] - 1

    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``|‖x‖ − 1|``."""
        return (_norm(x).squeeze(-1) - 1).abs()

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``|xᵀu|``."""
        return (x * u).sum(-1).abs()

    def projx(self, x: Tensor) -> Tensor:
        """Return ``x / ‖x‖``, and the first unit vector for ``x = 0``."""
        norm = _norm(x)
        first = torch.zeros_like(x)
        first[..., :1] = 1
        return torch.where(norm > 0, x / torch.where(norm > 0, norm, 1), first)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − x xᵀu``."""
        return u - x * (x * u).sum(-1, keepdim=True)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projected gradient."""
        return self.proju(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``uᵀv``."""
        product = u * (u if v is None else v)
        return (product + torch.zeros_like(x)).sum(-1, keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x cos‖u‖ + u sin‖u‖ / ‖u‖``."""
        norm = _norm(u)
        y = x * norm.cos() + u * sinc(norm)
        return y * (1.5 - 0.5 * y.square().sum(-1, keepdim=True))

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return self.expmap(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``θ (y − x cosθ) / sinθ``."""
        angle, towards = _angle(x, y), self.proju(x, y - x)
        size = _norm(towards)
        return towards * torch.where(size > 0, angle / torch.where(size > 0, size, 1), 1)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the angle ``2 atan2(‖x − y‖, ‖x + y‖)``, accurate at every angle."""
        angle = _angle(x, y)
        return angle if keepdim else angle.squeeze(-1)

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all angles ``(..., N, M)`` between ``(..., N, n)`` and ``(..., M, n)``."""
        mode = "donot_use_mm_for_euclid_dist"
        return 2 * torch.atan2(torch.cdist(x, y, compute_mode=mode), torch.cdist(x, -y, compute_mode=mode))

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``v − (x + y) yᵀv / (1 + xᵀy)`` along the geodesic."""
        half = (x + y).square().sum(-1, keepdim=True) / 2
        scale = (y * v).sum(-1, keepdim=True) / torch.where(half > 0, half, 1)
        return v - (x + y) * scale
