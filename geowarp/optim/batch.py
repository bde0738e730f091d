"""Parameters that are stepped together: one stacked tensor per manifold, shape, dtype and device."""

from collections.abc import Callable
from operator import attrgetter
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
        self.places: list[int] = []
        self.signature: tuple[Any, ...] = ()
        self._gradients: list[Tensor] = []
        self.state: State = {}

    def points(self) -> Tensor:
        """Return the parameters as one tensor ``(B, *shape)``, which may share their memory."""
        return stack(self.parameters, self.memory, "points")

    def gradients(self) -> Tensor:
        """Return the gradients as one tensor ``(B, *shape)``, which may share their memory."""
        return stack(self._gradients, self.memory, "gradients")

    def collect(self, gradients: list[Tensor | None]) -> None:
        """Take the gradients of this step out of those of all the optimiser's parameters."""
        self._gradients = [g for i in self.places if (g := gradients[i]) is not None]

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
            GeowarpError: where a stored entry has another shape.
        """
        self.state = fresh
        for i, parameter in enumerate(self.parameters):
            own = stored[parameter]
            for name, whole in fresh.items():
                if name in own:
                    whole[i].copy_(
                        self._one_per_point(
                            torch.as_tensor(own[name]), whole[i].shape, f"{name!r} of {self.names[i]!r}"
                        )
                    )
                own[name] = whole[i]

    def _one_per_point(self, entry: Tensor, shape: torch.Size, what: str) -> Tensor:
        """Return an entry of the shape asked for, also from one that repeats its value, as geoopt's do."""
        if entry.shape == shape:
            return entry
        if entry.ndim == len(shape):
            reduced = entry[tuple(slice(0, n) for n in shape)]
            if reduced.shape == shape and torch.equal(reduced.expand_as(entry), entry):
                return reduced
        raise GeowarpError(
            f"state {what} on {self.manifold!r} has shape {tuple(entry.shape)}, not {tuple(shape)}; "
            "it is of other points or of another kind of optimiser: start without it"
        )

    def release_state(self, stored: dict[Tensor, dict[str, Any]]) -> None:
        """Give every parameter a state of its own, so that no view keeps the whole stack alive."""
        for parameter in self.parameters:
            own = stored.get(parameter, {})
            own.update({name: own[name].clone() for name in self.state if name in own})

    def fits(self, stored: dict[Tensor, dict[str, Any]], names: tuple[str, ...]) -> bool:
        """Return whether the batch still is what its parameters, their state and the group say."""
        dtype, device, shape = self.signature
        first, last = self.parameters[0], self.parameters[-1]
        return (
            set(map(_dtype, self.parameters)) == {dtype}
            and (first.device, tuple(first.shape)) == (device, shape)
            and tuple(self.state) == names
            and all(name in stored.get(p, {}) for p in (first, last) for name in names)
            and all(_same(stored[first][name], self.state[name][0]) for name in names)
            and all(_same(stored[last][name], self.state[name][-1]) for name in names)
        )


_dtype = attrgetter("dtype")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.dtype == b.dtype


def gather(
    groups: list[dict[str, Any]],
    manifolds: dict[Tensor, geoopt.Manifold | None],
    name_of: Callable[[int, int], str],
) -> tuple[list[FlatBatch], list[Batch]]:
    """Return the parameters that have a gradient, in batches.

    Args:
        groups: param groups.
        manifolds: that of each parameter.
        name_of: gives a name for the parameter of a group's index and its own.

    Raises:
        GeowarpError: for a constrained parameter in half precision, sharded, or with a sparse gradient.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> x.grad = torch.zeros(2)
        >>> flat, constrained = gather([{"params": [x]}], {x: None}, lambda g, i: "x")
        >>> len(flat), len(constrained)
        (1, 0)
    """
    known = {id(m): fingerprint(m) for m in manifolds.values() if m is not None}
    flat: list[FlatBatch] = []
    batches: dict[Any, Batch] = {}
    place = -1
    for index, group in enumerate(groups):
        unconstrained = FlatBatch(group)
        for i, parameter in enumerate(group["params"]):
            place += 1
            manifold = manifolds[parameter]
            if parameter.grad is None:
                continue
            if is_flat(manifold):
                unconstrained.parameters.append(parameter)
                continue
            name = name_of(index, i)
            _refuse_unsupported(parameter, manifold, name)
            signature = parameter.dtype, parameter.device, tuple(parameter.shape)
            alone = i if group.get("foreach") is False else None
            batch = batches.setdefault((index, known[id(manifold)], signature, alone), Batch(group, manifold))
            batch.parameters.append(parameter)
            batch.names.append(name)
            batch.places.append(place)
            batch.signature = signature
        if unconstrained.parameters:
            flat.append(unconstrained)
    return flat, list(batches.values())


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
