"""Checks of the points that a user gives."""

import math
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NonFiniteError, NotOnManifoldError, UnavailableError
from ..manifolds import AffineInvariantSPD
from ..manifolds.component import expression

__all__ = ["check_batches", "check_beside", "check_operation", "check_pair", "check_points"]

_TOLERANCE = 1e-5


def check_points(
    manifold: geoopt.Manifold, x: Any, name: str = "x", *, lightly: bool = False, numbers: bool = True
) -> None:
    """Raise where ``x`` is not a batch of points of the manifold, one of geowarp or of geoopt.

    A point may depart from the manifold by ``max(1e-5, 16 eps) √d max(1, |x|²)``, d the number of its entries
    and |x| the largest of them, which data that was once in single precision passes. Nothing but the shape
    and the dtype is checked while torch compiles or transforms a function, where no number is known.

    Args:
        manifold: the manifold.
        x: ``(..., *point)``.
        name: what the message calls ``x``.
        lightly: leave to the operations what they raise for by themselves.
        numbers: whether to look at numbers at all, for which the CPU waits for another device.

    Raises:
        GeowarpError: for a tensor that is not floating-point or has not the shape of a point.
        NonFiniteError: for a point that is infinite or not a number.
        NotOnManifoldError: for another tensor that is not a point. The message names the first one.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_points(Sphere(), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        Traceback (most recent call last):
        geowarp.errors.NotOnManifoldError: Sphere(): x[1] is not on the manifold (1 of 2 points): ...
    """
    _check_kind(manifold, x, name)
    if x.numel() == 0 or not numbers or _no_numbers(x):
        return
    with torch.no_grad():
        points = x.detach()
        points = points.float() if x.dtype in (torch.float16, torch.bfloat16) else points
        dims = tuple(range(-manifold.ndim, 0))
        largest = points.abs().amax(dims) if dims else points.abs()
        finite = largest.isfinite()
        tolerance = _tolerance(largest, x, manifold.ndim)
        if not hasattr(manifold, "point_residual"):
            _check_other(manifold, points, finite, tolerance, name)
            return
        light = lightly and hasattr(manifold, "unchecked_residual")
        residual = manifold.unchecked_residual(points) if light else manifold.point_residual(points)
        if not bool((finite & (residual <= tolerance)).all()):
            _check_finite(manifold, finite, name)
            _raise_off(manifold, points, ~(residual <= tolerance), residual, tolerance, name)


def check_pair(
    manifold: geoopt.Manifold,
    x: Any,
    y: Any,
    names: tuple[str, str] = ("x", "y"),
    *,
    lightly: bool = False,
    numbers: bool = True,
) -> None:
    """Raise where two batches of points do not fit together, or ``check_points`` raises for one of them.

    Raises:
        GeowarpError: for different dtypes or devices, or different shapes of a point.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_pair(Sphere(), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0]))
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: Sphere(): the points x have the shape (2,) and y (3,)
    """
    check_points(manifold, x, names[0], lightly=lightly, numbers=numbers)
    if y is not x:
        check_points(manifold, y, names[1], lightly=lightly, numbers=numbers)
    _check_alike(manifold, x, y, names)


def check_beside(name: str, manifold: geoopt.Manifold, x: Tensor, point: Any, argument: str) -> None:
    """Raise where ``point``, ``(..., *point)``, is not a point beside each set ``x``, ``(..., N, *point)``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_beside("recenter", Sphere(), torch.eye(2), torch.eye(3)[0], "mean")
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: Sphere(): the points x have the shape (2,) and mean (3,)
    """
    check_points(manifold, point, argument)
    _check_alike(manifold, x, point, ("x", argument))
    sets, batch = x.shape[: max(0, x.ndim - manifold.ndim - 1)], point.shape[: point.ndim - manifold.ndim]
    check_batches(name, sets, batch, ("x", argument))


def check_batches(
    name: str, first: tuple[int, ...], second: tuple[int, ...], names: tuple[str, str] = ("x", "y")
) -> None:
    """Raise where the batch dimensions of two arguments do not broadcast.

    Example:
        >>> check_batches("geodesic", (2, 3), (4,))
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: geodesic: the batch dimensions (2, 3) of x and (4,) of y do not ...
    """
    pairs = zip(reversed(first), reversed(second), strict=False)
    if any(one != other and one != 1 and other != 1 for one, other in pairs):
        raise GeowarpError(
            f"{name}: the batch dimensions {tuple(first)} of {names[0]} and {tuple(second)} of {names[1]} do "
            "not broadcast; insert dimensions of size 1 with unsqueeze"
        )


