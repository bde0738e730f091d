"""Distances of subspaces, as values."""

import abc
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..manifolds.linalg import full_precision
from ..manifolds.linalg.principal_vectors import (
    PrincipalVectors,
    normal_part,
    principal_vectors,
)
from .aligned_bases import Bases
from .arrays import Array, accepts_arrays, tensors
from .bases import check_bases
from .subspace_pairs import all_pairs, each_pair, products_of

__all__ = ["Chordal", "Geodesic", "Procrustes", "SubspaceDistance", "chord"]

_CLOSE = 0.1  # a part of a difference of squares below which it has lost more than a digit


class SubspaceDistance(abc.ABC):
    """A function of the principal angles of span(x) and span(y), called with orthonormal bases.

    Subspaces of different dimensions k and l have min(k, l) angles; their distance is then that of the
    smaller one to the nearest subspace, of its dimension, of the larger one: 0 where one contains the other.

    A distance of one's own is a frozen dataclass with ``of_angles`` and ``slope``. Gradients are horizontal,
    ``xᵀ∇ = 0``. They are 0 where two subspaces coincide to rounding, exact at repeated angles, and, where the
    distance has a kink, the gradient of one of its sides. They can be taken once.

    References:
        Ye, Lim, Schubert varieties and distances between subspaces of different dimensions, SIAM J. Matrix
        Anal. Appl. 37 (2016), tables 2 and 3; Björck, Golub, Numerical methods for computing angles between
        linear subspaces, Math. Comp. 27 (1973).

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class SumOfSines(SubspaceDistance):
        ...     def of_angles(self, sine, cosine):
        ...         return sine.sum(-1)
        ...     def slope(self, sine, cosine, distance):
        ...         return cosine / sine
        >>> SumOfSines()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.)
    """

    @abc.abstractmethod
    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return the distance ``(...)`` from sines and cosines ``(..., p)`` of ascending angles."""

    @abc.abstractmethod
    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return the derivative with respect to each angle divided by its sine, ``(..., p)``.

        Args:
            sine: ``(..., p)``.
            cosine: ``(..., p)``.
            distance: what ``of_angles`` returned, ``(..., 1)``, not 0.
        """

    @accepts_arrays
    def __call__(self, x: Array, y: Array) -> Array:
        """Return the distance of each pair, ``(...)``.

        Args:
            x: orthonormal columns, ``(..., n, k)``.
            y: orthonormal columns, ``(..., n, l)``; the batch dimensions broadcast.

        Raises:
            GeowarpError: for shapes that do not fit together, and columns that are not orthonormal.
        """
        first, second = tensors(x, y)
        check_bases(type(self).__name__, first, second)
        distance: Array = full_precision(each_pair)(self, first, second)
        return distance

    @accepts_arrays
    def pairwise(self, x: Array, y: Array | None = None) -> Array:
        """Return all distances ``(..., N, M)``, from one product of all the bases.

        Pairs with ``Σ sin²θ < 0.1``, whose cosines do not tell the distance to full accuracy, are computed
        from their bases. The rows come in blocks, so that beside the result little memory is used.

        Args:
            x: orthonormal columns, ``(..., N, n, k)``.
            y: orthonormal columns, ``(..., M, n, l)``; by default x, which takes half the work.

        Raises:
            GeowarpError: for shapes that do not fit together, and columns that are not orthonormal.
        """
        first, second = tensors(x, x if y is None else y)
        check_bases(type(self).__name__, first, second, sets=True)
        table: Array = full_precision(all_pairs)(self, first, second, second is first)
        return table

    # --- of the bases of each pair ---

    def of_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair of bases."""
        sine, cosine, _, _ = self._principal(x, y)
        return self.of_angles(sine, cosine)

    def at_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``W = U diag(slope) Vᵀ``, ``(..., l, k)``: the gradient is ``−(y − x xᵀy) W`` at x."""
        pairs = self._principal(x, y)
        weight = self._weight(pairs.sine, pairs.cosine)
        return (pairs.in_y * weight[..., None, :]) @ pairs.in_x.mT

    # --- of the products yᵀx of all pairs ---

    def of_sets(self, x: Bases, y: Bases) -> tuple[Tensor, Tensor]:
        """Return all distances ``(b, N, M)``, and which of them are too close to be accurate."""
        cosine = torch.linalg.svdvals(products_of(x.points, y.points))
        sine = _sine(cosine)
        return self.of_angles(sine, cosine), sine.square().sum(-1) < _CLOSE

    def at_products(self, products: Tensor, distance: Tensor) -> Tensor:
        """Return what ``at_bases`` does, from the products ``(..., l, k)`` and the distances."""
        u, cosine, vh = torch.linalg.svd(products, full_matrices=False)
        weight: Tensor = (u * self._weight(_sine(cosine), cosine)[..., None, :]) @ vh
        return weight

    def _principal(self, x: Tensor, y: Tensor) -> PrincipalVectors:
        return principal_vectors(x, y)

    def _weight(self, sine: Tensor, cosine: Tensor) -> Tensor:
        distance = self.of_angles(sine, cosine)[..., None]
        rounding = 4 * torch.finfo(sine.dtype).eps * math.sqrt(sine.shape[-1])
        apart = distance > rounding
        slope = self.slope(sine, cosine, torch.where(apart, distance, 1))
        return torch.where(apart, slope, 0)


