"""Principal component analysis of the logarithms of points at their mean."""

from typing import Any, Generic

import torch
from torch import Tensor
from typing_extensions import NamedTuple  # generic ones need Python 3.11

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds.linalg import sym
from ..manifolds.linalg.dimensions import append_dimensions
from ..manifolds.weights import normalized_weights
from .arrays import Array, accepts_arrays, tensors
from .inference_mode import outside_inference_mode
from .mean import frechet_mean
from .tangent_vectors import combine, dimension, entries, flat, gram, orthonormal, tangent_basis
from .validation import check_beside, check_operation, check_points

__all__ = ["TangentPCA", "tangent_pca"]

_SEED = 2654435769  # unlike one that the points themselves were drawn with


class TangentPCA(NamedTuple, Generic[Array]):
    """Principal directions of a set of points, and the coordinates of the points along them.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> pca = tangent_pca(Euclidean(1), torch.tensor([[0.0, 0.0], [2.0, 0.0]]), n_components=1)
        >>> pca.components
        tensor([[1., 0.]])
        >>> pca.transform(torch.tensor([[5.0, 7.0]]))
        tensor([[4.]])
        >>> pca.inverse_transform(torch.tensor([[4.0]]))
        tensor([[5., 0.]])
    """

    manifold: Any
    """The manifold."""
    mean: Array
    """The point at which the components are tangent, ``(..., *point)``."""
    components: Array
    """Orthonormal tangent vectors, ``(..., K, *point)``, of descending variance. The entry of the largest
    magnitude of each is positive."""
    variances: Array
    """``Σ w_i s_i²`` of the scores along each component, ``(..., K)``."""
    explained_ratio: Array
    """The variances divided by ``Σ w_i dist(m, x_i)²``, ``(..., K)``; 0 where that is 0."""
    scores: Array
    """``⟨log_m x_i, e_j⟩_m``, ``(..., N, K)``."""

    def transform(self, y: Array) -> Array:  # type: ignore[misc]  # mypy: of generic named tuples
        """Return the scores ``(..., M, K)`` of points ``(..., M, *point)``; differentiable."""
        return _scores(self.manifold, self.mean, self.components, y)

    def inverse_transform(self, scores: Array) -> Array:  # type: ignore[misc]
        """Return the points ``exp_m(Σ s_j e_j)``, ``(..., M, *point)``, of scores ``(..., M, K)``."""
        return _points(self.manifold, self.mean, self.components, scores)


@accepts_arrays
@outside_inference_mode
def tangent_pca(
    manifold: geoopt.Manifold,
    x: Array,
    weights: Array | None = None,
    n_components: int | None = None,
    mean: Array | None = None,
) -> TangentPCA[Array]:
    """Return the principal components of the logarithms ``log_m x_i`` in the metric at the mean m.

    Principal geodesic analysis in its tangent form. The eigenvectors are those of the ``N x N`` matrix of
    inner products where N is at most the dimension D of the manifold, and of the covariance in an orthonormal
    basis of the tangent space otherwise. In flat space it is ordinary principal component analysis, with
    variances that are divided by N. Components without variance are some orthonormal vectors.

    The components are computed without gradient; ``transform`` and ``inverse_transform`` have one with
    respect to their argument.

    Args:
        manifold: a manifold of geowarp or geoopt with ``logmap``.
        x: ``(..., N, *point)``.
        weights: ``(..., N)``, nonnegative; they are divided by their sum. Equal by default.
        n_components: how many components K; by default min(N, D), with which reconstruction is exact.
        mean: ``(..., *point)``, the point of tangency; by default the Fréchet mean. Around another point the
            variances are second moments about it.

    Raises:
        GeowarpError: where n_components is not from 1 to min(N, D), and for weights as ``frechet_mean``.
        NotOnManifoldError: for tensors that are not points of the manifold.
        NonFiniteError: for points or weights that are infinite or not a number.

    References:
        Fletcher, Lu, Pizer, Joshi, Principal geodesic analysis for the study of nonlinear statistics of
        shape, IEEE Trans. Med. Imaging 23 (2004), algorithm 2.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> angles = torch.tensor([-0.3, 0.1, 0.2])
        >>> circle = torch.stack([angles.cos(), angles.sin(), torch.zeros(3)], -1)
        >>> pca = tangent_pca(Sphere(), circle, n_components=1)
        >>> pca.scores
        tensor([[-0.3000],
                [ 0.1000],
                [ 0.2000]])
        >>> pca.explained_ratio
        tensor([1.])
    """
    points, given, centre = tensors(x, weights, mean)
    check_points(manifold, points)
    check_operation(manifold, "logmap")
    normalized = normalized_weights(points, given, manifold.ndim)
    with torch.no_grad():
        if centre is None:
            centre = frechet_mean(manifold, points, given)
        else:
            check_beside("tangent_pca", manifold, points, centre, "mean")
        logarithms = manifold.logmap(centre.unsqueeze(-manifold.ndim - 1), points.detach())
        count = _count(manifold, centre, logarithms, n_components)
        result: TangentPCA[Array] = tensors(_analysis(manifold, centre, logarithms, normalized, count))
    return result


