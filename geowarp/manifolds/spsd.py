"""Positive semidefinite matrices of fixed rank, as a subspace and a definite matrix."""

import math
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NotOnManifoldError, UnavailableError
from .grassmann import Grassmann
from .gyrovector import GyrovectorSpace
from .karcher import KarcherMean, describe_mean, normalized_weights
from .linalg import full_precision, polar_factor, safe_sqrt, skew
from .linalg.threads import is_concrete
from .retractions import Polar
from .sampling import gaussian, shape_of
from .spd import AffineInvariantSPD, SymmetricPositiveDefinite
from .spsd_alignment import AlignedFactor, align, aligned_factor, principal_factor, square_root

__all__ = ["SPSD"]

_SUBSPACES = Grassmann(Polar())


class SPSD(GyrovectorSpace):
    """Symmetric positive semidefinite n x n matrices X of rank r, as factors: points ``(..., n, r)``.

    A point is a factor Y of full column rank, ``X = Y Yᵀ``. Y and ``Y Q`` with orthogonal Q are one point:
    every function of points is invariant, and nothing is ever n x n. ``X = U S Uᵀ`` is a subspace, with the
    basis U whose first r rows are symmetric positive definite, and a definite r x r matrix S. In this
    canonical representation the matrices of rank r are the product of Grassmann and of the definite matrices:

    - ``dist(X, X')² = Σθ² + k d(S, S')²`` with the principal angles θ, a true distance,
    - geodesics, logarithms, parallel transport and means are those of the two factors, exactly.

    Tangent vectors are ``(..., n, r)`` with ``UᵀZ`` symmetric for ``U = Y (YᵀY)^{-1/2}``; they move X by
    ``Z Yᵀ + Y Zᵀ``. For r = n, the subspace is everything, and the geometry that of the definite matrix X.

    The metric depends on the choice of the first r coordinates. The basis is unique where no direction of the
    subspace is orthogonal to all of them. S jumps at other subspaces, where operations take one of its values
    and stay finite, and turns fast near those with two such directions.

    Args:
        rank: the rank r.
        spd: the metric of the definite matrices; ``AffineInvariantSPD()`` by default.
        weight: the factor k of that metric.

    Raises:
        GeowarpError: for a rank below 1 or a weight that is not positive.

    References:
        Bonnabel, Sepulchre, Riemannian metric and geometric mean for positive semidefinite matrices of fixed
        rank, SIAM J. Matrix Anal. Appl. 31 (2009), for the weight; Nguyen, A Gyrovector space approach for
        symmetric positive semi-definite matrix learning, ECCV (2022), section 3.2, for the canonical
        representation.

    Example:
        >>> spsd = SPSD(1)
        >>> x, y = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [-torch.e]])
        >>> spsd.dist(x, x), spsd.dist(x, torch.e * x)
        (tensor(0.), tensor(2.))
        >>> spsd.dist2(x, y) - spsd.dist2(x, x.flip(0))
        tensor(4.0000)
    """

    name = "SPSD"
    ndim = 2
    reversible = True

    def __init__(
        self, rank: int, *, spd: SymmetricPositiveDefinite | None = None, weight: float = 1.0
    ) -> None:
        super().__init__()
        if rank < 1:
            raise GeowarpError(f"SPSD: the rank is {rank}; it must be at least 1")
        if not 0 < weight < math.inf:
            raise GeowarpError(f"SPSD: the weight is {weight}; it must be positive and finite")
        self.rank, self.weight = rank, float(weight)
        self.spd = AffineInvariantSPD() if spd is None else spd
        self.reversible = bool(self.spd.reversible)

    def constants(self) -> tuple[Any, ...]:
        """Return the rank, the metric of the definite matrices and its weight."""
        return self.rank, self.spd, self.weight

    def __repr__(self) -> str:
        weight = "" if self.weight == 1 else f", weight={self.weight}"
        return f"SPSD({self.rank}, spd={self.spd!r}{weight})"

    # --- representations ---

    def to_matrix(self, y: Tensor) -> Tensor:
        """Return ``X = Y Yᵀ``, ``(..., n, n)``.

        Example:
            >>> SPSD(1).to_matrix(torch.tensor([[1.0], [2.0]]))
            tensor([[1., 2.],
                    [2., 4.]])
        """
        return y @ y.mT

    def from_matrix(self, x: Tensor) -> Tensor:
        """Return the factor ``(..., n, r)`` of the r largest eigenvalues of symmetric ``(..., n, n)``.

        Raises:
            NotOnManifoldError: where that eigenvalue of a matrix is 0 to rounding or negative, with its size.

        Example:
            >>> SPSD(1).from_matrix(torch.tensor([[4.0, 0.0], [0.0, 1.0]])).abs()
            tensor([[2.],
                    [0.]])
        """
        if x.ndim < 2 or x.shape[-1] != x.shape[-2] or x.shape[-1] < self.rank:
            raise GeowarpError(f"{self!r}: the shape {tuple(x.shape)} must be (..., n, n), n >= {self.rank}")
        factor: Tensor
        values: Tensor
        factor, values = full_precision(principal_factor)(x, self.rank)
        least = values[..., -self.rank]
        low = least <= values[..., -1].clamp_min(0) * x.shape[-1] * torch.finfo(values.dtype).eps
        if is_concrete(x) and bool(low.any()):
            index = tuple(low.nonzero()[0].tolist())
            where = f"matrix {list(index)} of {tuple(low.shape)}" if index else "the matrix"
            raise NotOnManifoldError(
                f"{self!r}: {where} has a rank below {self.rank}: its eigenvalue number {self.rank} is "
                f"{float(least[index]):.1e}; use a smaller rank, or add a multiple of the identity"
            )
        return factor

    def components(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the aligned basis U ``(..., n, r)`` and the matrix S ``(..., r, r)`` of ``X = U S Uᵀ``.

        Example:
            >>> SPSD(1).components(torch.tensor([[-3.0], [4.0]]))
            (tensor([[ 0.6000],
                    [-0.8000]]), tensor([[25.0000]]))
        """
        factor: AlignedFactor = full_precision(aligned_factor)(y)
        return factor.basis, factor.definite

    def from_components(self, u: Tensor, s: Tensor) -> Tensor:
        """Return the factor ``U S^{1/2}`` of ``U S Uᵀ``, for orthonormal columns U and definite S.

        Example:
            >>> SPSD(1).from_components(torch.tensor([[1.0], [0.0]]), torch.tensor([[4.0]]))
            tensor([[2.],
                    [0.]])
        """
        root: Tensor = full_precision(square_root)(s)
        return u @ root

    # --- the contract ---

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return ``r(n − r) + r(r + 1)/2``."""
        n, r = shape[-2:]
        return r * (n - r) + r * (r + 1) // 2

    @full_precision
    def point_residual(self, x: Tensor) -> Tensor:
        """Return 0 for full column rank, up to 1 where the smallest singular value is 0 to rounding.

        That is where its square is below ``8 √r eps`` of the largest one, or x is not finite.
        """
        values = torch.linalg.svdvals(torch.where(x.isfinite(), x, 0))
        bound = 0.7 * _floor(values)
        lacking = 1 - values[..., -1] / torch.where(bound > 0, bound, 1)
        residual: Tensor = lacking.clamp_min(0) + torch.where(x.isfinite().all(-1).all(-1), 0, torch.nan)
        return residual

    @full_precision
    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``‖skew(Uᵀu)‖`` (Frobenius) with ``U = x (xᵀx)^{-1/2}``."""
        residual: Tensor = torch.linalg.matrix_norm(skew(polar_factor(x).mT @ u))
        return residual

    def projx(self, x: Tensor) -> Tensor:
        """Return x, its singular values raised to ``√(16 √r eps)`` of the largest where they are less."""
        with torch.no_grad():
            left, values, right = torch.linalg.svd(x, full_matrices=False)
            lacking = (_floor(values)[..., None] - values).clamp_min(0)
            missing = (left * lacking[..., None, :]) @ right
            missing = torch.where((lacking > 0).any(-1)[..., None, None], missing, 0)
        return x + missing

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``u − U skew(Uᵀu)`` with ``U = x (xᵀx)^{-1/2}``."""
        basis = polar_factor(x)
        return u - basis @ skew(basis.mT @ u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the gradients of both factors, each in its own metric, as a tangent vector."""
        factor = aligned_factor(x)
        subspace, definite = factor.split_gradient(u)
        direction = _SUBSPACES.egrad2rgrad(factor.basis, subspace)
        return factor.join(direction, self.spd.egrad2rgrad(factor.definite, definite) / self.weight)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``tr ΔᵀΔ' + k ⟨D, D'⟩_S``."""
        factor = aligned_factor(x)
        first = factor.split(u)
        second = first if v is None else factor.split(v)
        subspace = _SUBSPACES.inner(factor.basis, first[0], second[0], keepdim=keepdim)
        definite: Tensor = self.spd.inner(factor.definite, first[1], second[1], keepdim=keepdim)
        return subspace + self.weight * definite

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the retractions of both factors: the polar one of the basis, and that of the metric."""
        factor = aligned_factor(x)
        direction, change = factor.split(u)
        return factor.follow(_SUBSPACES.retr(factor.basis, direction), self.spd.retr(factor.definite, change))

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponentials of both factors."""
        factor = aligned_factor(x)
        direction, change = factor.split(u)
        basis = _SUBSPACES.expmap(factor.basis, direction)
        return factor.follow(basis, self.spd.expmap(factor.definite, change))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of both factors."""
        start, end = aligned_factor(x), aligned_factor(y)
        direction = _SUBSPACES.logmap(start.basis, end.basis)
        return start.join(direction, self.spd.logmap(start.definite, end.definite))

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the transports of both factors along their geodesics, parallel where the metric's is."""
        start, end = aligned_factor(x), aligned_factor(y)
        direction, change = start.split(v)
        direction = _SUBSPACES.transp(start.basis, end.basis, direction)
        return end.join(direction, self.spd.transp(start.definite, end.definite, change))

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√(Σθ² + k d(S, S')²)``."""
        return safe_sqrt(self._squared(x, y, keepdim))

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``Σθ² + k d(S, S')²``."""
        return self._squared(x, y, keepdim)

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, r)`` and ``(..., M, n, r)``."""
        first = aligned_factor(x)
        second = first if y is x else aligned_factor(y)
        subspaces = _SUBSPACES.cdist(first.basis, second.basis)
        definite: Tensor = self.spd.cdist(first.definite, second.definite)
        return safe_sqrt(subspaces.square() + self.weight * definite.square())

    def _squared(self, x: Tensor, y: Tensor, keepdim: bool) -> Tensor:
        first, second = aligned_factor(x), aligned_factor(y)
        subspace = _SUBSPACES.dist2(first.basis, second.basis, keepdim=keepdim)
        definite: Tensor = self.spd.dist2(first.definite, second.definite, keepdim=keepdim)
        return subspace + self.weight * definite

    # --- means ---

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the means of both factors, of points ``(..., N, n, r)``; see ``Manifold.solve_mean``.

        The iterations are those of the factor with more, and the mean has converged, and is unique, where
        that holds of both.
        """
        weights = normalized_weights(x, weights, self.ndim)
        factor = aligned_factor(x)
        subspace = _SUBSPACES.solve_mean(factor.basis, weights)
        definite = self.spd.solve_mean(factor.definite, weights)
        mean = self.from_components(align(subspace.mean)[1], definite.mean)
        return describe_mean(self, x, weights, mean)._replace(
            iterations=torch.maximum(subspace.iterations, definite.iterations),
            converged=subspace.converged & definite.converged,
            unique=subspace.unique & definite.unique,
        )

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return where searches for the means of both factors start."""
        factor = aligned_factor(x)
        subspace = align(_SUBSPACES.initial_mean(factor.basis, weights))[1]
        return self.from_components(subspace, self.spd.initial_mean(factor.definite, weights))

    def uniqueness_radius(self) -> float:
        """Return the smaller one of π/4 and √k times that of the metric of the definite matrices."""
        radii = (_SUBSPACES.uniqueness_radius(), self.weight**0.5 * self.spd.uniqueness_radius())
        return math.nan if any(map(math.isnan, radii)) else min(radii)

    # --- gyrovector operations ---

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gyro-sums of both factors, ``(U_x ⊕ U_y, S_x ⊕ S_y)``.

        References:
            Nguyen, A Gyrovector space approach for symmetric positive semi-definite matrix learning, ECCV
            (2022), section 3.2.
        """
        first, second = aligned_factor(x), aligned_factor(y)
        basis = align(_SUBSPACES.gyro_add(first.basis, second.basis))[1]
        return self.from_components(basis, self._gyro_spd().gyro_add(first.definite, second.definite))

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``(t ⊙ U, t ⊙ S)``; t broadcasts with the batch dimensions of x."""
        factor = aligned_factor(x)
        basis = align(_SUBSPACES.gyro_scale(t, factor.basis))[1]
        return self.from_components(basis, self._gyro_spd().gyro_scale(t, factor.definite))

    def _gyro_spd(self) -> GyrovectorSpace:
        if not isinstance(self.spd, GyrovectorSpace):
            raise UnavailableError(
                f"{self!r}: {self.spd!r} has no gyrovector operations; AffineInvariantSPD(), "
                "LogEuclideanSPD() and LogCholeskySPD() have them"
            )
        return self.spd

    # --- points ---

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the first r unit vectors."""
        return torch.eye(*shape[-2:]).expand(shape)

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return uniformly distributed subspaces with definite matrices as the metric samples them."""
        shape = shape_of(size)
        self._assert_check_shape(shape, "random")
        basis: Tensor = full_precision(polar_factor)(gaussian(size, dtype, device, generator))
        square = (*shape[:-2], self.rank, self.rank)
        definite = self.spd.random(square, dtype=dtype, device=device, generator=generator)
        point = self.from_components(basis, definite.as_subclass(Tensor))
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and not shape[-1] == self.rank <= shape[-2]:
            return False, f"{name}: {tuple(shape[-2:])} must be (n, {self.rank}) with n >= {self.rank}"
        return ok, reason


def _floor(values: Tensor) -> Tensor:
    """Return ``√(16 √r eps)`` of the largest singular value, and 1 where all are 0, ``(...)``."""
    largest, unit = values[..., 0], 16 * values.shape[-1] ** 0.5 * torch.finfo(values.dtype).eps
    return torch.where(largest > 0, unit**0.5 * largest, 1)
