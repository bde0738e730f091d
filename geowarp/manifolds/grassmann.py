"""The Grassmann manifold of subspaces, whose points are orthonormal bases."""

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import GeowarpError
from .grassmann_distance import distance, logarithm, pairwise_distance
from .grassmann_gyro import scaled, total
from .grassmann_mean import SubspaceVariance
from .gyrovector import GyrovectorSpace
from .linalg import full_precision, newton_schulz, polar_factor, skew, sym
from .linalg.broadcasting import broadcast_shapes
from .linalg.dimensions import append_dimensions
from .linalg.dominant_subspace import dominant_subspace
from .linalg.eigenfunction import symmetric_function
from .linalg.leading_subspace import leading_eigenvectors
from .linalg.product import add_product
from .linalg.trigonometric import cos_sqrt, sinc_sqrt, versine_sqrt
from .orthonormal import OrthonormalFrames

__all__ = ["Grassmann"]


class Grassmann(OrthonormalFrames, GyrovectorSpace):
    """k-dimensional subspaces of R^n, points ``(..., n, k)`` with orthonormal columns that span them.

    Every function of points is invariant under ``x → x Q`` with orthogonal Q. Tangent vectors are horizontal,
    ``xᵀu = 0``, with the metric ``tr uᵀv``. Everything is in k x k Gram form. Where a principal angle is π/2
    the logarithm is not unique, and one of its values is returned.

    Args:
        retraction: ``QR()``, ``Polar()``, ``Cayley()`` or ``Exponential()``.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 2.5; Bendokat, Zimmermann, Absil, A Grassmann manifold handbook,
        Adv. Comput. Math. 50 (2024).

    Example:
        >>> a, b = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [-1.0]])
        >>> Grassmann().dist(a, b)
        tensor(1.5708)
    """

    name = "Grassmann"
    reversible = True

    def constants(self) -> tuple[Any, ...]:
        """Return the retraction."""
        return (self.retraction,)

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``k(n − k)``."""
        n, k = shape[-2:]
        return k * (n - k)

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖xᵀu‖`` (Frobenius)."""
        residual: Tensor = torch.linalg.matrix_norm(x.mT @ u)
        return residual

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the horizontal projection ``u − x xᵀu``."""
        return add_product(u, x, x.mT @ u, alpha=-1)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``tr uᵀv``, ``(...)``."""
        value = (u.square() if v is None else u * v).sum((-2, -1), keepdim=keepdim)
        return value.expand(broadcast_shapes(value.shape, x.shape[:-2] + (1, 1) * keepdim))

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projected gradient."""
        return self.proju(x, u)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x cos√G + u sinc√G`` with ``G = uᵀu``."""
        gram = u.mT @ u
        return newton_schulz(x @ symmetric_function(gram, cos_sqrt) + u @ symmetric_function(gram, sinc_sqrt))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the horizontal vector at ``x`` whose geodesic reaches span(y), for any basis ``y``."""
        return logarithm(x, y)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport of ``v`` along the geodesic from span(x) to span(y).

        With ``u = log_x y`` and ``G = uᵀu``: ``v − (x sinc√G + u (1 − cos√G) / G) uᵀv``, in the basis
        y.
        """
        u = logarithm(x, y)
        gram = u.mT @ u
        part = x @ symmetric_function(gram, sinc_sqrt) + u @ symmetric_function(gram, versine_sqrt)
        return (v - part @ (u.mT @ v)) @ polar_factor(x.mT @ y)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√Σθ²`` of the principal angles θ (radians), by ``atan2`` of their sines and cosines."""
        value = distance(x, y)
        return value[..., None, None] if keepdim else value

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, k)`` and ``(..., M, n, k)``."""
        return pairwise_distance(x, y)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``½ x (uᵀv + vᵀu)``, of the bases along a geodesic."""
        return x @ sym(u.mT @ v)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``u vᵀw − v uᵀw − w (uᵀv − vᵀu)``.

        References:
            Wong, Sectional curvatures of Grassmann manifolds, Proc. Natl. Acad. Sci. USA 60 (1968).
        """
        value = u @ (v.mT @ w) - v @ (u.mT @ w) - 2 * w @ skew(u.mT @ v)
        return value.expand(broadcast_shapes(x.shape, value.shape))

    def uniqueness_radius(self) -> float:
        """Return π/4, half of the injectivity radius π/2; the curvature is at most 2.

        References:
            Wong, Sectional curvatures of Grassmann manifolds, Proc. Natl. Acad. Sci. USA 60 (1968); Bendokat,
            Zimmermann, Absil, A Grassmann manifold handbook, Adv. Comput. Math. 50 (2024), sections 4 and 5.
        """
        return 0.25 * math.pi

    def _mean_objective(self, points: Tensor, weights: Tensor) -> SubspaceVariance:
        return SubspaceVariance(points, weights)

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return nearly the mean of the projectors, the top k eigenvectors of ``Σ w_i x_i x_iᵀ``."""
        return dominant_subspace(x, weights, iterations=4)

    # --- gyrovector operations ---

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y = expm(Ω_x) y``, a basis that turns with y.

        ``Ω_x = [[0, −Bᵀ], [B, 0]]`` with B the lower n − k rows of the logarithm of span(x) at the first k
        unit vectors. Nothing is n x n.

        References:
            Nguyen, The gyro-structure of some matrix manifolds, NeurIPS (2022), section 3; Nguyen, Yang,
            Building neural networks on matrix manifolds: a gyrovector space approach, ICML (2023).
        """
        return total(x, y)

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t ⊙ x = expm(t Ω_x) E``; t broadcasts with the batch dimensions of x."""
        return scaled(append_dimensions(torch.as_tensor(t, dtype=x.dtype, device=x.device), 2), x)

    def to_projector(self, x: Tensor) -> Tensor:
        """Return the orthogonal projector ``x xᵀ``, ``(..., n, n)``, a point of ``GrassmannProjectors``.

        Example:
            >>> Grassmann().to_projector(torch.tensor([[1.0], [0.0]]))
            tensor([[1., 0.],
                    [0., 0.]])
        """
        return x @ x.mT

    def from_projector(self, p: Tensor, k: int) -> Tensor:
        """Return the basis ``(..., n, k)`` of the k largest eigenvalues of symmetric ``(..., n, n)``.

        The gradient is that of the span.

        Raises:
            GeowarpError: for a matrix that is not square, and a k that is not from 1 to n.

        Example:
            >>> Grassmann().from_projector(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), 1)
            tensor([[0.],
                    [1.]])
        """
        if p.ndim < 2 or not p.shape[-2] == p.shape[-1] >= k >= 1:
            raise GeowarpError(
                f"Grassmann: a projector of the shape {tuple(p.shape)} has no basis of {k} vectors; it must "
                "be (..., n, n), and the rank k from 1 to n"
            )
        basis: Tensor = full_precision(leading_eigenvectors)(p, k).basis
        return basis
