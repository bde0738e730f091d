"""Groups of points, by name: what every potential that compares groups is given."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...metrics.validation import check_pair, check_points
from ..distance_attention.distances import all_distances
from ..distance_attention.scores import Score
from .squared_distances import all_squares

__all__ = ["Groups", "Members", "closest_groups", "nearest_apart", "read_groups"]

Members = Mapping[str, Tensor] | Sequence[Tensor]


class Groups(NamedTuple):
    """The members of all groups as one tensor, with the names and the sizes of the groups.

    Example:
        >>> groups = Groups(("a", "b"), (2, 1), torch.zeros(3, 4))
        >>> [part.shape[0] for part in groups.members.split(groups.sizes)]
        [2, 1]
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    members: Tensor


def read_groups(name: str, groups: Members, base: geoopt.Manifold) -> Groups:
    """Return checked groups; those of a sequence are named "0", "1", ...

    Raises:
        GeowarpError: for fewer than two groups, an empty one, or groups of different shapes or dtypes.
        NonFiniteError: for members that are infinite or not a number.
        NotOnManifoldError: for other members that are not on the base.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> read_groups("ParityPotential", [torch.zeros(2, 4), torch.ones(1, 4)], Euclidean(1)).sizes
        (2, 1)
    """
    named: dict[str, Any] = (
        dict(groups) if isinstance(groups, Mapping) else {str(i): x for i, x in enumerate(groups)}
    )
    if len(named) < 2:
        raise GeowarpError(f"{name}: {len(named)} group is given; parity needs two or more groups")
    for key, members in named.items():
        _check_group(name, key, members, base)
    (first, reference), *rest = named.items()
    for key, members in rest:
        check_pair(base, reference, members, (f"of group {first!r}", f"of group {key!r}"), numbers=False)
    sizes = tuple(members.shape[0] for members in named.values())
    return Groups(tuple(named), sizes, torch.cat([members.detach() for members in named.values()]))


def closest_groups(name: str, groups: Groups, base: geoopt.Manifold, score: Score) -> float:
    """Return the smallest distance between members of different groups.

    Raises:
        GeowarpError: where two of them are the same point.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import SquaredDistance
        >>> groups = Groups(("a", "b"), (1, 2), torch.tensor([[0.0], [3.0], [7.0]]))
        >>> closest_groups("ParityPotential", groups, Euclidean(1), SquaredDistance())
        3.0
    """
    x = groups.members
    with torch.no_grad():
        distances = all_squares(score, base, x, x).clamp_min(0).sqrt()
        owner = torch.arange(len(groups.sizes), device=x.device).repeat_interleave(
            torch.tensor(groups.sizes, device=x.device)
        )
        distances = distances.where(owner[:, None] < owner, torch.inf)
        smallest, place = distances.flatten().min(0)
    if not smallest > _rounding(x):
        first, second = (_where(groups, index) for index in divmod(int(place), x.shape[0]))
        raise GeowarpError(f"{name}: {first} and {second} are the same point; a member has one group only")
    return float(smallest)


@torch.no_grad()
def nearest_apart(base: geoopt.Manifold, x: Tensor, y: Tensor) -> float:
    """Return the smallest distance, that is not 0, of points ``(n, *point)`` and ``(m, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> nearest_apart(Euclidean(1), torch.tensor([[0.0], [3.0]]), torch.tensor([[3.0], [5.0]]))
        2.0
    """
    distances = all_distances(base, x, y)
    return float(distances.where(distances > _rounding(x, y), torch.inf).min())


def _rounding(*points: Tensor) -> float:
    """Return the distance below which points of this size are the same."""
    largest = max([1.0, *(float(x.abs().max()) for x in points if x.numel())])
    return 64 * torch.finfo(points[0].dtype).eps * largest


def _check_group(name: str, key: str, members: Any, base: geoopt.Manifold) -> None:
    check_points(base, members, f"group {key!r}")
    if members.ndim != base.ndim + 1:
        raise GeowarpError(
            f"{name}: group {key!r} has the shape {tuple(members.shape)}; it must be (n, *point) with points "
            f"of {base.ndim} dimensions"
        )
    if members.shape[0] == 0:
        raise GeowarpError(f"{name}: group {key!r} is empty; every group needs a member")


def _where(groups: Groups, index: int) -> str:
    for key, size in zip(groups.names, groups.sizes, strict=True):
        if index < size:
            return f"member {index} of group {key!r}"
        index -= size
    raise IndexError(index)
