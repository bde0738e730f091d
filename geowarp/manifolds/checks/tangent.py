"""Tangent spaces: the projection, the metric and the Riemannian gradient."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from .measure import deviation, direction, noise, operation, require, rounding, tangent_departure

__all__ = [
    "check_dimension",
    "check_gradient_duality",
    "check_gradient_tangent",
    "check_inner_product",
    "check_projection_idempotent",
    "check_projection_linear",
    "check_projection_orthogonal",
    "check_projection_tangent",
]


def _entries(manifold: geoopt.Manifold, x: Tensor) -> Tensor:
    dims = tuple(range(-manifold.ndim, 0))
    return x.sum(dims) if dims else x


def check_gradient_duality(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require ``⟨egrad2rgrad(x, g), v⟩_x = Σ g v`` for tangent ``v``; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_gradient_duality(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    g, v = noise(x, seed), direction(manifold, x, seed + 1)
    paired = manifold.inner(x, manifold.egrad2rgrad(x, g.clone()), v)
    value = deviation(paired, _entries(manifold, g * v))
    return require(manifold, "|⟨egrad2rgrad(x, g), v⟩ − Σ g v|", value, rounding(x, tolerance))


def check_gradient_tangent(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``egrad2rgrad`` gives tangent vectors; return the largest departure.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_gradient_tangent(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    bound = rounding(x, tolerance)
    value = tangent_departure(manifold, x, manifold.egrad2rgrad(x, noise(x, seed)), bound)
    return require(manifold, "departure of egrad2rgrad(x, g) from the tangent space", value, bound)


def check_projection_tangent(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``proju`` gives tangent vectors; return the largest departure.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_projection_tangent(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    bound = rounding(x, tolerance)
    value = tangent_departure(manifold, x, manifold.proju(x, noise(x, seed)), bound)
    return require(manifold, "departure of proju(x, w) from the tangent space", value, bound)


def check_projection_idempotent(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require ``proju(x, proju(x, w)) = proju(x, w)``; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_projection_idempotent(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    once = manifold.proju(x, noise(x, seed))
    value = deviation(manifold.proju(x, once), once)
    return require(manifold, "|proju(x, proju(x, w)) − proju(x, w)|", value, rounding(x, tolerance))


def check_projection_linear(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require ``proju(x, 2a − 3b) = 2 proju(x, a) − 3 proju(x, b)``; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_projection_linear(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    a, b = noise(x, seed), noise(x, seed + 1)
    expected = 2 * manifold.proju(x, a) - 3 * manifold.proju(x, b)
    value = deviation(manifold.proju(x, 2 * a - 3 * b), expected)
    return require(
        manifold, "|proju(x, 2a − 3b) − 2 proju(x, a) + 3 proju(x, b)|", value, rounding(x, tolerance)
    )


def check_projection_orthogonal(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require ``Σ proju(x, a) b = Σ a proju(x, b)``, for an orthogonal projection of the entries.

    Returns the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_projection_orthogonal(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    a, b = noise(x, seed), noise(x, seed + 1)
    left = _entries(manifold, manifold.proju(x, a) * b)
    value = deviation(left, _entries(manifold, a * manifold.proju(x, b)))
    return require(manifold, "|Σ proju(x, a) b − Σ a proju(x, b)|", value, rounding(x, tolerance))


def check_inner_product(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require a symmetric, linear, positive ``inner``, and ``norm(x, u) = √inner(x, u, u)``.

    Returns the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_inner_product(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    u, v, w = (direction(manifold, x, seed + i, length=0.7) for i in range(3))
    square = manifold.inner(x, u)
    values = (
        deviation(manifold.inner(x, u, v), manifold.inner(x, v, u)),
        deviation(manifold.inner(x, u, u), square),
        deviation(
            manifold.inner(x, u, 2 * v - 3 * w), 2 * manifold.inner(x, u, v) - 3 * manifold.inner(x, u, w)
        ),
        deviation(manifold.norm(x, u), square.clamp_min(0).sqrt()),
        deviation(square.clamp_max(0), torch.zeros_like(square)),
    )
    what = "departure of inner and norm from a symmetric bilinear positive form"
    return require(manifold, what, max(values), rounding(x, tolerance))


def check_dimension(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``dim`` is the rank of ``proju`` at every point; return the largest difference, 0.

    Singular values above ``√tolerance`` count; ``seed`` has no effect.

    Raises:
        NotImplementedError: where the manifold has no ``dim``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_dimension(Sphere(), Sphere().random(4, 3))
        0.0
    """
    shape = x.shape[x.dim() - manifold.ndim :]
    expected = operation(manifold, "dim")(tuple(shape))
    basis = torch.eye(shape.numel(), dtype=x.dtype, device=x.device).reshape(-1, *shape)
    projected = manifold.proju(x.unsqueeze(x.dim() - manifold.ndim), basis)
    values = torch.linalg.svdvals(
        projected.flatten(x.dim() - manifold.ndim + 1) if shape else projected[..., None]
    )
    rank = (values > rounding(x, tolerance) ** 0.5).sum(-1)
    return require(manifold, "|rank of proju − dim|", deviation(rank, torch.full_like(rank, expected)), 0.0)
