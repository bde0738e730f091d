"""All distances between two sets of points."""

from typing import Protocol

from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError, NotOnManifoldError
from .arrays import Array, accepts_arrays, tensors
from .validation import check_batches, check_operation, check_pair, check_points

__all__ = ["Distance", "check_sets", "pairwise_distance", "table"]


class Distance(Protocol):
    """A distance that is used in place of the manifold's own, as a value such as ``Chordal()``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> class Chord:
        ...     def __call__(self, x, y):
        ...         return (x - y).norm(dim=-1)
        ...     def pairwise(self, x, y=None):
        ...         return torch.cdist(x, x if y is None else y)
        >>> pairwise_distance(Sphere(), torch.eye(2), distance=Chord())
        tensor([[0.0000, 1.4142],
                [1.4142, 0.0000]])
    """

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the distance of each pair, ``(...)``; the batch dimensions of the points broadcast."""
        ...

    def pairwise(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return all distances ``(..., N, M)`` of ``(..., N, *point)`` and ``(..., M, *point)``."""
        ...


@accepts_arrays
def pairwise_distance(
    manifold: geoopt.Manifold, x: Array, y: Array | None = None, *, distance: Distance | None = None
) -> Array:
    """Return all distances ``(..., N, M)`` between the points of x and those of y.

    Args:
        manifold: any manifold of geowarp, or one of geoopt with ``dist``.
        x: ``(..., N, *point)``.
        y: ``(..., M, *point)``; by default x, which can take half the work.
        distance: in place of the manifold's own, such as ``Chordal()`` on ``Grassmann()``.

    Raises:
        GeowarpError: for shapes that do not fit together.
        NotOnManifoldError: for tensors that are not points of the manifold.
        NonFiniteError: for points that are infinite or not a number.

    Example:
        >>> from geowarp.manifolds import Grassmann, Sphere
        >>> from geowarp.metrics import Chordal
        >>> pairwise_distance(Sphere(), torch.eye(2))
        tensor([[0.0000, 1.5708],
                [1.5708, 0.0000]])
        >>> pairwise_distance(Grassmann(), torch.eye(2)[:, :, None], distance=Chordal())
        tensor([[0., 1.],
                [1., 0.]])
    """
    first, second = tensors(x, x if y is None else y)
    sets = ("pairwise_distance", manifold, first, second)
    check_sets(*sets, alike=distance is None, lightly=distance is None)
    try:
        distances: Array = tensors(table(manifold, first, second, distance))
    except NotOnManifoldError:
        check_sets(*sets)  # says which of the points it is
        raise
    return distances


def table(manifold: geoopt.Manifold, x: Tensor, y: Tensor, distance: Distance | None) -> Tensor:
    """Return what ``pairwise_distance`` does, of points that were checked.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> table(Euclidean(0), torch.tensor([0.0, 1.0]), torch.tensor([3.0]), None)
        tensor([[3.],
                [2.]])
    """
    if distance is not None:
        return distance.pairwise(x, None if y is x else y)
    check_operation(manifold, "dist")
    if hasattr(manifold, "cdist"):
        distances: Tensor = manifold.cdist(x, y)
        return distances
    whole: Tensor = manifold.dist(x.unsqueeze(-manifold.ndim - 1), y.unsqueeze(-manifold.ndim - 2))
    return whole


def check_sets(
    name: str,
    manifold: geoopt.Manifold,
    x: Tensor,
    y: Tensor,
    *,
    alike: bool = True,
    lightly: bool = False,
) -> None:
    """Raise where x and y are not sets of points of the manifold, of one shape of a point if ``alike``.

    ``lightly`` is as for ``check_points``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> check_sets("nearest", Sphere(), torch.eye(2)[0], torch.eye(2))
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: nearest: x has the shape (2,); it needs (..., N, *point)
    """
    if alike:
        check_pair(manifold, x, y, lightly=lightly)
    for argument, points in (("x", x), ("y", y)):
        if not alike:
            check_points(manifold, points, argument)
        if points.ndim <= manifold.ndim:
            raise GeowarpError(
                f"{name}: {argument} has the shape {tuple(points.shape)}; it needs (..., N, *point)"
            )
    first, second = (points.shape[: points.ndim - manifold.ndim - 1] for points in (x, y))
    check_batches(name, first, second)
