"""Positive definite matrices with the log-Cholesky metric."""

from torch import Tensor

from .cholesky_coordinates import CholeskyChart
from .flat import FlatSPD

__all__ = ["LogCholeskySPD"]


class LogCholeskySPD(FlatSPD[CholeskyChart]):
    """Symmetric positive definite matrices, points ``(..., n, n)``, with the log-Cholesky metric.

    The coordinates of ``P = L Lᵀ`` are ``φ(P) = ⌊L⌋ + log 𝔻(L)``: the strictly lower triangle of the Cholesky
    factor and the logarithm of its diagonal. With ``X = L (L⁻¹ u L⁻ᵀ)_½``, ``(·)_½`` the lower triangle with
    half the diagonal, and Y of v likewise,

    - ``⟨u, v⟩_P = Σ_{i>j} X_ij Y_ij + Σ_j X_jj Y_jj / L_jj²``,
    - ``dist(P, Q)² = ‖⌊L⌋ − ⌊K⌋‖² + ‖log 𝔻(L) − log 𝔻(K)‖²`` for ``Q = K Kᵀ``.

    Everything is by Cholesky factors and triangular solves, without an eigenvalue: the cheapest of the
    metrics that keep determinants from swelling along geodesics. Distances depend on the order of the
    coordinates; they are invariant neither under rotations nor under inversion.

    Raises:
        NotOnManifoldError: from operations at a matrix without a Cholesky factor, with its smallest
            eigenvalue.

    References:
        Lin, Riemannian geometry of symmetric positive definite matrices via Cholesky decomposition, SIAM J.
        Matrix Anal. Appl. 40 (2019).

    Example:
        >>> spd = LogCholeskySPD()
        >>> spd.dist(torch.eye(2), torch.e**2 * torch.eye(2))
        tensor(1.4142)
        >>> spd.mean(torch.stack([torch.eye(2), 16 * torch.eye(2)]))
        tensor([[4., 0.],
                [0., 4.]])
    """

    name = "LogCholeskySPD"

    def _at(self, x: Tensor) -> CholeskyChart:
        return CholeskyChart.of_point(x)

    def _from(self, coordinates: Tensor) -> CholeskyChart:
        return CholeskyChart.of_coordinates(coordinates)

    def _difference(self, end: CholeskyChart, start: CholeskyChart) -> Tensor:
        return end.less(start)

    def _features(self, chart: CholeskyChart) -> Tensor:
        return chart.features()
