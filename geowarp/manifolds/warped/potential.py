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
    """Return what makes two potentials equal: a value where it is one, else which object it is.

    Example:
        >>> identity(torch.nn.Linear(1, 1)) == identity(torch.nn.Linear(1, 1))
        False
    """
    return id(potential) if isinstance(potential, torch.nn.Module) else potential
