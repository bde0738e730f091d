"""The chart ``⌊L⌋ + log 𝔻(L)`` of positive definite matrices ``P = L Lᵀ``, and its differential.

``⌊L⌋`` is the strictly lower triangle, ``𝔻(L)`` the diagonal. Every lower triangular matrix is the chart of
one positive definite matrix.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .points import cholesky, nearly_positive

__all__ = ["CholeskyChart"]


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    """Return the strictly lower triangle of ``(..., n, n)`` with another diagonal ``(..., n)``."""
    return matrix.tril(-1) + torch.diag_embed(diagonal)


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)


class CholeskyChart(NamedTuple):
    """The chart at points ``P = L Lᵀ``, and its differential there.

    References:
        Lin, Riemannian geometry of symmetric positive definite matrices via Cholesky decomposition, SIAM J.
        Matrix Anal. Appl. 40 (2019), section 3.

    Example:
        >>> chart = CholeskyChart.of_point(4 * torch.eye(1))
        >>> chart.coordinates(), chart.push(torch.ones(1, 1)), chart.pull(torch.ones(1, 1))
        (tensor([[0.6931]]), tensor([[0.1250]]), tensor([[8.]]))
        >>> CholeskyChart.of_coordinates(chart.coordinates()).point()
        tensor([[4.]])
    """

    matrix: Tensor
    """The points P, ``(..., n, n)``."""
    factor: Tensor
    """Their Cholesky factors L."""

    @classmethod
    def of_point(cls, point: Tensor) -> "CholeskyChart":
        """Return the chart at P, by its Cholesky factor."""
        return cls(point, cholesky(point))

    @classmethod
    def of_coordinates(cls, coordinates: Tensor) -> "CholeskyChart":
        """Return the chart at the point with coordinates C: ``⌊L⌋ = ⌊C⌋`` and ``𝔻(L) = exp 𝔻(C)``."""
        factor = _with_diagonal(coordinates, _diagonal(coordinates).exp())
        return cls(nearly_positive(factor @ factor.mT), factor)

    def point(self) -> Tensor:
        """Return P."""
        return self.matrix

    def coordinates(self) -> Tensor:
        """Return ``⌊L⌋ + log 𝔻(L)``."""
        return _with_diagonal(self.factor, _diagonal(self.factor).log())

    def features(self) -> Tensor:
        """Return the coordinates as vectors ``(..., n(n+1)/2)``: below the diagonal, then the diagonal."""
        n = self.factor.shape[-1]
        row, column = torch.tril_indices(n, n, offset=-1, device=self.factor.device)
        place = torch.cat([column * n + row, torch.arange(n, device=row.device) * (n + 1)])
        vectors: Tensor = self.factor.mT.flatten(-2)[..., place]  # LAPACK's factors lie column by column
        vectors[..., n * (n - 1) // 2 :].log_()
        return vectors

    def less(self, start: "CholeskyChart") -> Tensor:
        """Return these coordinates less those of another chart, to rounding accuracy for close points.

        The difference E of the factors K of these points and L of the others satisfies
        ``E Lᵀ + L Eᵀ + E Eᵀ = K Kᵀ − L Lᵀ``, which a Newton step brings it closer to. The derivative is that
        of the difference of the coordinates.
        """
        difference = self.coordinates() - start.coordinates()
        with torch.no_grad():
            factor, e = start.factor, self.factor - start.factor
            apart = (self.matrix - start.matrix).tril()
            half = e @ factor.mT
            residual = apart + apart.tril(-1).mT - half - half.mT - e @ e.mT
            e = e + self._factor_derivative(residual)[0]
            accurate = _with_diagonal(e, (_diagonal(e) / _diagonal(factor)).log1p())
            correction = torch.where(accurate.isfinite(), accurate - difference, 0)
        return difference + correction

    def _factor_derivative(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``X = L (L⁻¹ v L⁻ᵀ)_½``, and the diagonal of ``(·)_½``: of the lower triangle, by half."""
        left = torch.linalg.solve_triangular(self.factor, v, upper=False)
        inner: Tensor = torch.linalg.solve_triangular(self.factor.mT, left, upper=True, left=False)
        half = 0.5 * _diagonal(inner)
        return self.factor @ _with_diagonal(inner, half), half

    def push(self, v: Tensor) -> Tensor:
        """Return the coordinates of a symmetric ``v``: ``⌊X⌋ + 𝔻(L)⁻¹ 𝔻(X)``, ``X = L (L⁻¹ v L⁻ᵀ)_½``.

        ``(·)_½`` is the lower triangle with half the diagonal.
        """
        return _with_diagonal(*self._factor_derivative(v))

    def pull(self, coordinates: Tensor) -> Tensor:
        """Return the symmetric ``v`` with these coordinates: ``X Lᵀ + L Xᵀ``, ``X = ⌊C⌋ + 𝔻(L) 𝔻(C)``."""
        velocity = _with_diagonal(coordinates, _diagonal(self.factor) * _diagonal(coordinates))
        half = velocity @ self.factor.mT
        return half + half.mT

    def pull_second(self, first: Tensor, second: Tensor) -> Tensor:
        """Return ``Z Lᵀ + L Zᵀ + X Yᵀ + Y Xᵀ``, ``Z = 𝔻(L) 𝔻(A) 𝔻(B)``, of coordinates A and B.

        ``X = ⌊A⌋ + 𝔻(L) 𝔻(A)``, and Y of B likewise.
        """
        scale, a, b = _diagonal(self.factor), _diagonal(first), _diagonal(second)
        product = _with_diagonal(first, scale * a) @ _with_diagonal(second, scale * b).mT
        half = product + (scale * a * b)[..., :, None] * self.factor.mT
        return half + half.mT

    def pull_adjoint(self, g: Tensor) -> Tensor:
        """Return C with ``⟨C, B⟩ = ⟨g, pull(B)⟩`` for lower triangular B (sums over entries)."""
        product = (g + g.mT) @ self.factor
        return _with_diagonal(product, _diagonal(self.factor) * _diagonal(product))
