"""Positive definite matrices with the log-Euclidean metric."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.eigenfunction import frechet_derivative, second_frechet_derivative, symmetric_function
from ..linalg.spectral import exp, log
from ..linalg.threads import over_threads
from .flat import FlatSPD
from .logarithm_difference import logarithm_difference
from .points import nearly_positive
from .power import decomposition, matrix_power

__all__ = ["LogEuclideanSPD"]


class _LogarithmChart(NamedTuple):
    matrix: Tensor
    logarithm: Tensor
    eigenvalues: Tensor
    log_eigenvalues: Tensor
    vectors: Tensor

    @classmethod
    def of_point(cls, matrix: Tensor) -> "_LogarithmChart":
        eigenvalues, vectors = decomposition(matrix)
        logarithm = symmetric_function(matrix, log, decomposition=(eigenvalues, vectors))
        return cls(matrix, logarithm, eigenvalues, eigenvalues.log(), vectors)

    @classmethod
    def of_coordinates(cls, logarithm: Tensor) -> "_LogarithmChart":
        with torch.no_grad():
            eigenvalues, vectors = over_threads(torch.linalg.eigh, logarithm)
        matrix = nearly_positive(symmetric_function(logarithm, exp, decomposition=(eigenvalues, vectors)))
        return cls(matrix, logarithm, eigenvalues.exp(), eigenvalues, vectors)

    def point(self) -> Tensor:
        return self.matrix

    def coordinates(self) -> Tensor:
        return self.logarithm

    def push(self, v: Tensor) -> Tensor:
        return frechet_derivative(self.matrix, v, log, decomposition=(self.eigenvalues, self.vectors))

    def pull(self, coordinates: Tensor) -> Tensor:
        known = (self.log_eigenvalues, self.vectors)
        return frechet_derivative(self.logarithm, coordinates, exp, decomposition=known)

    def pull_second(self, first: Tensor, second: Tensor) -> Tensor:
        known = (self.log_eigenvalues, self.vectors)
        return second_frechet_derivative(self.logarithm, first, second, exp, decomposition=known)

    def pull_adjoint(self, g: Tensor) -> Tensor:
        return self.pull(sym(g))


class LogEuclideanSPD(FlatSPD[_LogarithmChart]):
    """Symmetric positive definite matrices, points ``(..., n, n)``, with the log-Euclidean metric.

    The coordinates of P are its matrix logarithm, a symmetric matrix:

    - ``⟨u, v⟩_P = tr(Dlog_P[u] Dlog_P[v])``,
    - ``dist(P, Q) = ‖log P − log Q‖`` (Frobenius).

    Derivatives of the logarithm and the exponential are by the Daleckii–Krein formula with divided
    differences free of cancellation, so that everything is right at repeated eigenvalues, too; so is the
    difference of logarithms for the closest matrices. Distances are invariant under rotations
    ``P → O P Oᵀ``, scaling and inversion.

    Raises:
        NotOnManifoldError: from operations at a matrix that is not positive definite, with its smallest
            eigenvalue.

    References:
        Arsigny, Fillard, Pennec, Ayache, Geometric means in a novel vector space structure on symmetric
        positive-definite matrices, SIAM J. Matrix Anal. Appl. 29 (2007); Bhatia, Matrix Analysis (1997),
        theorem V.3.3 (Daleckii–Krein).

    Example:
        >>> spd = LogEuclideanSPD()
        >>> spd.dist(torch.eye(2), torch.e * torch.eye(2))
        tensor(1.4142)
        >>> spd.mean(torch.stack([torch.eye(2), 16 * torch.eye(2)]))
        tensor([[4., 0.],
                [0., 4.]])
    """

    name = "LogEuclideanSPD"

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return the matrix power ``x^t``; t broadcasts with the batch dimensions of x."""
        return matrix_power(t, x)

    def _at(self, x: Tensor) -> _LogarithmChart:
        return _LogarithmChart.of_point(x)

    def _from(self, coordinates: Tensor) -> _LogarithmChart:
        return _LogarithmChart.of_coordinates(coordinates)

    def _difference(self, end: _LogarithmChart, start: _LogarithmChart) -> Tensor:
        return logarithm_difference(
            end.matrix, start.matrix, (end.eigenvalues, end.vectors), (start.eigenvalues, start.vectors)
        )

    def _features(self, chart: _LogarithmChart) -> Tensor:
        coordinates = chart.logarithm
        n = coordinates.shape[-1]
        row, column = torch.tril_indices(n, n, device=coordinates.device)
        weight = coordinates.new_full((n, n), math.sqrt(2)).fill_diagonal_(1)[row, column]
        return coordinates.flatten(-2)[..., row * n + column] * weight
