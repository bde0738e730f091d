"""What every operation does with tensors: shapes, dtypes, batches, strides, and its inputs left alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError
from ..linalg.broadcasting import broadcast_shapes
from .measure import batch_shape, deviation, direction, near, require, rounding

__all__ = [
    "check_broadcasting",
    "check_contiguous",
    "check_dtype",
    "check_empty_batch",
    "check_inputs_unchanged",
    "check_shapes",
    "check_strided_inputs",
]

_ARGUMENTS = {
    "projx": "x",
    "proju": "xw",
    "egrad2rgrad": "xw",
    "inner": "xuv",
    "norm": "xu",
    "retr": "xu",
    "expmap": "xu",
    "logmap": "xy",
    "transp": "xyv",
    "retr_transp": "xuv",
    "expmap_transp": "xuv",
    "dist": "xy",
    "dist2": "xy",
}
_SCALARS = ("inner", "norm", "dist", "dist2")

Arguments = tuple[Tensor, ...]


def _sample(manifold: geoopt.Manifold, x: Tensor, seed: int) -> dict[str, Tensor]:
    """Return points x, y, tangent vectors u, v and ambient entries w."""
    u, v = (direction(manifold, x, seed + i, length=0.5) for i in range(2))
    return {"x": x, "y": near(manifold, x, seed + 2, 0.5), "u": u, "v": v, "w": u + 0.5 * x}


def apply(manifold: geoopt.Manifold, name: str, arguments: Arguments, what: str, **options: Any) -> Any:
    """Return the tensors that an operation gives, as a tuple.

    Raises:
        ConformanceError: where the operation raises, with its error.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> apply(Sphere(), "projx", (torch.tensor([2.0, 0.0]),), "with a point")
        (tensor([1., 0.]),)
    """
    try:
        result = getattr(manifold, name)(*arguments, **options)
    except Exception as error:
        raise ConformanceError(
            f"{manifold!r}: {name} {what} raises {type(error).__name__}: {error}"
        ) from error
    return result if isinstance(result, tuple) else (result,)


def operations(manifold: geoopt.Manifold, x: Tensor, seed: int = 0) -> Iterator[tuple[str, Arguments]]:
    """Yield name and arguments of every operation that the manifold has.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> next(operations(Sphere(), torch.tensor([1.0, 0.0])))
        ('projx', (tensor([1., 0.]),))
    """
    sample = _sample(manifold, x, seed)
    for name, letters in _ARGUMENTS.items():
        arguments = tuple(sample[letter] for letter in letters)
        try:
            getattr(manifold, name)(*arguments)
        except NotImplementedError:
            continue
        except Exception:
            pass
        yield name, arguments


def _expect(manifold: geoopt.Manifold, name: str, what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise ConformanceError(f"{manifold!r}: {name} {what} {actual}; it must be {expected}")


def check_shapes(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require points the shape of x, and scalars that of the batch, or 1 per dimension with ``keepdim``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_shapes(Sphere(), Sphere().random(4, 3))
    """
    batch = batch_shape(manifold, x)
    for name, arguments in operations(manifold, x, seed):
        expected = tuple(batch if name in _SCALARS else x.shape)
        for result in apply(manifold, name, arguments, "on a batch"):
            _expect(manifold, name, "has the shape", tuple(result.shape), expected)
        if name in _SCALARS:
            (kept,) = apply(manifold, name, arguments, "with keepdim", keepdim=True)
            expected = (*batch, *[1] * manifold.ndim)
            _expect(manifold, name, "has with keepdim the shape", tuple(kept.shape), expected)


