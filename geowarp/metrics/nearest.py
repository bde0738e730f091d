"""The nearest points of a set."""

import math
from collections.abc import Iterator
from typing import Generic

import torch
from torch import Tensor
from typing_extensions import NamedTuple  # generic ones need Python 3.11

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.dimensions import append_dimensions
from .arrays import Array, accepts_arrays, tensors
from .pairwise import Distance, check_sets, table

__all__ = ["Nearest", "nearest"]

_ENTRIES = 1 << 23  # of pairs of points that are held at once


class Nearest(NamedTuple, Generic[Array]):
    """The k nearest points of each point, the nearest first.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> nearest(Euclidean(0), torch.tensor([0.0]), torch.tensor([3.0, 1.0])).indices
        tensor([[1]])
    """

    distances: Array
    """``(..., N, k)``, ascending."""
    indices: Array
    """Which points of y they are, ``(..., N, k)``."""


@accepts_arrays
def nearest(
    manifold: geoopt.Manifold, x: Array, y: Array, k: int = 1, *, distance: Distance | None = None
) -> Nearest[Array]:
    """Return, for each point of x, the k nearest points of y and their distances.

    Exhaustive search in blocks, whose memory does not grow with the two sets. Distances can be
    differentiated, for fixed neighbours; the gradient is 0 for equal points.

    Args:
        manifold: any manifold of geowarp, or one of geoopt with ``dist``.
        x: ``(..., N, *point)``.
        y: ``(..., M, *point)``.
        k: how many, at most M.
        distance: in place of the manifold's own, such as ``Chordal()`` on ``Grassmann()``.

    Returns:
        A ``Nearest`` with ``distances`` and ``indices``, ``(..., N, k)``.

    Raises:
        GeowarpError: for shapes that do not fit together, and where k is not from 1 to M.
        NotOnManifoldError: for tensors that are not points of the manifold.
        NonFiniteError: for points that are infinite or not a number.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> distances, indices = nearest(Sphere(), torch.eye(3)[:1], torch.eye(3), k=2)
        >>> distances
        tensor([[0.0000, 1.5708]])
        >>> indices[:, 0]
        tensor([0])
    """
    first, second = tensors(x, y)
    check_sets("nearest", manifold, first, second, alike=distance is None)
    count = second.shape[-manifold.ndim - 1]
    if not 1 <= k <= count:
        raise GeowarpError(f"nearest: k is {k} and y has {count} points; k must be from 1 to their number")
    with torch.no_grad():
        found = _search(manifold, first.detach(), second.detach(), k, distance)
    if torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        found = found._replace(distances=_between(manifold, first, second, found.indices, distance))
    result: Nearest[Array] = tensors(found)
    return result


def _parts(points: Tensor, axis: int, size: int) -> Iterator[tuple[int, Tensor]]:
    count = points.shape[axis]
    for start in range(0, max(1, count), size):
        yield start, points.narrow(axis, start, min(size, count - start))


def _search(
    manifold: geoopt.Manifold, x: Tensor, y: Tensor, k: int, distance: Distance | None
) -> Nearest[Tensor]:
    axis = -manifold.ndim - 1
    batch = math.prod(broadcast_shapes(x.shape[:axis], y.shape[:axis]))
    entries = batch * math.prod(y.shape[axis + 1 :]) if axis < -1 else batch
    columns = max(k, math.isqrt(_ENTRIES // max(1, entries)))
    rows = max(1, _ENTRIES // max(1, entries * min(columns, y.shape[axis])))
    blocks = [_rows(manifold, part, y, k, distance, columns) for _, part in _parts(x, axis, rows)]
    return Nearest(*(torch.cat(values, -2) for values in zip(*blocks, strict=True)))


def _rows(
    manifold: geoopt.Manifold, x: Tensor, y: Tensor, k: int, distance: Distance | None, columns: int
) -> Nearest[Tensor]:
    """Return the nearest points of a block of rows, from those found so far and the next block of columns."""
    best: Nearest[Tensor] | None = None
    for start, part in _parts(y, -manifold.ndim - 1, columns):
        values = table(manifold, x, part, distance)
        values, indices = values.topk(min(k, values.shape[-1]), largest=False)
        indices = indices + start
        if best is not None:
            values, indices = (torch.cat(pair, -1) for pair in zip(best, (values, indices), strict=True))
            values, order = values.topk(k, largest=False)
            indices = indices.gather(-1, order)
        best = Nearest(values, indices)
    assert best is not None
    return best


def _between(
    manifold: geoopt.Manifold, x: Tensor, y: Tensor, indices: Tensor, distance: Distance | None
) -> Tensor:
    """Return the distances of the points of x from those of y with these indices, ``(..., N, k)``."""
    axis = -manifold.ndim - 1
    point = y.shape[y.ndim - manifold.ndim :]
    batch = indices.shape[:-2]
    y = y.expand(*batch, *y.shape[axis:])
    flat = append_dimensions(indices.flatten(-2), manifold.ndim).expand(*batch, -1, *point)
    neighbours = y.gather(len(batch), flat).unflatten(len(batch), indices.shape[-2:])
    measure = manifold.dist if distance is None else distance
    value: Tensor = measure(x.unsqueeze(axis), neighbours)
    return value
