"""Parameters that are stepped together: one stacked tensor per manifold, shape, dtype and device."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds import Euclidean
from ..manifolds.component import fingerprint
from .kernel import Slope, kernel_for
from .memory import Memory, stack

__all__ = ["Batch", "FlatBatch", "gather", "is_flat"]

State = dict[str, Tensor]
_HALF = (torch.float16, torch.bfloat16)


def is_flat(manifold: geoopt.Manifold | None) -> bool:
    """Return whether a parameter of this manifold is stepped entry by entry, as torch does.

    Example:
        >>> from geowarp.manifolds import Euclidean, Sphere
        >>> is_flat(None), is_flat(Euclidean(1)), is_flat(Sphere())
        (True, True, False)
    """
    return manifold is None or isinstance(manifold, Euclidean | geoopt.Euclidean)


class FlatBatch:
    """The parameters of one param group that have no manifold.

    Args:
        group: the param group.

    Example:
        >>> batch = FlatBatch({"lr": 0.1})
        >>> batch.parameters
        []
    """

    def __init__(self, group: dict[str, Any]) -> None:
        self.group = group
        self.parameters: list[Tensor] = []

    def gradients(self) -> list[Tensor]:
        """Return the gradients, as they are."""
        return [p.grad for p in self.parameters if p.grad is not None]


class Batch:
    """Parameters of one manifold with equal shape, dtype and device, stepped as one stacked tensor.

    The state is stacked as well; every parameter's own state is a view of it.

    Args:
        group: the param group, from which the hyper-parameters are read at each step.
        manifold: the manifold of all the parameters.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> batch = Batch({"lr": 0.1}, Sphere())
        >>> batch.parameters, batch.names = [Sphere().random(3), Sphere().random(3)], ["a", "b"]
        >>> batch.points().shape
        torch.Size([2, 3])
    """

    def __init__(self, group: dict[str, Any], manifold: geoopt.Manifold) -> None:
        self.group = group
        self.manifold = manifold
        self.memory = Memory()
        self.kernel = kernel_for(manifold, self.memory)
        self.parameters: list[Tensor] = []
        self.names: list[str] = []
        self.state: State = {}

    def points(self) -> Tensor:
        """Return the parameters as one tensor ``(B, *shape)``, which may share their memory."""
        return stack(self.parameters, self.memory, "points")

    def gradients(self) -> Tensor:
        """Return the gradients as one tensor ``(B, *shape)``, which may share their memory."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return stack(gradients, self.memory, "gradients")

    def slope(self) -> Slope:
        """Return the slope of the objective, negated where the group asks to maximize."""
        gradients = self.gradients()
        return self.kernel.slope(self.points(), -gradients if self.group["maximize"] else gradients)

    def write(self, points: Tensor) -> None:
        """Copy the stacked points back to the parameters."""
        if len(self.parameters) == 1:
            self.parameters[0].copy_(points[0])
        else:
            torch._foreach_copy_(self.parameters, self.memory.parts(points))

    def per_point(self, values: Tensor) -> Tensor:
        """Return ``(B,)`` values in the shape ``(B, 1, ..., 1)`` that broadcasts over the points."""
        return values.reshape(-1, *(1 for _ in self.parameters[0].shape))

    def take_state(self, stored: dict[Tensor, dict[str, Any]], fresh: State) -> None:
        """Stack what ``stored`` holds of each parameter, ``fresh`` where it holds nothing, and leave views.

        Args:
            stored: an optimiser's ``state``.
            fresh: initial state of the whole batch, ``(B, ...)`` each.

        Raises:
            GeowarpError: where a stored entry has another shape, as from another kind of optimiser.
        """
        self.state = fresh
        for i, parameter in enumerate(self.parameters):
            own = stored[parameter]
            for name, whole in fresh.items():
                view = whole[i]
                if name in own:
                    if own[name].shape != view.shape:
                        raise GeowarpError(
                            f"state {name!r} of parameter {self.names[i]!r} on {self.manifold!r} has shape "
                            f"{tuple(own[name].shape)}, not {tuple(view.shape)}: it is of another kind of "
                            "optimiser; start without it"
                        )
                    view.copy_(own[name])
                own[name] = view

    def fits(self) -> bool:
        """Return whether the stacked state still has the parameters' dtype and device."""
        first, moments = self.parameters[0], self.state.get("exp_avg", self.state.get("momentum_buffer"))
        return moments is None or (moments.dtype == first.dtype and moments.device == first.device)


def gather(
    groups: list[dict[str, Any]], name_of: Callable[[int, int], str]
) -> tuple[list[FlatBatch], list[Batch]]:
    """Return the parameters that have a gradient, in batches.

    Args:
        groups: param groups, each with its ``manifolds`` parallel to its ``params``.
        name_of: gives a name for the parameter of a group's index and its own.

    Raises:
        GeowarpError: for a constrained parameter in half precision, sharded, or with a sparse gradient.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> x.grad = torch.zeros(2)
        >>> flat, constrained = gather([{"params": [x], "manifolds": [None]}], lambda g, i: "x")
        >>> len(flat), len(constrained)
        (1, 0)
    """
    known = {id(m): fingerprint(m) for group in groups for m in group["manifolds"] if m is not None}
    flat: list[FlatBatch] = []
    batches: dict[Any, Batch] = {}
    for index, group in enumerate(groups):
        unconstrained = FlatBatch(group)
        for i, parameter, manifold in _active(group):
            if is_flat(manifold):
                unconstrained.parameters.append(parameter)
                continue
            name = name_of(index, i)
            _refuse_unsupported(parameter, manifold, name)
            alone = i if group.get("foreach") is False else None
            key = (
                index,
                known[id(manifold)],
                tuple(parameter.shape),
                parameter.dtype,
                parameter.device,
                alone,
            )
            batch = batches.setdefault(key, Batch(group, manifold))
            batch.parameters.append(parameter)
            batch.names.append(name)
        if unconstrained.parameters:
            flat.append(unconstrained)
    return flat, list(batches.values())


def _active(group: dict[str, Any]) -> Iterator[tuple[int, Tensor, geoopt.Manifold | None]]:
    for i, (parameter, manifold) in enumerate(zip(group["params"], group["manifolds"], strict=True)):
        if parameter.grad is not None:
            yield i, parameter, manifold


def _refuse_unsupported(parameter: Tensor, manifold: geoopt.Manifold, name: str) -> None:
    if parameter.dtype in _HALF:
        raise GeowarpError(
            f"parameter {name!r} on {manifold!r} is {parameter.dtype}, whose rounding alone leaves the "
            "manifold; keep it in float32 and compute under torch.autocast"
        )
    if parameter.grad is not None and parameter.grad.is_sparse:
        raise GeowarpError(
            f"sparse gradient for parameter {name!r} on {manifold!r}; "
            "use dense gradients, as in Embedding(sparse=False)"
        )
    if hasattr(parameter, "full_tensor"):
        raise GeowarpError(
            f"parameter {name!r} on {manifold!r} is sharded, and a point moves as a whole; "
            "leave it out: fully_shard(model, ignored_params={...})"
        )
