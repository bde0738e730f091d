"""The Fréchet variance."""

from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..manifolds.weights import normalized_weights
from .arrays import Array, accepts_arrays, tensors
from .mean import frechet_mean
from .validation import check_beside, check_operation, check_points

__all__ = ["frechet_variance"]


@accepts_arrays
def frechet_variance(
    manifold: geoopt.Manifold, x: Array, weights: Array | None = None, mean: Array | None = None
) -> Array:
    """Return the Fréchet variance ``Σ w_i dist(m, x_i)²``, with weights of sum 1, by default about the mean.

    It is the population variance, of N points with equal weights ``Σ dist² / N``. Differentiable in points
    and weights: about the Fréchet mean it does not change to first order with the mean.

    Args:
        manifold: a manifold of geowarp or geoopt with ``dist``, and with ``logmap`` where no mean is given.
        x: ``(..., N, *point)``, a tensor or a numpy array.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default. Their batch
            dimensions broadcast with those of x.
        mean: ``(..., *point)``, any point about which to take it; by default the Fréchet mean.

    Returns:
        ``(...)``.

    Raises:
        GeowarpError: for negative weights, weights that sum to 0, or no points.
        NotOnManifoldError: for points that are not on the manifold.
        NonFiniteError: for points or weights that are infinite or not a number.

    References:
        Fréchet, Les éléments aléatoires de nature quelconque dans un espace distancié, Ann. Inst. H. Poincaré
        10 (1948); Pennec, Intrinsic statistics on Riemannian manifolds, J. Math. Imaging Vis. 25 (2006).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> frechet_variance(Euclidean(1), torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        tensor(1.)
    """
    points, given, centre = tensors(x, weights, mean)
    check_points(manifold, points)
    normalized = normalized_weights(points, given, manifold.ndim)
    if centre is None:
        centre = _mean(manifold, points, normalized)
    else:
        check_beside("frechet_variance", manifold, points, centre, "mean")
        check_operation(manifold, "dist")
    squares = _squares(manifold, centre.unsqueeze(-manifold.ndim - 1), points)
    variance: Array = tensors((normalized * squares).sum(-1))
    return variance


def _mean(manifold: geoopt.Manifold, x: Tensor, weights: Tensor) -> Tensor:
    """Return the mean, as a constant unless it is bound to move with a learnable constant of the manifold."""
    learnable = any(constant.requires_grad for constant in manifold.parameters())
    with torch.set_grad_enabled(learnable and torch.is_grad_enabled()):
        return frechet_mean(manifold, x, weights)


def _squares(manifold: Any, x: Tensor, y: Tensor) -> Tensor:
    if hasattr(manifold, "dist2"):
        squares: Tensor = manifold.dist2(x, y)
        return squares
    distances: Tensor = manifold.dist(x, y)
    return distances.square()
