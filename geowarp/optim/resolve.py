"""Which parameter of an optimiser is on which manifold."""

import warnings
from typing import Any

from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds.component import fingerprint
from ..manifolds.record import Constraint, constraints_by_id

__all__ = ["Manifolds", "name_of", "refuse_other_manifolds", "resolve"]

Manifolds = dict[Tensor, geoopt.Manifold | None]


def resolve(groups: list[dict[str, Any]], known: Manifolds) -> Manifolds:
    """Return the manifold of every parameter: its group's, its own, or that of the module that owns it.

    Args:
        groups: param groups.
        known: what was found before.

    Raises:
        GeowarpError: where a group's manifold is not the one that its parameter has, or where a parameter
            that had a manifold has none any more.

    Example:
        >>> from geowarp import ManifoldParameter
        >>> from geowarp.manifolds import Sphere
        >>> x = ManifoldParameter(Sphere().random(3), manifold=Sphere())
        >>> list(resolve([{"params": [x]}], {}).values())
        [Sphere()]
    """
    where = constraints_by_id()
    found: Manifolds = {}
    for index, group in enumerate(groups):
        for i, parameter in enumerate(group["params"]):
            manifold = _manifold(parameter, where.get(id(parameter)), group.get("manifold"))
            before = known.get(parameter)
            if manifold is None and before is not None:
                name = name_of(groups, index, i)
                raise GeowarpError(
                    f"parameter {name!r} was on {before!r} and has no manifold any more; "
                    "build the optimiser anew, after constrain(...) if it shall have one"
                )
            found[parameter] = manifold
    return found


def _manifold(
    parameter: Tensor, where: Constraint | None, given: geoopt.Manifold | None
) -> geoopt.Manifold | None:
    own = getattr(parameter, "manifold", where.manifold if where is not None else None)
    if given is not None and own is not None and fingerprint(given) != fingerprint(own):
        raise GeowarpError(
            f"the param group's manifold is {given!r}, but its parameter of shape {tuple(parameter.shape)} "
            f"is a point of {own!r}; leave the group's manifold out, or constrain the parameter anew"
        )
    return own if given is None else given


def name_of(groups: list[dict[str, Any]], group_index: int, index: int) -> str:
    """Return a name for a parameter: the group's, that in its module, or its place.

    Example:
        >>> name_of([{"params": [torch.zeros(2)]}], 0, 0)
        '0 of group 0'
    """
    group = groups[group_index]
    if len(group.get("param_names", ())) == len(group["params"]):
        return str(group["param_names"][index])
    where = constraints_by_id().get(id(group["params"][index]))
    if where is not None:
        return f"{type(where.module).__name__}.{where.name}"
    return f"{index} of group {group_index}"


def _kind(text: str | None) -> str | None:
    return None if text is None else text.split("(")[0]


def refuse_other_manifolds(
    groups: list[dict[str, Any]], known: Manifolds, saved: list[dict[str, Any]]
) -> None:
    """Compare with the manifolds that a state dict names, where it names any.

    Raises:
        GeowarpError: where a parameter had another kind of manifold, or has lost or gained one.

    Warns:
        UserWarning: where it had one of the same kind with other constants.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> x = torch.ones(2)
        >>> refuse_other_manifolds([{"params": [x]}], {x: Sphere()}, [{"manifolds": ["Sphere()"]}])
    """
    for index, (group, other) in enumerate(zip(groups, saved, strict=False)):
        for i, (parameter, before) in enumerate(
            zip(group["params"], other.get("manifolds", ()), strict=False)
        ):
            manifold = known[parameter]
            now, name = None if manifold is None else repr(manifold), name_of(groups, index, i)
            if _kind(now) != _kind(before):
                raise GeowarpError(
                    f"parameter {name!r} is on {now or 'no manifold'}, in the state dict on "
                    f"{before or 'no manifold'}; build the optimiser from parameters on the same manifold"
                )
            if now != before:
                warnings.warn(f"parameter {name!r} was on {before}, and goes on on {now}", stacklevel=3)
