"""Positive definite matrices with the affine-invariant metric."""

import math

from torch import Tensor

from ..gyrovector import GyrovectorSpace
from ..karcher import KarcherMean
from ..linalg import safe_sqrt, skew, sym
from ..linalg.eigenfunction import symmetric_function
from ..linalg.precision import working_precision
from ..linalg.spectral import exp
from ..weights import normalized_weights
from .affine_invariant_distance import pairwise_squared_distance, squared_distance
from .affine_invariant_mean import affine_invariant_mean, geometric_start
from .points import SymmetricPositiveDefinite, cholesky, inverse_factor, inverse_triangular, nearly_positive
from .power import matrix_power, symmetric_product
from .whitened import whiten

__all__ = ["AffineInvariantSPD"]


class AffineInvariantSPD(GyrovectorSpace, SymmetricPositiveDefinite):
    """Symmetric positive definite matrices, points ``(..., n, n)``, with the affine-invariant metric.

    ``⟨u, v⟩_P = tr(P⁻¹ u P⁻¹ v)``, which is invariant under ``P → G P Gᵀ`` for every invertible G, and under
    inversion. It is the Fisher–Rao metric of centred Gaussians, times 2. The space is complete with curvature
    between −1/2 and 0: geodesics, logarithms and means exist and are unique everywhere. With ``P = L Lᵀ``,
    ``W = L⁻¹ u L⁻ᵀ`` and ``Z = L⁻¹ Q L⁻ᵀ``:

    - ``exp_P(u) = L expm(W) Lᵀ`` and ``log_P(Q) = L logm(Z) Lᵀ``,
    - ``dist(P, Q) = √Σ log² λ_k(P⁻¹Q)``,
    - parallel transport is ``E v Eᵀ`` with ``E = (Q P⁻¹)^½ = L Z^½ L⁻¹``.

    The retraction ``P + u + ½ u P⁻¹ u`` is of second order and positive definite for every u. Logarithms,
    distances and transports of float32 matrices are computed in float64.

    Raises:
        NotOnManifoldError: from operations at a matrix that is not positive definite, on the CPU.

    References:
        Pennec, Fillard, Ayache, A Riemannian framework for tensor computing, Int. J. Comput. Vis. 66 (2006);
        Bhatia, Positive Definite Matrices (2007), chapter 6; Jeuris, Vandebril, Vandereycken, A survey and
        comparison of contemporary algorithms for computing the matrix geometric mean, Electron. Trans. Numer.
        Anal. 39 (2012), section 4, for the retraction.

    Example:
        >>> spd = AffineInvariantSPD()
        >>> spd.geodesic(0.5, torch.eye(2), torch.tensor([[16.0, 0.0], [0.0, 1.0]]))
        tensor([[4., 0.],
                [0., 1.]])
    """

    name = "AffineInvariantSPD"

    def uniqueness_radius(self) -> float:
        """Return infinity: the curvature is nowhere positive."""
        return math.inf

    def initial_mean(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the geometric mean of the arithmetic and the harmonic mean."""
        factor, _ = geometric_start(x, weights)
        return factor @ factor.mT

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the mean by Newton's method, see ``affine_invariant_mean``, and how the search ended."""
        return affine_invariant_mean(x, normalized_weights(x, weights, self.ndim))

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return ``tr(x⁻¹ u x⁻¹ v)``."""
        inverse = inverse_factor(x)
        white = _congruence(inverse, u)
        return (white * (white if v is None else _congruence(inverse, v))).sum((-2, -1), keepdim=keepdim)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x sym(u) x``."""
        return sym(x @ sym(u) @ x)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``x + u + ½ u x⁻¹ u``, as half the sum of x and ``(L + u L⁻ᵀ)(L + u L⁻ᵀ)ᵀ``."""
        factor = cholesky(x)
        moved = factor + u @ inverse_triangular(factor).mT
        return nearly_positive(0.5 * (x + moved @ moved.mT))

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``L expm(L⁻¹ u L⁻ᵀ) Lᵀ``."""
        moved, _ = _geodesic_frame(x, u)
        return nearly_positive((moved @ moved.mT).to(x.dtype))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``L logm(L⁻¹ y L⁻ᵀ) Lᵀ``, accurate for close and for ill-conditioned matrices."""
        wide, y = working_precision(x), working_precision(y)
        factor = cholesky(wide)
        logarithm = whiten(inverse_triangular(factor), wide, y, x.dtype).logarithm()
        return _congruence(factor, logarithm).to(x.dtype)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√Σ log² λ_k(x⁻¹y)``, accurate for close and for ill-conditioned matrices."""
        value = safe_sqrt(squared_distance(x, y)).to(x.dtype)
        return value[..., None, None] if keepdim else value

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``Σ log² λ_k(x⁻¹y)``, which is smooth everywhere."""
        value = squared_distance(x, y).to(x.dtype)
        return value[..., None, None] if keepdim else value

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n, n)`` and ``(..., M, n, n)``.

        Where y is x itself, every pair is computed once.
        """
        return safe_sqrt(pairwise_squared_distance(x, y)).to(x.dtype)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the parallel transport ``E v Eᵀ``, ``E = L (L⁻¹ y L⁻ᵀ)^½ L⁻¹``, along the geodesic."""
        wide = working_precision(x)
        factor = cholesky(wide)
        inverse = inverse_triangular(factor)
        root = whiten(inverse, wide, working_precision(y), x.dtype).root()
        return _congruence(factor @ root, _congruence(inverse, working_precision(v))).to(x.dtype)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and the parallel transport of ``v`` along it, however long it is."""
        moved, inverse = _geodesic_frame(x, u)
        end = nearly_positive((moved @ moved.mT).to(x.dtype))
        return end, _congruence(moved, _congruence(inverse, working_precision(v))).to(x.dtype)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return ``−½ (u x⁻¹ v + v x⁻¹ u)``."""
        inverse = inverse_factor(x)
        return -sym((inverse @ u).mT @ (inverse @ v))

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return ``−¼ L [[U, V], W] Lᵀ``, ``U = L⁻¹ u L⁻ᵀ`` and V, W likewise, ``[U, V] = U V − V U``."""
        factor = cholesky(x)
        inverse = inverse_triangular(factor)
        first, second, third = (_congruence(inverse, part) for part in (u, v, w))
        twist = 2 * skew(first @ second) @ third
        return -0.5 * _congruence(factor, twist)

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x^½ y x^½``."""
        return symmetric_product(x, y)

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return the matrix power ``x^t``; t broadcasts with the batch dimensions of x."""
        return matrix_power(t, x)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retracted point y and ``v`` moved there as ``G v Gᵀ`` with ``G = L_y L_x⁻¹``.

        That is an isometry, as parallel transport is, and a rotation of the order of the step away from it.
        It takes one more Cholesky factor where that takes an eigendecomposition: it is the transport of the
        optimisers.
        """
        y = self.retr(x, u)
        return y, _congruence(cholesky(y), _congruence(inverse_factor(x), v))


def _congruence(factor: Tensor, matrix: Tensor) -> Tensor:
    """Return the symmetric part of ``F A Fᵀ``."""
    return sym(factor @ matrix @ factor.mT)


def _geodesic_frame(x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``F = L expm(L⁻¹ u L⁻ᵀ / 2)``, with ``F Fᵀ`` the end of the geodesic, and ``L⁻¹``."""
    factor = cholesky(working_precision(x))
    inverse = inverse_triangular(factor)
    half = symmetric_function(0.5 * _congruence(inverse, working_precision(u)), exp)
    return factor @ half, inverse
