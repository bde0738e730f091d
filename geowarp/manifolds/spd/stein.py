"""The Stein divergence of positive definite matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..linalg import full_precision, sym
from ..linalg.threads import is_concrete
from .pair_function import all_pairs, of_pairs
from .points import cholesky, inverse_factor
from .whitened import whitened_difference

__all__ = ["Stein", "stein_divergence", "stein_divergence_pairwise"]

_CLOSE = 0.1  # divergence below which the difference of log-determinants has lost digits


def _log_determinant(inverse: Tensor) -> Tensor:
    """Return ``log det x`` from the inverse of its Cholesky factor."""
    return -2 * inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@dataclass(frozen=True)
class Stein:
    """The Stein divergence as a function of pairs, see ``stein_divergence``.

    Example:
        >>> one = torch.ones(1, 1, 1)
        >>> Stein().values(one, 4 * one, one, one / 2)
        tensor([0.2231])
    """

    uses_second = True

    def values(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the difference of log-determinants, and ``½ Σ log1p(ε² / (4 + 4ε))`` of close pairs."""
        factor = cholesky(0.5 * (x + y))
        middle = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        far = middle - 0.5 * (_log_determinant(first) + _log_determinant(second))
        close = far < _CLOSE
        if not is_concrete(x):
            return torch.where(close, _near(x, y, first), far)
        rows = close.nonzero().squeeze(-1)
        return far if rows.numel() == 0 else far.index_copy(0, rows, _near(x[rows], y[rows], first[rows]))

    def table(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the divergence of all pairs."""
        shape = (len(x), len(y), *x.shape[1:])
        pairs = (m.expand(shape).flatten(0, 1) for m in (x[:, None], y, first[:, None], second))
        return self.values(*pairs).reshape(len(x), len(y))

    def gradients(self, x: Tensor, y: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``¼ m⁻¹(x − y)x⁻¹`` and ``¼ m⁻¹(y − x)y⁻¹``, m the arithmetic mean."""
        inverse = inverse_factor(0.5 * (x + y))
        slope = 0.25 * inverse.mT @ (inverse @ (x - y))
        return sym(slope @ first.mT @ first), -sym(slope @ second.mT @ second)

    def differentiable_gradient(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``¼ m⁻¹(x − y)x⁻¹``."""
        middle, inverse = inverse_factor(0.5 * (x + y)), inverse_factor(x)
        slope: Tensor = 0.25 * middle.mT @ (middle @ (x - y))
        return sym(slope @ inverse.mT @ inverse)


def _near(x: Tensor, y: Tensor, inverse: Tensor) -> Tensor:
    eigenvalues = torch.linalg.eigvalsh(whitened_difference(inverse, x, y))
    divergence: Tensor = 0.5 * (0.25 * eigenvalues.square() / (1 + eigenvalues)).log1p().sum(-1)
    return divergence


@full_precision
def stein_divergence(x: Tensor, y: Tensor) -> Tensor:
    """Return the Stein divergence ``log det((x + y)/2) − ½ log det(x y)``, ``(...)``.

    Also called S-divergence, it is ``Σ log cosh(½ log λ_k(x⁻¹y))``: invariant under congruence and inversion
    as the affine-invariant distance d is, and ``d²/8`` to second order. Its square root is a metric; the
    divergence itself is not.
    Computed in float64, from Cholesky factors, and for close matrices from the eigenvalues of their whitened
    difference, without cancellation. Gradients are exact, and 0 where x equals y; differentiable twice.

    Args:
        x: positive definite, ``(..., n, n)``.
        y: positive definite, ``(..., n, n)``; the batch dimensions broadcast.

    Raises:
        NotOnManifoldError: for a matrix that is not positive definite, on the CPU.

    References:
        Sra, Positive definite matrices and the S-divergence, Proc. AMS 144 (2016), theorem 3.1.

    Example:
        >>> stein_divergence(torch.eye(2), 4 * torch.eye(2))
        tensor(0.4463)
    """
    return of_pairs(Stein(), x, y).to(x.dtype)


@full_precision
def stein_divergence_pairwise(x: Tensor, y: Tensor | None = None) -> Tensor:
    """Return ``stein_divergence`` of all pairs, ``(..., N, M)``.

    Args:
        x: ``(..., N, n, n)``.
        y: ``(..., M, n, n)``; x by default, and then every pair is computed once.

    Example:
        >>> stein_divergence_pairwise(torch.tensor([[[1.0]], [[4.0]]]))
        tensor([[0.0000, 0.2231],
                [0.2231, 0.0000]])
    """
    return all_pairs(Stein(), x, x if y is None else y).to(x.dtype)
