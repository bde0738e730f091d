"""Sets of embeddings: what is wrong with them, and their similarities under a distance."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import GeowarpError, NonFiniteError
from ...manifolds.linalg.precision import full_precision

__all__ = [
    "PairwiseDistance",
    "check_embeddings",
    "check_groups",
    "check_numbers",
    "similarity",
    "squared_distance",
]

PairwiseDistance = Callable[[Tensor, Tensor], Tensor]
"""A function of points ``(n, *point)`` and ``(m, *point)`` that returns all their distances ``(n, m)``.

It is given tensors; what it returns may be an array."""


def check_embeddings(function: str, name: str, x: Any, *, directions: bool = False) -> None:
    """Raise where x is not ``(n, *point)`` with n > 0 and finite entries.

    Args:
        function: what the user called.
        name: what the message calls x.
        x: the embeddings.
        directions: whether a row that is zero is wrong too, which has no cosine.

    Raises:
        GeowarpError: for another kind or shape, no points, and where ``directions``, a row that is zero.
        NonFiniteError: for a point that is infinite or not a number.

    Example:
        >>> check_embeddings("ect", "targets", torch.tensor([[1.0, 2.0], [0.0, float("nan")]]))
        Traceback (most recent call last):
        geowarp.errors.NonFiniteError: ect: targets[1] is infinite or not a number (1 of 2 points); drop ...
    """
    if not isinstance(x, Tensor):
        raise GeowarpError(f"{function}: {name} is a {type(x).__name__}, neither a tensor nor an array")
    if not x.is_floating_point():
        raise GeowarpError(f"{function}: {name} has the dtype {x.dtype}; convert it, .to(torch.float64)")
    if x.ndim < 2:
        raise GeowarpError(f"{function}: {name} has the shape {tuple(x.shape)}; it needs (n, *point)")
    if x.numel() == 0:
        raise GeowarpError(f"{function}: {name} has no points, {tuple(x.shape)}; it needs at least 1")
    rows = x.detach().flatten(1)
    _refuse(~rows.isfinite().all(-1), f"{function}: {name}", "infinite or not a number", NonFiniteError)
    if directions:
        _refuse((rows == 0).all(-1), f"{function}: {name}", "zero, which has no cosine", GeowarpError)


def check_groups(function: str, name: str, groups: Any, *, directions: bool = False) -> None:
    """Raise where the groups are not at least two sets of embeddings.

    Raises:
        GeowarpError: for fewer than two groups, and as ``check_embeddings`` does for each of them.
        NonFiniteError: for a point that is infinite or not a number.

    Example:
        >>> check_groups("ect", "groups", [torch.eye(2)])
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: ect: groups has 1 group; it compares at least 2, each (n, *point)
    """
    if isinstance(groups, Tensor) or not isinstance(groups, Sequence):
        raise GeowarpError(f"{function}: {name} is a {type(groups).__name__}; it must be a list of groups")
    if len(groups) < 2:
        raise GeowarpError(
            f"{function}: {name} has {len(groups)} group{'s' * (len(groups) != 1)}; it compares at least 2, "
            "each (n, *point)"
        )
    for place, group in enumerate(groups):
        check_embeddings(function, f"{name}[{place}]", group, directions=directions)


def similarity(x: Tensor, y: Tensor, distance: PairwiseDistance | None = None) -> Tensor:
    """Return ``1 − d²/2`` of all pairs, ``(n, m)``: the cosine, where no distance is given.

    Args:
        x: ``(n, *point)``.
        y: ``(m, *point)``.
        distance: all distances ``(n, m)``; by default Euclidean, of rows divided by their norms.

    Raises:
        GeowarpError: for points of different shapes, dtypes or devices, and a distance that does not return
            ``(n, m)``.
        NonFiniteError: for a distance that is infinite or not a number.

    Example:
        >>> similarity(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([[1., 0.]])
        >>> similarity(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.cdist)
        tensor([[0.5000]])
    """
    for what, one, other in (
        ("shapes", tuple(x.shape[1:]), tuple(y.shape[1:])),
        ("dtypes", x.dtype, y.dtype),
        ("devices", x.device, y.device),
    ):
        if one != other:
            raise GeowarpError(
                f"points of the {what} {one} and {other} have no similarity; all sets need points of one kind"
            )
    if distance is None:
        cosines: Tensor = _cosine(x, y)
        return cosines
    distances = _checked(distance(x, y), len(x), len(y))
    if not bool(distances.detach().isfinite().all()):
        raise NonFiniteError("the distance returned a number that is infinite or not a number")
    return 1 - distances.square() / 2


def squared_distance(x: Tensor, y: Tensor, distance: PairwiseDistance | None = None) -> Tensor:
    """Return d² of all pairs, ``(n, m)``, as ``similarity`` means it.

    Example:
        >>> squared_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        tensor([[0., 2.]])
    """
    return 2 - 2 * similarity(x, y, distance)


def check_numbers(function: str, name: str, values: Any, count: int) -> None:
    """Raise where the values are not as many finite numbers, ``(count,)``.

    Raises:
        GeowarpError: for another kind or shape.
        NonFiniteError: for a number that is infinite or not a number.

    Example:
        >>> check_numbers("attention_gap", "stereotype", [0.5], 1)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: attention_gap: stereotype is a list, neither a tensor nor an array
    """
    if not isinstance(values, Tensor):
        raise GeowarpError(f"{function}: {name} is a {type(values).__name__}, neither a tensor nor an array")
    if tuple(values.shape) != (count,):
        raise GeowarpError(f"{function}: {name} has the shape {tuple(values.shape)}; it needs ({count},)")
    wrong = ~values.detach().isfinite()
    _refuse(wrong, f"{function}: {name}", "infinite or not a number", NonFiniteError, "numbers")


def _checked(distances: Any, rows: int, columns: int) -> Tensor:
    """Return what a distance returned, for which it may have made an array of the tensors."""
    if isinstance(distances, np.ndarray):
        distances = torch.from_numpy(distances)
    if not isinstance(distances, Tensor) or tuple(distances.shape) != (rows, columns):
        found = getattr(distances, "shape", None)
        what = type(distances).__name__ if found is None else f"shape {tuple(found)}"
        raise GeowarpError(
            f"the distance returned the {what} for {rows} and {columns} points; it must return all pairs, "
            f"{(rows, columns)}, as torch.cdist does"
        )
    return distances


@full_precision
def _cosine(x: Tensor, y: Tensor) -> Tensor:
    first, second = (_unit(rows.flatten(1)) for rows in (x, y))
    return first @ second.mT


def _unit(rows: Tensor) -> Tensor:
    """Return rows divided by their norms, the squares of which may be beyond the range of the dtype."""
    largest = rows.detach().abs().amax(-1, keepdim=True)
    return torch.nn.functional.normalize(rows / torch.where(largest > 0, largest, 1), dim=-1)


def _refuse(wrong: Tensor, what: str, reason: str, error: type[GeowarpError], kind: str = "points") -> None:
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        count = f"{int(wrong.sum())} of {len(wrong)} {kind}"
        raise error(
            f"{what}[{place}] is {reason} ({count}); drop it, and its partner where it is one of a pair"
        )
