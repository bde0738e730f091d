"""What the checks share: sampled tangent vectors and points, deviations, and the error that names them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError

__all__ = [
    "batch_shape",
    "deviation",
    "direction",
    "near",
    "noise",
    "operation",
    "point_departure",
    "require",
    "rounding",
    "stack",
    "steps",
    "tangent_departure",
]


def rounding(x: Tensor, tolerance: float | None, multiple: float = 100) -> float:
    """Return the tolerance, by default a multiple of the rounding unit of the dtype of ``x``.

    Example:
        >>> rounding(torch.zeros(3), None) == 100 * torch.finfo(torch.float32).eps
        True
    """
    return multiple * torch.finfo(x.dtype).eps if tolerance is None else tolerance


def require(manifold: geoopt.Manifold, what: str, value: float | Tensor, tolerance: float) -> float:
    """Return ``value`` as a number, where it is at most ``tolerance``.

    Raises:
        ConformanceError: where it is larger or not a number.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> require(Sphere(), "|dist(x, x)|", 0.01, 1e-5)
        Traceback (most recent call last):
        geowarp.errors.ConformanceError: Sphere(): |dist(x, x)| = 1.0e-02 exceeds 1.0e-05
    """
    number = float(value)
    if not number <= tolerance:
        raise ConformanceError(f"{manifold!r}: {what} = {number:.1e} exceeds {tolerance:.1e}")
    return number


def deviation(actual: Tensor, expected: Tensor) -> float:
    """Return ``max |actual − expected| / max(1, max |expected|)``; infinite for different shapes and NaN.

    Example:
        >>> deviation(torch.tensor([11.0]), torch.tensor([10.0]))
        0.1...
    """
    if actual.shape != expected.shape:
        return float("inf")
    if actual.numel() == 0:
        return 0.0
    difference = (actual.detach() - expected.detach()).abs().max()
    value = float(difference / expected.detach().abs().max().clamp_min(1))
    return value if value >= 0 else float("inf")


def batch_shape(manifold: geoopt.Manifold, x: Tensor) -> torch.Size:
    """Return the shape of ``x`` without the dimensions of a point.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> batch_shape(Sphere(), torch.zeros(7, 3))
        torch.Size([7])
    """
    return x.shape[: x.dim() - manifold.ndim]


def operation(manifold: geoopt.Manifold, name: str) -> Callable[..., Any]:
    """Return a method of the manifold.

    Raises:
        NotImplementedError: where the manifold has none of this name.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> operation(Sphere(), "dim")((3,))
        2
    """
    method: Callable[..., Any] | None = getattr(manifold, name, None)
    if method is None:
        raise NotImplementedError(f"{manifold!r} has no {name}")
    return method


def steps(manifold: geoopt.Manifold, x: Tensor) -> tuple[str, ...]:
    """Return ``("retr", "expmap")``, or the first alone where the manifold has no exponential.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> steps(Sphere(), torch.tensor([1.0, 0.0]))
        ('retr', 'expmap')
    """
    try:
        manifold.expmap(x, torch.zeros_like(x))
    except NotImplementedError:
        return ("retr",)
    return ("retr", "expmap")


def noise(x: Tensor, seed: int) -> Tensor:
    """Return normal entries like ``x``, from a stream that a user's ``manual_seed`` of a small number is not.

    Example:
        >>> torch.equal(noise(torch.zeros(3), seed=0), torch.randn(3, generator=torch.manual_seed(0)))
        False
    """
    generator = torch.Generator(x.device).manual_seed(0x5EED_0000 + seed)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)


def direction(manifold: geoopt.Manifold, x: Tensor, seed: int, length: float = 1.0) -> Tensor:
    """Return tangent vectors at ``x``: projected normal entries, ``length`` in the norm of the entries.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> direction(Sphere(), torch.tensor([1.0, 0.0]), seed=0, length=2.0).norm().round()
        tensor(2.)
    """
    u = manifold.proju(x, noise(x, seed))
    dims = tuple(range(-manifold.ndim, 0))
    size = torch.linalg.vector_norm(u, dim=dims, keepdim=True) if dims else u.abs()
    some = size > torch.finfo(x.dtype).eps ** 0.5  # below, the tangent space has no direction but rounding
    scaled = torch.where(some, u * (length / torch.where(some, size, 1)), 0)
    tangent: Tensor = manifold.proju(x, scaled).detach()  # a short u is tangent only to its rounding error
    return tangent


def near(manifold: geoopt.Manifold, x: Tensor, seed: int, radius: float) -> Tensor:
    """Return points that the retraction reaches from ``x`` by tangent vectors of length ``radius``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> x = torch.tensor([1.0, 0.0])
        >>> Sphere().dist(x, near(Sphere(), x, seed=0, radius=0.5))
        tensor(0.5000)
    """
    y: Tensor = manifold.retr(x, direction(manifold, x, seed, radius)).detach()
    return y


def stack(manifold: geoopt.Manifold, points: list[Tensor]) -> Tensor:
    """Return ``(..., N, *point)``, the N given batches of points in a new last batch dimension.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> stack(Sphere(), [torch.zeros(7, 3), torch.zeros(7, 3)]).shape
        torch.Size([7, 2, 3])
    """
    return torch.stack(points, dim=-manifold.ndim - 1)


def point_departure(manifold: geoopt.Manifold, x: Tensor, tolerance: float) -> float:
    """Return the largest ``point_residual``; without that method 0 or infinity, as the manifold's check says.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> point_departure(Sphere(), torch.tensor([[1.0, 0.0], [2.0, 0.0]]), 1e-5)
        1.0
    """
    if hasattr(manifold, "point_residual"):
        return deviation(manifold.point_residual(x), torch.zeros(batch_shape(manifold, x)).to(x))
    ok = manifold.check_point_on_manifold(x, atol=tolerance, rtol=tolerance)
    return 0.0 if ok and bool(x.isfinite().all()) else float("inf")


def tangent_departure(manifold: geoopt.Manifold, x: Tensor, u: Tensor, tolerance: float) -> float:
    """Return the largest ``tangent_residual``; without that method 0 or infinity, as the manifold says.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> tangent_departure(Sphere(), torch.tensor([1.0, 0.0]), torch.tensor([3.0, 0.0]), 1e-5)
        3.0
    """
    if hasattr(manifold, "tangent_residual"):
        return deviation(manifold.tangent_residual(x, u), torch.zeros(batch_shape(manifold, x)).to(x))
    ok = manifold.check_vector_on_tangent(x, u, ok_point=True, atol=tolerance, rtol=tolerance)
    return 0.0 if ok and bool(u.isfinite().all()) else float("inf")
