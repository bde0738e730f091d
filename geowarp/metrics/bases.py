"""Checks of the bases of subspaces that a user gives."""

import torch
from torch import Tensor

from ..errors import GeowarpError
from ..manifolds import Grassmann
from .validation import check_batches, check_points

__all__ = ["check_bases"]


def check_bases(name: str, x: Tensor, y: Tensor, *, sets: bool = False) -> None:
    """Raise where x and y are not orthonormal bases of subspaces of one space.

    Args:
        name: of the function, for the message.
        x: ``(..., n, k)``.
        y: ``(..., n, l)``.
        sets: whether both need one more dimension, ``(..., N, n, k)``.

    Raises:
        GeowarpError: for shapes, dtypes or devices that do not fit together.
        NonFiniteError: for a basis that is infinite or not a number.
        NotOnManifoldError: for columns that are not orthonormal.

    Example:
        >>> check_bases("chordal", torch.eye(3)[:, :1], torch.eye(2)[:, :1])
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: chordal: x lies in R^3 and y in R^2; they need one space
    """
    for argument, bases in (("x", x), ("y", y)):
        with torch.autocast(bases.device.type, enabled=False):
            check_points(Grassmann(), bases, argument)
        if sets and bases.ndim < 3:
            raise GeowarpError(
                f"{name}: {argument} has the shape {tuple(bases.shape)}; it needs (..., N, n, k)"
            )
    if x.shape[-2] != y.shape[-2]:
        raise GeowarpError(f"{name}: x lies in R^{x.shape[-2]} and y in R^{y.shape[-2]}; they need one space")
    if x.dtype != y.dtype or x.device != y.device:
        raise GeowarpError(
            f"{name}: x is {x.dtype} on {x.device} and y {y.dtype} on {y.device}; convert one of them"
        )
    first, second = (bases.shape[: -3 if sets else -2] for bases in (x, y))
    check_batches(name, first, second)
