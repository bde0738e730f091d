"""The Fréchet mean."""

import math
from typing import Any, Literal, overload

import torch
from torch import Tensor

from .._geoopt import geoopt
from .._warn import warn
from ..errors import NotOnManifoldError, NumericalWarning
from ..manifolds import Euclidean
from ..manifolds.karcher import KarcherMean, karcher_mean, uniqueness_radius
from .arrays import Array, accepts_arrays, tensors
from .validation import check_operation, check_points

__all__ = ["frechet_mean"]


@overload
def frechet_mean(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, return_info: Literal[False] = False
) -> Array: ...


@overload
def frechet_mean(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, *, return_info: Literal[True]
) -> KarcherMean[Array]: ...


@accepts_arrays
def frechet_mean(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, return_info: bool = False
) -> Array | KarcherMean[Array]:
    """Return the Fréchet (Karcher) mean ``argmin_m Σ w_i dist(m, x_i)²``, for a batch of problems at once.

    By the closed form or the solver of the manifold, and otherwise by ``karcher_mean``. Differentiable in the
    points, the weights and learnable constants of the manifold, by implicit differentiation.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., N, *point)``, a tensor or a numpy array.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x: for Q sets of weights of each of B sets of points,
            ``(B, 1, N, *point)`` and ``(B, Q, N)`` give ``(B, Q, *point)``.
        return_info: also return iterations, residual, whether the search converged, the largest distance
            from the mean, and whether it is within the ball in which a mean is unique.

    Returns:
        ``(..., *point)``, or a ``KarcherMean``; of arrays where x is an array.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points or weights that are infinite or not a number.

    Warns:
        NumericalWarning: where a search did not converge, and with ``return_info`` where points spread beyond
            the manifold's ``uniqueness_radius``.

    References:
        Karcher, Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977); Afsari,
        Riemannian L^p center of mass, Proc. AMS 139 (2011).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> frechet_mean(Sphere(), torch.eye(3))
        tensor([0.5774, 0.5774, 0.5774])
        >>> frechet_mean(Sphere(), torch.eye(3).numpy(), return_info=True).radius
        array(0.9553..., dtype=float32)
    """
    points, given = tensors(x, weights)
    check_points(manifold, points, lightly=True)
    check_operation(manifold, "logmap")
    try:
        result = _solve(manifold, points, given) if return_info else _mean(manifold, points, given)
    except NotOnManifoldError:
        check_points(manifold, points)  # says which of the points it is
        raise
    if isinstance(result, KarcherMean):
        _warn_of_spread(manifold, result)
    mean: Array | KarcherMean[Array] = tensors(result)
    return mean


def _mean(manifold: Any, x: Tensor, weights: Tensor | None) -> Tensor:
    if hasattr(manifold, "mean"):  # a closed form tells no more than the mean
        mean: Tensor = manifold.mean(x, weights)
        return mean
    return _solve(manifold, x, weights).mean


def _solve(manifold: Any, x: Tensor, weights: Tensor | None) -> KarcherMean:
    if isinstance(manifold, geoopt.Euclidean):
        manifold = Euclidean(manifold.ndim)
    if hasattr(manifold, "solve_mean"):
        result: KarcherMean = manifold.solve_mean(x, weights)
        return result
    return karcher_mean(manifold, x, weights)


def _warn_of_spread(manifold: geoopt.Manifold, result: KarcherMean) -> None:
    bound = uniqueness_radius(manifold)
    if not (math.isnan(bound) or bool(result.unique.all())):
        wide = int(torch.count_nonzero(~result.unique))
        warn(
            f"frechet_mean: the points of {wide} of {result.unique.numel()} means on {manifold!r} spread up "
            f"to {result.radius.max().item():.2g} from the mean, beyond the radius {bound:.2g} within which "
            "it is unique; another point may be a mean as well",
            NumericalWarning,
        )