def _sine(cosine: Tensor) -> Tensor:
    return ((1 - cosine) * (1 + cosine)).clamp_min(0).sqrt()


def _root_of_squares(values: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm


@dataclass(frozen=True)
class Geodesic(SubspaceDistance):
    """``√Σθ²``, the length of the shortest geodesic: the distance of ``Grassmann``.

    Example:
        >>> Geodesic()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.5708)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``√Σθ²``."""
        return _root_of_squares(torch.atan2(sine, cosine))

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``θ / (d sinθ)``."""
        ratio = torch.where(sine > 0, torch.atan2(sine, cosine) / torch.where(sine > 0, sine, 1), 1)
        return ratio / distance


@dataclass(frozen=True)
class Chordal(SubspaceDistance):
    """``√Σsin²θ = ‖xxᵀ − yyᵀ‖_F / √2 = ‖x − y yᵀx‖_F``, also called projection (Frobenius) metric.

    For k = l. Its square is smooth, and its computation needs products only.

    References:
        Edelman, Arias, Smith, The geometry of algorithms with orthogonality constraints, SIAM J. Matrix
        Anal. Appl. 20 (1998), section 4.3; Conway, Hardin, Sloane, Packing lines, planes, etc., Experiment.
        Math. 5 (1996).

    Example:
        >>> Chordal().pairwise(torch.eye(3)[:, :, None])
        tensor([[0., 1., 1.],
                [1., 0., 1.],
                [1., 1., 0.]])
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``√Σsin²θ``."""
        return _root_of_squares(sine)

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``cosθ / d``."""
        return cosine / distance

    def of_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``‖x − y yᵀx‖_F``, of the smaller subspace x."""
        small, large = (x, y) if x.shape[-1] <= y.shape[-1] else (y, x)
        norm: Tensor = torch.linalg.matrix_norm(normal_part(small, large))
        return norm

    def at_bases(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``yᵀx / d``."""
        return self._over(y.mT @ x, self.of_bases(x, y))

    def of_sets(self, x: Bases, y: Bases) -> tuple[Tensor, Tensor]:
        """Return ``√(‖δ‖² − ‖xᵀδ‖²)`` with ``δ = y − x``, or for bases of two sizes ``√(p − ‖yᵀx‖²)``."""
        if x.points.shape[-1] != y.points.shape[-1]:
            square = min(x.points.shape[-1], y.points.shape[-1]) - products_of(
                x.points, y.points
            ).square().sum((-2, -1))
            return square.clamp_min(0).sqrt(), square < _CLOSE
        left, right = (bases.shift.flatten(2) for bases in (x, y))
        total = left.square().sum(-1)[:, :, None] + right.square().sum(-1)[:, None, :]
        inner = products_of(x.points, y.shift)
        inner -= (x.shift.mT @ x.points)[:, :, None]
        square = torch.baddbmm(total, left, right.mT, alpha=-2) - inner.square().sum((-2, -1))
        return square.clamp_min(0).sqrt(), square <= _CLOSE * total

    def at_products(self, products: Tensor, distance: Tensor) -> Tensor:
        """Return ``yᵀx / d``."""
        return self._over(products, distance)

    def _over(self, products: Tensor, distance: Tensor) -> Tensor:
        apart = distance > 4 * torch.finfo(products.dtype).eps * math.sqrt(min(products.shape[-2:]))
        scale = torch.where(apart, 1 / torch.where(apart, distance, 1), 0)
        return scale[..., None, None] * products


@dataclass(frozen=True)
class Procrustes(SubspaceDistance):
    """``2 √Σsin²(θ/2)``, the least ``‖x − y Q‖_F`` over matrices Q with orthonormal columns (k <= l).

    Example:
        >>> Procrustes()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.4142)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``√Σ(2 sin(θ/2))²``."""
        return _root_of_squares(chord(sine, cosine))

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``1 / d``."""
        return torch.ones_like(sine) / distance


def chord(sine: Tensor, cosine: Tensor) -> Tensor:
    """Return ``2 sin(θ/2) = sinθ √(2 / (1 + cosθ))``, elementwise.

    Example:
        >>> chord(torch.tensor(1.0), torch.tensor(0.0))
        tensor(1.4142)
    """
    return sine * (2 / (1 + cosine)).sqrt()
