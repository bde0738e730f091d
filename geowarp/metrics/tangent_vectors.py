"""Inner products and orthonormal bases of tangent vectors, by matrix products of their entries."""

import math

import torch
from torch import Tensor

from .._geoopt import geoopt

__all__ = ["combine", "dimension", "entries", "flat", "gram", "orthonormal", "tangent_basis"]

_UNIT_VECTORS = 1 << 22  # entries of those that are projected at once


def flat(manifold: geoopt.Manifold, point: Tensor, u: Tensor) -> Tensor:
    """Return the covectors ``G u`` with ``Σ (G u) v = ⟨u, v⟩_x``: the gradients of ``½ ⟨u, u⟩_x`` in u.

    Args:
        manifold: the manifold; nothing but its ``inner`` is used.
        point: ``(..., *point)``.
        u: tangent vectors there, ``(..., *point)``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> flat(Sphere(), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]))
        tensor([0., 3.])
    """
    with torch.enable_grad():
        variable = u.detach().requires_grad_()
        half = 0.5 * manifold.inner(point.detach(), variable, variable).sum()
    (covector,) = torch.autograd.grad(half, variable)
    return covector


def entries(manifold: geoopt.Manifold, u: Tensor) -> Tensor:
    """Return vectors ``(..., N, *point)`` as rows ``(..., N, E)``.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> entries(Stiefel(), torch.zeros(5, 3, 2)).shape
        torch.Size([5, 6])
    """
    axis = u.ndim - manifold.ndim
    return u.flatten(axis) if manifold.ndim else u.unsqueeze(-1)


def gram(manifold: geoopt.Manifold, point: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return all inner products ``(..., N, M)`` of two sets of tangent vectors at one point.

    Args:
        manifold: the manifold.
        point: ``(..., *point)``, where all of them are tangent.
        u: ``(..., N, *point)``.
        v: ``(..., M, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> gram(Euclidean(1), torch.zeros(2), torch.eye(2), torch.ones(1, 2))
        tensor([[1.],
                [1.]])
    """
    covectors = flat(manifold, point.unsqueeze(-manifold.ndim - 1), u)
    return entries(manifold, covectors) @ entries(manifold, v).mT


def combine(manifold: geoopt.Manifold, factors: Tensor, u: Tensor) -> Tensor:
    """Return ``Σ_j f_ij u_j``, ``(..., N, *point)``, of ``(..., N, M)`` and ``(..., M, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> combine(Euclidean(1), torch.ones(1, 2), torch.eye(2))
        tensor([[1., 1.]])
    """
    point = u.shape[u.ndim - manifold.ndim :]
    rows = factors @ entries(manifold, u)
    return rows.reshape(*rows.shape[:-1], *point)


def orthonormal(manifold: geoopt.Manifold, point: Tensor, u: Tensor) -> Tensor:
    """Return tangent vectors ``(..., K, *point)`` orthonormalised one after another (Gram–Schmidt).

    Twice by the Cholesky factor of their Gram matrix.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> orthonormal(Euclidean(1), torch.zeros(2), torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
        tensor([[1., 0.],
                [0., 1.]])
    """
    for _ in range(2):
        products = gram(manifold, point, u, u)
        scale = products.diagonal(dim1=-2, dim2=-1).rsqrt()
        factor, _ = torch.linalg.cholesky_ex(scale[..., :, None] * products * scale[..., None, :])
        rows = scale[..., :, None] * entries(manifold, u)
        u = torch.linalg.solve_triangular(factor, rows, upper=False).reshape(u.shape)
    return u


def _projected(manifold: geoopt.Manifold, point: Tensor, start: int, stop: int) -> Tensor:
    """Return the projections of unit vectors to the tangent space, ``(..., stop − start, *point)``."""
    shape = point.shape[point.ndim - manifold.ndim :]
    size = math.prod(shape)
    eye = torch.eye(size, dtype=point.dtype, device=point.device)[start:stop]
    projected: Tensor = manifold.proju(point.unsqueeze(-manifold.ndim - 1), eye.reshape(-1, *shape))
    return projected


def dimension(manifold: geoopt.Manifold, point: Tensor) -> int:
    """Return the dimension of the manifold; of one of geoopt, as the trace of ``proju`` at the first point.

    Example:
        >>> import geoopt
        >>> dimension(geoopt.Sphere(), torch.eye(3)[0])
        2
    """
    shape = point.shape[point.ndim - manifold.ndim :]
    if hasattr(manifold, "dim"):
        return int(manifold.dim(tuple(shape)))
    size, first = math.prod(shape), point.reshape(-1, *shape)[0]
    step = max(1, _UNIT_VECTORS // max(1, size))
    trace = 0.0
    for start in range(0, size, step):
        rows = entries(manifold, _projected(manifold, first, start, min(start + step, size)))
        trace += rows.diagonal(start).sum().item()
    return round(trace)


def tangent_basis(manifold: geoopt.Manifold, point: Tensor) -> Tensor:
    """Return an orthonormal basis of the tangent space, ``(..., D, *point)``.

    From the row space of all projected unit vectors, so that it needs memory for E² numbers, E the number of
    entries of a point.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> tangent_basis(Sphere(), torch.eye(3)[0]).abs()
        tensor([[0., 1., 0.],
                [0., 0., 1.]])
    """
    shape = point.shape[point.ndim - manifold.ndim :]
    rows = entries(manifold, _projected(manifold, point, 0, math.prod(shape)))
    _, vectors = torch.linalg.eigh(rows.mT @ rows)
    basis = vectors[..., vectors.shape[-1] - dimension(manifold, point) :].mT
    return orthonormal(manifold, point, basis.reshape(*basis.shape[:-1], *shape))
