"""The unit sphere."""

import math

from torch import Tensor

from .base import Manifold
from .linalg import spherical
from .linalg.broadcasting import broadcast_shapes

__all__ = ["Sphere"]


class Sphere(Manifold):
    """Unit vectors ``{x : ‖x‖ = 1}``, points ``(..., n)``, with the metric of the surrounding space.

    Distances are angles in radians. The retraction is the exponential map. The transport is parallel, along
    the geodesic. At antipodal points, where the logarithm is not unique, ``logmap`` is one of its values (of
    norm π), ``transp`` follows the same geodesic, and ``dist`` is π, where its gradient is taken as 0 in
    the limit of ``2 atan2(‖x − y‖, ‖x + y‖)``.

    References:
        Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), examples 4.1.1 and
        8.1.1.

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
        return (spherical.vector_norm(x).squeeze(-1) - 1).abs()

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``|xᵀu|``."""
        return (x * u).sum(-1).abs()

    def projx(self, x: Tensor) -> Tensor:
        """Return ``x / ‖x‖``, and the first unit vector for ``x = 0``."""
        return spherical.normalize(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − x xᵀu``."""
        return spherical.project(x, u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projected gradient."""
        return spherical.project(x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``uᵀv``."""
        product = u * (u if v is None else v)
        return product.expand(broadcast_shapes(x.shape, product.shape)).sum(-1, keepdim=keepdim)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x cos‖u‖ + u sin‖u‖ / ‖u‖``."""
        return spherical.exponential(x, u)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponential map."""
        return spherical.exponential(x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``θ (y − x cosθ) / sinθ``."""
        return spherical.logarithm(x, y)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the angle ``2 atan2(‖x − y‖, ‖x + y‖)``, accurate at every angle."""
        angle = spherical.angle(x, y)
        return angle if keepdim else angle.squeeze(-1)

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all angles ``(..., N, M)`` between ``(..., N, n)`` and ``(..., M, n)``."""
        return spherical.pairwise_angle(x, y)

    def uniqueness_radius(self) -> float:
        """Return π/2, half of the injectivity radius π; the curvature is 1."""
        return 0.5 * math.pi

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``v − (x + y) yᵀv / (1 + xᵀy)`` along the geodesic."""
        return spherical.reflect(x, y, v)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``x uᵀv``."""
        return x * (u * v).sum(-1, keepdim=True)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``vᵀw u − uᵀw v``."""
        value = spherical.curvature(u, v, w)
        return value.expand(broadcast_shapes(x.shape, value.shape))

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and the parallel transport of ``v`` along it, however long it is."""
        return spherical.exponential(x, u), spherical.transport(x, u, v)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same as ``expmap_transp``."""
        return spherical.exponential(x, u), spherical.transport(x, u, v)
