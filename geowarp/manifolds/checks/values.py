"""Manifolds as values, their points as parameters, and where points come from."""

import copy
import pickle
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError
from .measure import noise, operation, point_departure, require, rounding

__all__ = ["check_equality", "check_optimizers", "check_origin", "check_random", "check_random_generator"]


def _refuse(manifold: geoopt.Manifold, reason: str) -> None:
    raise ConformanceError(f"{manifold!r}: {reason}")


def check_equality(
    manifold: geoopt.Manifold, x: Tensor, *, twin: geoopt.Manifold = None, different: geoopt.Manifold = None
) -> None:
    """Require that copies are equal and hash the same, and that an equal manifold accepts this one's points.

    Args:
        manifold: a manifold.
        x: points.
        twin: a manifold constructed in the same way.
        different: a manifold that must not be equal.

    Example:
        >>> from geowarp.manifolds import Euclidean, Sphere
        >>> check_equality(Sphere(), Sphere().random(3), twin=Sphere(), different=Euclidean(1))
    """
    copies = {"deepcopy": copy.deepcopy(manifold), "pickle": pickle.loads(pickle.dumps(manifold))}
    copies |= {} if twin is None else {"equal construction": twin}
    for kind, other in copies.items():
        if manifold != other or hash(manifold) != hash(other) or {manifold: 1}.get(other) != 1:
            _refuse(manifold, f"not equal to its {kind}, or hashes otherwise")
        point = geoopt.ManifoldTensor(x.detach().clone(), manifold=manifold)
        geoopt.ManifoldParameter(point, manifold=other)
    if manifold in (different, object()):
        _refuse(manifold, f"equal to {different!r}")


def _construct(manifold: geoopt.Manifold, name: str, x: Tensor, bound: float, **options: Any) -> Tensor:
    """Return the point that ``random`` or ``origin`` gives, from integers and from a tuple."""
    make = operation(manifold, name)
    for size in (tuple(x.shape), (tuple(x.shape),)):
        point: Tensor = make(*size, dtype=x.dtype, **options)
        if point.shape != x.shape or point.dtype != x.dtype:
            _refuse(manifold, f"{name}{size} has shape {tuple(point.shape)} and dtype {point.dtype}")
        if not isinstance(point, geoopt.ManifoldTensor):
            _refuse(manifold, f"{name} gives a {type(point).__name__}, not a geoopt.ManifoldTensor")
        plain = point.detach().clone()
        require(
            manifold,
            f"departure of {name}{size} from the manifold",
            point_departure(manifold, plain, bound),
            bound,
        )
    return plain


def check_random(manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None) -> None:
    """Require that ``random`` gives different points of the shape and dtype of x, on the manifold.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_random(Sphere(), Sphere().random(4, 3))
    """
    bound = rounding(x, tolerance)
    first, second = (_construct(manifold, "random", x, bound) for _ in range(2))
    if x.numel() > 8 and torch.equal(first, second):
        _refuse(manifold, "two calls of random give the same points")


def check_random_generator(manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None) -> None:
    """Require that ``random(generator=)`` is reproducible and leaves the global generator alone.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_random_generator(Sphere(), Sphere().random(4, 3))
    """
    before, bound = torch.get_rng_state(), rounding(x, tolerance)
    try:
        first, second = (
            _construct(manifold, "random", x, bound, generator=torch.Generator().manual_seed(0))
            for _ in range(2)
        )
    except TypeError as error:
        raise ConformanceError(f"{manifold!r}: random takes no generator: {error}") from error
    if not torch.equal(first, second) or not torch.equal(before, torch.get_rng_state()):
        _refuse(manifold, "random is not reproducible from its generator alone")


def check_origin(manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None) -> None:
    """Require that ``origin`` gives always the same points, of the shape and dtype of x, on the manifold.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_origin(Sphere(), Sphere().random(4, 3))
    """
    bound = rounding(x, tolerance)
    first, second = (_construct(manifold, "origin", x, bound) for _ in range(2))
    if not torch.equal(first, second):
        _refuse(manifold, "two calls of origin give different points")


def check_optimizers(
    manifold: geoopt.Manifold, x: Tensor, *, steps: int = 3, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that points stay on the manifold under geoopt's RiemannianSGD and RiemannianAdam.

    Returns the largest departure, with and without geoopt's ``stabilize``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_optimizers(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    slope, bound, largest = noise(x, seed), rounding(x, tolerance), 0.0
    for kind in ("RiemannianSGD", "RiemannianAdam"):
        for stabilize in (None, 1):
            parameter = geoopt.ManifoldParameter(x.detach().clone(), manifold=manifold)
            optimizer = getattr(geoopt.optim, kind)([parameter], lr=0.05, stabilize=stabilize)
            for _ in range(steps):
                optimizer.zero_grad()
                (parameter * slope).sum().backward()
                optimizer.step()
            value = point_departure(manifold, parameter.detach().clone(), bound)
            require(manifold, f"departure after {steps} steps of {kind}", value, bound)
            largest = max(largest, value)
    return largest
