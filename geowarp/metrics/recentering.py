"""Moving a set of points so that its mean is where another one's is."""

from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..manifolds.linalg.dimensions import append_dimensions
from ..manifolds.weights import normalized_weights
from .arrays import Array, accepts_arrays, tensors
from .mean import frechet_mean
from .validation import check_beside, check_operation, check_points

__all__ = ["recenter", "whiten"]


@accepts_arrays
def recenter(
    manifold: geoopt.Manifold,
    x: Array,
    weights: Array | None = None,
    mean: Array | None = None,
    target: Array | None = None,
) -> Array:
    """Return the points moved so that their mean is at ``target``.

    ``exp_t(Γ log_m x_i)`` with the transport Γ of the manifold from the mean m to the target t. With the
    affine-invariant metric and the identity for a target that is ``M^{-1/2} X M^{-1/2}``. Sets of points from
    several sources, each moved from its own mean, become comparable.

    Distances of the points from their mean stay what they are, and distances between them where the manifold
    is flat or, as for positive definite matrices and rotations, an isometry moves one mean to the other.
    Differentiable.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap`` and ``transp``.
        x: ``(..., N, *point)``.
        weights: of the mean, ``(..., N)``; they are divided by their sum. Equal by default.
        mean: ``(..., *point)``, where the points are moved from; by default their Fréchet mean.
        target: ``(..., *point)``, where they are moved to; by default the manifold's origin.

    Returns:
        ``(..., N, *point)``.

    Raises:
        NotOnManifoldError: for tensors that are not points of the manifold.
        UnavailableError: for a manifold without logarithm or transport.
        GeowarpError: for weights as ``frechet_mean``.

    References:
        Zanini, Congedo, Jutten, Said, Berthoumieu, Transfer learning: a Riemannian geometry framework with
        applications to brain-computer interfaces, IEEE Trans. Biomed. Eng. 65 (2018); Yair, Ben-Chen, Talmon,
        Parallel transport on the cone manifold of SPD matrices for domain adaptation, IEEE Trans. Signal
        Process. 67 (2019).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> recenter(Euclidean(1), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """
    moved: Array = tensors(_moved(manifold, *tensors(x, weights, mean, target), scale=False))
    return moved


@accepts_arrays
def whiten(
    manifold: geoopt.Manifold,
    x: Array,
    weights: Array | None = None,
    mean: Array | None = None,
    target: Array | None = None,
) -> Array:
    """Return the points moved as by ``recenter``, with their distances from the mean scaled to dispersion 1.

    The logarithms at the mean are divided by ``√(Σ w_i dist(m, x_i)²)``, so that of the result the Fréchet
    variance about the target is 1; points that are all equal are not scaled. On a manifold of positive
    curvature distances about 1 may lie beyond the cut locus, and the target then need not be their mean.

    Arguments, results and errors are those of ``recenter``.

    References:
        Rodrigues, Jutten, Congedo, Riemannian Procrustes analysis: transfer learning for brain-computer
        interfaces, IEEE Trans. Biomed. Eng. 66 (2019).

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> whiten(Euclidean(1), torch.tensor([[1.0, 2.0], [7.0, 2.0]]))
        tensor([[-1.,  0.],
                [ 1.,  0.]])
    """
    moved: Array = tensors(_moved(manifold, *tensors(x, weights, mean, target), scale=True))
    return moved


def _moved(
    manifold: geoopt.Manifold,
    x: Tensor,
    weights: Tensor | None,
    mean: Tensor | None,
    target: Tensor | None,
    *,
    scale: bool,
) -> Tensor:
    check_points(manifold, x)
    check_operation(manifold, "logmap")
    normalized = normalized_weights(x, weights, manifold.ndim)
    centre = frechet_mean(manifold, x, weights) if mean is None else _checked(manifold, x, mean, "mean")
    end = _origin(manifold, x) if target is None else _checked(manifold, x, target, "target")
    centre, end = (point.unsqueeze(-manifold.ndim - 1) for point in (centre, end))
    u = manifold.logmap(centre, x)
    if scale:
        u = _scaled(manifold, centre, u, normalized)
    moved: Tensor = manifold.expmap(end, manifold.transp(centre, end, u))
    return moved


def _scaled(manifold: geoopt.Manifold, centre: Tensor, u: Tensor, weights: Tensor) -> Tensor:
    """Return the vectors divided by the root of the weighted mean of their squares."""
    square = manifold.inner(centre, u, keepdim=True)
    variance = (append_dimensions(weights, manifold.ndim) * square).sum(-manifold.ndim - 1, keepdim=True)
    spread = variance > 0
    return torch.where(spread, u * torch.where(spread, variance, 1).rsqrt(), u)


def _checked(manifold: geoopt.Manifold, x: Tensor, point: Tensor, argument: str) -> Tensor:
    check_beside("recenter", manifold, x, point, argument)
    return point


def _origin(manifold: geoopt.Manifold, x: Tensor) -> Tensor:
    origin: Any = manifold.origin(*x.shape[x.ndim - manifold.ndim :], dtype=x.dtype, device=x.device)
    point: Tensor = origin.detach().as_subclass(Tensor)
    return point