def check_dtype(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require that every operation keeps the dtype of its inputs.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_dtype(Sphere(), Sphere().random(4, 3, dtype=torch.float64))
    """
    for name, arguments in operations(manifold, x, seed):
        for result in apply(manifold, name, arguments, f"on {x.dtype}"):
            _expect(manifold, name, "has the dtype", result.dtype, x.dtype)


def check_contiguous(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require contiguous results.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_contiguous(Sphere(), Sphere().random(4, 3))
    """
    for name, arguments in operations(manifold, x, seed):
        for result in apply(manifold, name, arguments, "on a batch"):
            _expect(manifold, name, "has a result whose is_contiguous() is", result.is_contiguous(), True)


def check_inputs_unchanged(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require that no operation writes to its inputs.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_inputs_unchanged(Sphere(), Sphere().random(4, 3))
    """
    for name, arguments in operations(manifold, x, seed):
        copies = tuple(argument.clone() for argument in arguments)
        apply(manifold, name, copies, "on a batch")
        for copy in copies:
            _expect(manifold, name, "has, in-place writes to an input counted,", copy._version, 0)


def check_empty_batch(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require that every operation on a batch of no points, (0, 2), gives empty results of the right shape.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_empty_batch(Sphere(), Sphere().random(4, 3))
    """
    for name, arguments in operations(manifold, x, seed):
        shape = (0, 2, *x.shape[x.dim() - manifold.ndim :])
        empty = tuple(argument.new_zeros(shape) for argument in arguments)
        for result in apply(manifold, name, empty, "on an empty batch"):
            expected = (0, 2) if name in _SCALARS else shape
            _expect(manifold, name, "on an empty batch has the shape", tuple(result.shape), tuple(expected))


def check_strided_inputs(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require the same results from inputs that are not contiguous; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_strided_inputs(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    largest = 0.0
    for name, arguments in operations(manifold, x, seed):
        strided = tuple(torch.stack([a, torch.full_like(a, torch.nan)], -1)[..., 0] for a in arguments)
        results = apply(manifold, name, strided, "on strided inputs")
        expected = apply(manifold, name, arguments, "on a batch")
        value = max(map(deviation, results, expected))
        require(manifold, f"|{name} of strided inputs − of contiguous ones|", value, rounding(x, tolerance))
        largest = max(largest, value)
    return largest


def check_broadcasting(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that inputs of different batch shapes broadcast; return the largest deviation.

    Every argument in turn has a batch dimension more than the others, or 3 where they have 1; and one point
    is given three different vectors. The point of ``retr_transp`` may lack dimensions that only v has.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_broadcasting(Sphere(), Sphere().random(4, 3, dtype=torch.float64)) < 1e-14
        True
    """
    largest, bound = 0.0, rounding(x, tolerance)
    for name, arguments in operations(manifold, x, seed):
        full = tuple(a.expand(3, *a.shape).clone() for a in arguments)
        expected = apply(manifold, name, full, "on a batch")
        for place in range(len(arguments) if len(arguments) > 1 else 0):
            for rest in (arguments, tuple(a[None] for a in arguments)):
                mixed = (*rest[:place], full[place], *rest[place + 1 :])
                what = f"of shapes {', '.join(str(tuple(a.shape)) for a in mixed)}"
                value = _apart(apply(manifold, name, mixed, what), expected)
                largest = max(
                    largest, require(manifold, f"|broadcast {name} {what} − expanded|", value, bound)
                )
        largest = max(largest, _separate(manifold, name, arguments, bound))
    return largest


def _apart(results: Arguments, expected: Arguments) -> float:
    if len(results) == 2 and broadcast_shapes(results[0].shape, expected[0].shape) == expected[0].shape:
        results = (results[0].expand(expected[0].shape), results[1])
    return max(map(deviation, results, expected))


def _separate(manifold: geoopt.Manifold, name: str, arguments: Arguments, bound: float) -> float:
    """Return by how much one point with three vectors differs from three calls."""
    if name in ("projx", "logmap", "dist", "dist2"):
        return 0.0
    several = torch.stack([arguments[-1], -arguments[-1], 0.5 * arguments[-1]])
    together = apply(manifold, name, (*arguments[:-1], several), "of one point and three vectors")
    alone = [apply(manifold, name, (*arguments[:-1], vector), "on a batch") for vector in several]
    value = _apart(together, tuple(torch.stack(parts) for parts in zip(*alone, strict=True)))
    return require(manifold, f"|{name} of three vectors at one point − of each|", value, bound)
