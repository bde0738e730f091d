"""The mean of subspaces in the chordal distance."""

from typing import Generic, Literal, overload

import torch
from torch import Tensor
from typing_extensions import NamedTuple  # generic ones need Python 3.11

from .._warn import warn
from ..errors import NumericalWarning
from ..manifolds import Grassmann
from ..manifolds.linalg import full_precision
from ..manifolds.linalg.mean_projector import dominant_eigenspace
from ..manifolds.weights import normalized_weights
from .arrays import Array, accepts_arrays, tensors
from .validation import check_points

__all__ = ["ChordalMean", "chordal_mean"]

_ROUNDING = 32  # eps: a smaller gap of eigenvalues, which are at most 1, is none


class ChordalMean(NamedTuple, Generic[Array]):
    """A mean of subspaces, and how well it is determined.

    Example:
        >>> x = torch.eye(3)[:, :2]
        >>> chordal_mean(x[None], return_info=True).eigengap
        tensor(1.)
    """

    mean: Array
    """An orthonormal basis, ``(..., n, k)``."""
    eigenvalues: Array
    """The k largest of ``Σ w_i x_i x_iᵀ``, from 0 to 1, descending, ``(..., k)``."""
    eigengap: Array
    """How much the k-th eigenvalue exceeds the next, ``(...)``: 1 for equal subspaces."""
    unique: Array
    """Whether the eigengap is positive beyond rounding, ``(...)``: then there is one mean."""
    converged: Array
    """Whether the eigenvectors are accurate to rounding, ``(...)``."""


@overload
def chordal_mean(x: Array, weights: Array | None = None, return_info: Literal[False] = False) -> Array: ...


@overload
def chordal_mean(
    x: Array, weights: Array | None = None, *, return_info: Literal[True]
) -> ChordalMean[Array]: ...


@accepts_arrays
def chordal_mean(
    x: Array, weights: Array | None = None, return_info: bool = False
) -> Array | ChordalMean[Array]:
    """Return the subspace with the least ``Σ w_i d(m, x_i)²`` in the chordal distance d.

    It is spanned by the k dominant eigenvectors of ``Σ w_i x_i x_iᵀ``, a global minimum, found without that
    matrix: from the ``Nk x Nk`` Gram matrix where ``Nk < n``, and otherwise by block conjugate gradients.
    Also called extrinsic, flag or projection mean, and a good approximation of ``frechet_mean`` for subspaces
    that are close together.

    Differentiable in points and weights, for functions of the span: exact also where eigenvalues repeat among
    the k largest, without bound where the eigengap vanishes. The gradient can be taken once.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x.
        return_info: also return eigenvalues and eigengap, and whether the mean is unique.

    Returns:
        ``(..., n, k)``, or a ``ChordalMean``.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for columns that are not orthonormal.
        NonFiniteError: for points or weights that are infinite or not a number.

    Warns:
        NumericalWarning: where a mean is not unique, or its search did not converge.

    References:
        Srivastava, Klassen, Bayesian and geometric subspace tracking, Adv. Appl. Probab. 36 (2004); Marrinan,
        Beveridge, Draper, Kirby, Peterson, Finding the subspace mean or median to fit your need, CVPR 2014.

    Example:
        >>> x = torch.stack([torch.eye(3)[:, :1], torch.eye(3)[:, 1:2]])
        >>> chordal_mean(x, torch.tensor([0.6, 0.4])).abs().squeeze(-1)
        tensor([1., 0., 0.])
    """
    points, given = tensors(x, weights)
    check_points(Grassmann(), points)
    normalized = normalized_weights(points, given, 2)
    info = _mean(points, normalized)
    _warn(info)
    result: Array | ChordalMean[Array] = tensors(info if return_info else info.mean)
    return result


def _mean(x: Tensor, weights: Tensor) -> ChordalMean[Tensor]:
    space = full_precision(dominant_eigenspace)(x, weights)
    basis, eigenvalues, gap, residual = space
    eps = torch.finfo(basis.dtype).eps
    return ChordalMean(basis, eigenvalues, gap, gap > _ROUNDING * eps, residual <= 1000 * eps)


def _warn(info: ChordalMean[Tensor]) -> None:
    if not bool(info.unique.all()):
        warn(
            f"chordal_mean: {int((~info.unique).sum())} of {info.unique.numel()} means are not unique; the "
            f"smallest eigengap is {info.eigengap.min().item():.1e}",
            NumericalWarning,
        )
    if not bool(info.converged.all()):
        warn(
            f"chordal_mean: {int((~info.converged).sum())} of {info.converged.numel()} means are inexact; "
            f"the smallest eigengap is {info.eigengap.min().item():.1e}",
            NumericalWarning,
        )
