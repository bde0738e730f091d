"""The Birkhoff polytope of doubly stochastic matrices."""

from typing import NoReturn

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import UnavailableError
from .base import Manifold
from .linalg.broadcasting import broadcast_shapes
from .linalg.sinkhorn import sinkhorn, smallest_entry, zero_marginals
from .sampling import gaussian, shape_of

__all__ = ["BirkhoffPolytope"]

_LARGEST = 50.0  # logarithm of the largest factor by which the retraction multiplies an entry


class BirkhoffPolytope(Manifold):
    """Positive n x n matrices ``(..., n, n)`` whose rows and columns sum to 1, with the Fisher metric.

    The metric is ``Σ u v / x``. Tangent vectors have rows and columns that sum to 0. The origin is the
    uniform matrix. The permutation matrices are the vertices, at a finite distance: every operation reads
    entries below ``eps^(3/4) / n`` (2e-12 / n in float64, 6e-6 / n in float32) as that much, and returns
    points whose entries are at least that, so that everything is finite and accurate at a vertex, too.

    There are no closed forms for geodesics: ``expmap``, ``logmap``, ``dist`` and ``mean`` are not available.

    References:
        Douik, Hassibi, Manifold optimization over the set of doubly stochastic matrices: a second-order
        geometry, IEEE Trans. Signal Process. 67 (2019), sections III and IV.

    Example:
        >>> birkhoff = BirkhoffPolytope()
        >>> x = birkhoff.origin(2, 2)
        >>> birkhoff.retr(x, torch.tensor([[0.5, -0.5], [-0.5, 0.5]]))
        tensor([[0.8808, 0.1192],
                [0.1192, 0.8808]])
    """

    name = "BirkhoffPolytope"
    ndim = 2

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``(n − 1)²``."""
        return (shape[-1] - 1) ** 2

    def point_residual(self, x: Tensor) -> Tensor:
        """Return the norm of what row sums and column sums differ from 1 by, and of the negative entries."""
        sums = (x.sum(-1) - 1).square().sum(-1) + (x.sum(-2) - 1).square().sum(-1)
        return (sums + x.clamp_max(0).square().sum((-2, -1))).sqrt()

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the norm of the row sums and column sums of ``u``."""
        sums = u.sum(-1).square().sum(-1) + u.sum(-2).square().sum(-1)
        return sums.sqrt().expand(broadcast_shapes(x.shape[:-2], sums.shape))

    def projx(self, x: Tensor) -> Tensor:
        """Return Sinkhorn's scaling ``diag(a) x diag(b)``, the nearest point ``argmin_y Σ y log(y / x)``.

        Entries below ``eps^(3/4) / n`` of the largest in their row and column, negative ones too, are raised
        to that: the identity gives a matrix with such entries off its diagonal, and 0 the uniform matrix.
        """
        size = x.detach().clamp_min(0)  # the scaling is the same whatever rows and columns are divided by
        row = _or_one(size.amax(-1, keepdim=True))
        column = _or_one((size / row).amax(-2, keepdim=True))
        return sinkhorn(_above(x / row / column).log())

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − (α 1ᵀ + 1 βᵀ) ∘ x``, the projection that is orthogonal in the metric."""
        return zero_marginals(_above(x), u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projection of ``x ∘ u``."""
        x = _above(x)
        return zero_marginals(x, x * u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``Σ u v / x``."""
        return (u * (u if v is None else v) / _above(x)).sum((-2, -1), keepdim=keepdim)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return Sinkhorn's scaling of ``x ∘ exp(u / x)``.

        A step that would multiply an entry by more than ``e⁵⁰`` is cut to that.
        """
        x = _above(x)
        largest = (u / x).abs().amax((-2, -1), keepdim=True)
        length = _LARGEST / largest.clamp(_LARGEST, torch.finfo(x.dtype).max)
        return sinkhorn(x.log() + length * u / x)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the projection of ``v ∘ √(y / x)`` at y: linear and not isometric, but never longer.

        The entries ``2√x`` embed the polytope isometrically in Euclidean space, where this is the orthogonal
        projection of the vector on the tangent space at y.

        References:
            Absil, Mahony, Sepulchre, Optimization Algorithms on Matrix Manifolds (2008), section 8.1.3.
        """
        x, y = _above(x), _above(y)
        return zero_marginals(y, v * (y / x).sqrt())

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Raise UnavailableError: geodesics have no closed form."""
        self._unavailable("expmap", "retr(x, u) moves along u, to first order like a geodesic")

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Raise UnavailableError: geodesics have no closed form."""
        self._unavailable("logmap", "proju(x, y - x) points from x to y along a straight line")

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Raise UnavailableError: geodesics have no closed form."""
        self._unavailable("dist", "2 * (x.sqrt() - y.sqrt()).norm(dim=(-2, -1)) is the chord, and below it")

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the uniform matrix, ``1/n`` everywhere."""
        return torch.full(shape, 1 / shape[-1], dtype=torch.float64)

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return Sinkhorn's scaling of log-normal entries."""
        self._assert_check_shape(shape_of(size), "random")
        point = self.projx(gaussian(size, dtype, device, generator).exp())
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    def _unavailable(self, operation: str, instead: str) -> NoReturn:
        raise UnavailableError(f"{self!r} has no {operation}: its geodesics have no closed form; {instead}")

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and (shape[-1] != shape[-2] or shape[-1] == 0):
            return False, f"{name}: {tuple(shape[-2:])} is not the shape of a square matrix"
        return ok, reason


def _above(x: Tensor) -> Tensor:
    """Return ``x`` with entries of at least ``eps^(3/4) / n``."""
    return x.clamp_min(smallest_entry(x))


def _or_one(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1)