def check_operation(manifold: geoopt.Manifold, operation: str) -> None:
    """Raise where a manifold of geoopt has not the operation, which there is an error without a message.

    Raises:
        UnavailableError: with the name of the operation.

    Example:
        >>> from geoopt import EuclideanStiefel
        >>> check_operation(EuclideanStiefel(), "logmap")
        Traceback (most recent call last):
        geowarp.errors.UnavailableError: Stiefel(euclidean) manifold has no logmap; use a manifold ...
    """
    method = getattr(manifold, operation, None)
    if getattr(method, "__func__", None) is getattr(geoopt.Manifold, operation):
        raise UnavailableError(f"{manifold!r} has no {operation}; use a manifold of geowarp for it")


def _check_alike(manifold: geoopt.Manifold, x: Tensor, y: Tensor, names: tuple[str, str]) -> None:
    first, second = (tuple(points.shape[points.ndim - manifold.ndim :]) for points in (x, y))
    for what, one, other in (
        ("shape", first, second),
        ("dtype", x.dtype, y.dtype),
        ("device", x.device, y.device),
    ):
        if one != other:
            raise GeowarpError(
                f"{manifold!r}: the points {names[0]} have the {what} {one} and {names[1]} {other}"
            )


def _check_kind(manifold: Any, x: Any, name: str) -> None:
    if not isinstance(manifold, geoopt.Manifold):
        kind = manifold.__name__ if isinstance(manifold, type) else type(manifold).__name__
        raise GeowarpError(f"the manifold is of the kind {kind}; it must be an instance such as Sphere()")
    if not isinstance(x, Tensor):
        raise GeowarpError(f"{manifold!r}: {name} is a {type(x).__name__}, neither a tensor nor an array")
    if not x.is_floating_point():
        raise GeowarpError(f"{manifold!r}: {name} has the dtype {x.dtype}; convert it, .to(torch.float64)")
    ok, reason = manifold._check_shape(tuple(x.shape), name)
    if not ok:
        raise GeowarpError(f"{manifold!r}: {reason}")


def _no_numbers(x: Tensor) -> bool:
    return torch.compiler.is_compiling() or x.is_meta or torch._C._are_functorch_transforms_active()


def _tolerance(largest: Tensor, x: Tensor, ndim: int) -> Tensor:
    size = math.prod(x.shape[x.ndim - ndim :])
    return max(_TOLERANCE, 16 * torch.finfo(x.dtype).eps) * math.sqrt(size) * largest.square().clamp_min(1)


def _check_finite(manifold: geoopt.Manifold, finite: Tensor, name: str) -> None:
    if not bool(finite.all()):
        raise NonFiniteError(
            f"{manifold!r}: {_first(~finite, name)} is infinite or not a number ({_share(~finite)})"
        )


def _raise_off(
    manifold: geoopt.Manifold, points: Tensor, off: Tensor, residual: Tensor, tolerance: Tensor, name: str
) -> None:
    index = _index(off)
    ok, reason = manifold.check_point_on_manifold(points[index], explain=True)
    if ok:  # to the tolerance of that check
        reason = f"departure of the point is {residual[index]:.1e}, above {tolerance[index]:.1e}"
    raise NotOnManifoldError(
        f"{manifold!r}: {_first(off, name)} is not on the manifold ({_share(off)}): {reason}; "
        f"project it with {expression(manifold)}.projx({name})"
    )


def _check_other(
    manifold: geoopt.Manifold, points: Tensor, finite: Tensor, tolerance: Tensor, name: str
) -> None:
    """Check points of a manifold of geoopt, whose own check says no number for each point."""
    _check_finite(manifold, finite, name)
    largest = tolerance.max().item()
    options = {"explain": True, "atol": largest, "rtol": largest}
    if manifold.check_point_on_manifold(points, **options)[0]:
        return
    batch = points.shape[: points.ndim - manifold.ndim]
    single = points.reshape(-1, *points.shape[points.ndim - manifold.ndim :])
    right = [manifold.check_point_on_manifold(point, **options)[0] for point in single]
    off = ~torch.tensor(right).reshape(batch)
    judge = AffineInvariantSPD() if isinstance(manifold, geoopt.SymmetricPositiveDefinite) else manifold
    _, reason = judge.check_point_on_manifold(points[_index(off)], explain=True)
    raise NotOnManifoldError(
        f"{manifold!r}: {_first(off, name)} is not on the manifold ({_share(off)}): {reason}; "
        f"project it with {expression(manifold)}.projx({name})"
    )


def _index(wrong: Tensor) -> tuple[int, ...]:
    return tuple(wrong.nonzero()[0].tolist())


def _first(wrong: Tensor, name: str) -> str:
    index = _index(wrong)
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _share(wrong: Tensor) -> str:
    return f"{int(wrong.sum())} of {wrong.numel()} points"
