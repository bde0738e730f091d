"""Under torch.compile, under autocast and in half precision."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import ConformanceError
from .measure import deviation, require, rounding
from .tensors import apply, operations

__all__ = ["check_autocast", "check_compile", "check_half_precision"]


def check_compile(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require that ``dist`` and ``retr`` compile to one graph and give the same.

    Returns the largest deviation. Resets what torch has compiled so far.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_compile(Sphere(), Sphere().random(4, 3))
        0.0
    """
    largest = 0.0
    for name, arguments in operations(manifold, x, seed):
        if name not in ("retr", "dist"):
            continue
        torch.compiler.reset()
        compiled: Callable[..., Tensor] = torch.compile(
            getattr(manifold, name), fullgraph=True, backend="eager"
        )
        try:
            result = compiled(*arguments)
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise ConformanceError(f"{manifold!r}: {name} does not compile to one graph: {first}") from error
        value = deviation(result, getattr(manifold, name)(*arguments))
        largest = max(largest, require(manifold, f"|compiled {name} − eager|", value, rounding(x, tolerance)))
    return largest


def check_autocast(
    manifold: geoopt.Manifold, x: Tensor, *, tolerance: float | None = None, seed: int = 0
) -> float:
    """Require in float32 that autocast to bfloat16 changes no result; return the largest deviation.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_autocast(Sphere(), Sphere().random(4, 3))
        0.0
    """
    largest, x = 0.0, x.float()
    for name, arguments in operations(manifold, x, seed):
        expected = apply(manifold, name, arguments, "on a batch")
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            results = apply(manifold, name, arguments, "under autocast")
        if any(result.dtype != x.dtype for result in results):
            raise ConformanceError(f"{manifold!r}: {name} under autocast has the dtype {results[0].dtype}")
        value = max(map(deviation, results, expected))
        largest = max(
            largest, require(manifold, f"|{name} under autocast − without|", value, rounding(x, tolerance))
        )
    return largest


def check_half_precision(manifold: geoopt.Manifold, x: Tensor, *, seed: int = 0) -> None:
    """Require finite bfloat16 results from bfloat16 inputs.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_half_precision(Sphere(), Sphere().random(4, 3))
    """
    for name, arguments in operations(manifold, x, seed):
        half = tuple(argument.bfloat16() for argument in arguments)
        for result in apply(manifold, name, half, "on bfloat16"):
            if result.dtype != torch.bfloat16 or not bool(result.isfinite().all()):
                raise ConformanceError(
                    f"{manifold!r}: {name} on bfloat16 has {result.dtype} or infinite entries"
                )
