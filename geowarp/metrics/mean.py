"""The Fréchet mean."""

from typing import Literal, overload

from torch import Tensor

from .._geoopt import geoopt
from ..manifolds import Euclidean
from ..manifolds.karcher import KarcherMean, karcher_mean

__all__ = ["frechet_mean"]


@overload
def frechet_mean(
    manifold: geoopt.Manifold, x: Tensor, weights: Tensor | None = None, return_info: Literal[False] = False
) -> Tensor: ...


@overload
def frechet_mean(
    manifold: geoopt.Manifold, x: Tensor, weights: Tensor | None = None, *, return_info: Literal[True]
) -> KarcherMean: ...


def frechet_mean(
    manifold: geoopt.Manifold, x: Tensor, weights: Tensor | None = None, return_info: bool = False
) -> Tensor | KarcherMean:
    """Return the Fréchet (Karcher) mean ``argmin_m Σ w_i dist(m, x_i)²``, for a batch of problems at once.

    Differentiable in the points and the weights, by implicit differentiation.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., N, *point)``.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default.
        return_info: also return iterations, residual and whether the search converged.

    Returns:
        ``(..., *point)``, or a ``KarcherMean`` with ``mean``, ``iterations``, ``residual`` and ``converged``.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NonFiniteError: for points or weights that are infinite or not a number.

    References:
        Karcher, Riemannian center of mass and mollifier smoothing, Comm. Pure Appl. Math. 30 (1977).

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> frechet_mean(Sphere(), torch.eye(3))
        tensor([0.5774, 0.5774, 0.5774])
        >>> frechet_mean(Sphere(), torch.eye(3), return_info=True).converged
        tensor(True)
    """
    if return_info:
        return karcher_mean(manifold, x, weights)
    if isinstance(manifold, geoopt.Euclidean):
        manifold = Euclidean(manifold.ndim)
    mean: Tensor = (
        manifold.mean(x, weights) if hasattr(manifold, "mean") else karcher_mean(manifold, x, weights).mean
    )
    return mean
