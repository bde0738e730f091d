"""Values and derivatives of the functions that warp a metric."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["Potential", "check_values", "differentials", "identity", "kept_graph"]

Potential = Callable[[Tensor], Tensor]


def check_values(owner: str, values: Any, x: Tensor, ndim: int, entries: int | None) -> Tensor:
    """Return the values of a potential at points ``(..., *point)``, if they are what it promises.

    Args:
        owner: who asks, for the message.
        values: what the potential returned.
        x: the points.
        ndim: how many dimensions a point has.
        entries: K, the number of values of a point; 0 for one without a dimension, None for any number.

    Raises:
        GeowarpError: for another type, shape or dtype.

    Example:
        >>> check_values("FairnessWarped", torch.zeros(5), torch.zeros(5, 2), 1, None)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: FairnessWarped: the potential maps points of shape (5, 2) to (5,); it ...
    """
    batch = tuple(x.shape[: x.ndim - ndim])
    if not isinstance(values, Tensor):
        raise GeowarpError(f"{owner}: the potential returns a {type(values).__name__}, and not a tensor")
    last = () if entries == 0 else ("K" if entries is None else entries,)
    fits = values.ndim == len(batch) + len(last) and tuple(values.shape[: len(batch)]) == batch
    if not fits or (entries and values.shape[-1] != entries) or (entries is None and not values.shape[-1]):
        wanted = str((*batch, *last)).replace("'", "")
        raise GeowarpError(
            f"{owner}: the potential maps points of shape {tuple(x.shape)} to {tuple(values.shape)}; it must "
            f"return {wanted}"
        )
    if values.dtype != x.dtype:
        raise GeowarpError(
            f"{owner}: the potential returns {values.dtype} for points in {x.dtype}; convert it, "
            f"potential.to({x.dtype})"
        )
    return values


def kept_graph(*tensors: Any) -> bool:
    """Return whether a derivative that is computed now may itself be differentiated.

    Example:
        >>> kept_graph(torch.zeros(1))
        False
    """
    return torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in tensors)


def differentials(potential: Potential, x: Tensor, ndim: int, *, create_graph: bool) -> tuple[Tensor, Tensor]:
    """Return the values ``(..., K)``, and the derivatives by the entries ``(..., K, *point)``.

    Each point's values must depend on that point alone: K backward passes of the whole batch.

    Args:
        potential: maps ``(..., *point)`` to ``(..., K)``.
        x: the points.
        ndim: how many dimensions a point has.
        create_graph: whether the results are to be differentiated.

    Example:
        >>> differentials(lambda x: x.square(), torch.tensor([1.0, 2.0]), 1, create_graph=False)
        (tensor([1., 4.]), tensor([[2., 0.],
                [0., 4.]]))
    """
    with torch.enable_grad():
        point = x if create_graph and x.requires_grad else x.detach().requires_grad_()
        values = potential(point)
        count = values.shape[-1]
        if not values.requires_grad:
            rows = [torch.zeros_like(x)] * count
        else:
            rows = [_gradient(values[..., k], point, create_graph) for k in range(count)]
    return values if create_graph else values.detach(), torch.stack(rows, -ndim - 1)


def _gradient(values: Tensor, point: Tensor, create_graph: bool) -> Tensor:
    (gradient,) = torch.autograd.grad(
        values.sum(), point, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return gradient


def identity(potential: Potential) -> Hashable:
    """Return what makes two potentials equal: of a module, its constants and which its parameters are.

    A function equals itself. A copy of a module with parameters that take a gradient is another one.

    Example:
        >>> identity(torch.nn.Linear(1, 1)) == identity(torch.nn.Linear(1, 1))
        False
        >>> identity(torch.nn.Tanh()) == identity(torch.nn.Tanh())
        True
    """
    return _ModuleValue(potential) if isinstance(potential, torch.nn.Module) else potential


class _ModuleValue:
    """A module as a value: two are equal where type, settings, children and tensors are."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _ModuleValue):
            return NotImplemented
        return self.module is other.module or _same(self.module, other.module)

    def __hash__(self) -> int:
        names = [name for name, _ in self.module.named_modules()]
        return hash((type(self.module), tuple(names)))


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    if type(one) is not type(other) or _settings(one) != _settings(other):
        return False
    first, second = ({**m._parameters, **m._buffers} for m in (one, other))
    if first.keys() != second.keys() or not all(_same_tensor(first[key], second[key]) for key in first):
        return False
    children, others = dict(one.named_children()), dict(other.named_children())
    return children.keys() == others.keys() and all(_same(children[key], others[key]) for key in children)


def _settings(module: torch.nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Hashable) and not name.startswith("_") and name != "training"
    }


def _same_tensor(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one is other:
        return one is other
    learned = one.requires_grad or other.requires_grad
    return not learned and one.device == other.device and one.dtype == other.dtype and torch.equal(one, other)
