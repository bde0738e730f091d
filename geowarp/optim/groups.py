"""Param groups of a model, one per manifold."""

from collections.abc import Mapping
from typing import Any

import torch

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds.parameter import named_manifolds

__all__ = ["param_groups"]

_FLAT = "Euclidean"


def param_groups(model: torch.nn.Module, **overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of ``model`` in one group per manifold, with their names.

    Args:
        model: any module; the manifolds are those of ``geowarp.named_manifolds``.
        **overrides: hyper-parameters by the manifold's name, as in ``Stiefel={"lr": 1e-2}``; ``Euclidean`` is
            for the parameters without a manifold.

    Returns:
        Groups for an optimiser, each with ``params`` (pairs of name and parameter) and its ``manifold``; the
        parameters without a manifold come first.

    Raises:
        GeowarpError: for overrides of a manifold that no parameter is on, with the names that there are.

    Example:
        >>> from geowarp import constrain
        >>> from geowarp.manifolds import Sphere
        >>> net = constrain(torch.nn.Linear(3, 2), "weight", Sphere())
        >>> for group in param_groups(net, Sphere={"lr": 1e-2}, Euclidean={"weight_decay": 0.1}):
        ...     print(group["manifold"], [name for name, _ in group["params"]], group.get("lr"))
        None ['bias'] None
        Sphere() ['weight'] 0.01
    """
    manifolds = dict(named_manifolds(model))
    groups: dict[geoopt.Manifold | None, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        manifold = manifolds.get(name)
        group = groups.setdefault(manifold, {"params": [], "manifold": manifold})
        group["params"].append((name, parameter))
    present = {_name(manifold) for manifold in groups}
    unknown = sorted(set(overrides) - present - {_FLAT})
    if unknown:
        raise GeowarpError(
            f"param_groups: no parameter is on {', '.join(unknown)}; there are: {sorted(present)}"
        )
    for manifold, group in groups.items():
        group.update(overrides.get(_name(manifold), {}))
    return sorted(groups.values(), key=lambda group: group["manifold"] is not None)


def _name(manifold: geoopt.Manifold | None) -> str:
    return _FLAT if manifold is None else str(manifold.name)