def _count(manifold: geoopt.Manifold, mean: Tensor, logarithms: Tensor, given: int | None) -> int:
    points, dim = logarithms.shape[-manifold.ndim - 1], dimension(manifold, mean)
    most = min(points, dim)
    if given is not None and not 1 <= given <= most:
        raise GeowarpError(
            f"tangent_pca: n_components is {given}; {points} points on a manifold of dimension {dim} "
            f"have 1 to {most}"
        )
    return most if given is None else given


def _analysis(
    manifold: geoopt.Manifold, mean: Tensor, u: Tensor, weights: Tensor, count: int
) -> TangentPCA[Tensor]:
    many = u.shape[-manifold.ndim - 1] > dimension(manifold, mean)
    find = _of_many if many else _of_few
    components, variances = find(manifold, mean, u, weights, count)
    rows = entries(manifold, components)
    largest = rows.gather(-1, rows.abs().argmax(-1, keepdim=True))
    components = (rows * torch.where(largest < 0, -1, 1)).reshape(components.shape)
    covectors = flat(manifold, mean.unsqueeze(-manifold.ndim - 1), u)
    squares = (entries(manifold, covectors) * entries(manifold, u)).sum(-1)
    total = (weights * squares).sum(-1, keepdim=True)
    ratio = torch.where(total > 0, variances / torch.where(total > 0, total, 1), 0)
    scores = gram(manifold, mean, u, components)
    return TangentPCA(manifold, mean, components, variances, ratio, scores)


def _of_few(
    manifold: geoopt.Manifold, mean: Tensor, u: Tensor, weights: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return components and variances from the inner products of all pairs of the vectors."""
    root = weights.sqrt()
    products = root[..., :, None] * gram(manifold, mean, u, u) * root[..., None, :]
    values, vectors = torch.linalg.eigh(sym(products))
    values, vectors = values.flip(-1).clamp_min(0), vectors.flip(-1)[..., :count]
    present = values[..., :count] > u.shape[-1] * torch.finfo(u.dtype).eps * values[..., :1]
    scale = torch.where(present, values[..., :count], 1).rsqrt()
    spanned = combine(manifold, (root[..., None] * vectors * scale[..., None, :]).mT, u)
    generator = torch.Generator().manual_seed(_SEED)
    noise = torch.randn(spanned.shape, generator=generator, dtype=u.dtype).to(u.device)
    trial = torch.where(append_dimensions(present, manifold.ndim), spanned, noise)
    tangent = manifold.proju(mean.unsqueeze(-manifold.ndim - 1), trial)
    return orthonormal(manifold, mean, tangent), values[..., :count]


def _of_many(
    manifold: geoopt.Manifold, mean: Tensor, u: Tensor, weights: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return components and variances from the covariance in an orthonormal basis."""
    basis = tangent_basis(manifold, mean)
    rows = gram(manifold, mean, u, basis)
    values, vectors = torch.linalg.eigh(rows.mT @ (weights[..., None] * rows))
    vectors = vectors.flip(-1)[..., :count]
    return combine(manifold, vectors.mT, basis), values.flip(-1)[..., :count].clamp_min(0)


@accepts_arrays
@outside_inference_mode
def _scores(manifold: geoopt.Manifold, mean: Array, components: Array, y: Array) -> Array:
    point, vectors, points = tensors(mean, components, y)
    check_points(manifold, points, "y")
    check_beside("transform", manifold, points, point, "mean")
    centre = point.unsqueeze(-manifold.ndim - 1)
    covectors = entries(manifold, flat(manifold, centre, vectors))
    scores: Array = tensors(entries(manifold, manifold.logmap(centre, points)) @ covectors.mT)
    return scores


@accepts_arrays
def _points(manifold: geoopt.Manifold, mean: Array, components: Array, scores: Array) -> Array:
    point, vectors, factors = tensors(mean, components, scores)
    if factors.shape[-1] != vectors.shape[-manifold.ndim - 1]:
        raise GeowarpError(
            f"inverse_transform: the scores have shape {tuple(factors.shape)} and there are "
            f"{vectors.shape[-manifold.ndim - 1]} components"
        )
    u = combine(manifold, factors, vectors)
    points: Array = manifold.expmap(point.unsqueeze(-manifold.ndim - 1), u)
    return points
