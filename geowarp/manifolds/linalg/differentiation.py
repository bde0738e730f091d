"""Gradients that cannot be differentiated once more say so."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ...errors import UnavailableError
from .precision import autocast_off

__all__ = ["once_differentiable"]

Gradients = Tensor | tuple[Tensor | None, ...]


class _Refusal(torch.autograd.Function):
    """The first tensors as they are; whoever differentiates them, by whatever they depend on, is told."""

    @staticmethod
    def forward(ctx: Any, count: int, name: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.name = name
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        raise UnavailableError(
            f"{ctx.name} can be differentiated only once; take finite differences of its gradient instead"
        )


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Mark the backward of an ``autograd.Function`` as one that has no derivative.

    A second derivative raises. torch's decorator of this name raises only where the incoming gradient itself
    requires a gradient, and else leaves the terms of this function out of the second derivative; this one
    raises also where a saved tensor does. So the function has to save its inputs, or what depends on them
    with a graph.

    Autocast is off in it: torch's own is on where ``.backward()`` is called within its context.

    Example:
        >>> class Square(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x
        ...     @staticmethod
        ...     @once_differentiable
        ...     def backward(ctx, grad):
        ...         return 2 * grad * ctx.saved_tensors[0]
        >>> x = torch.ones(1, requires_grad=True)
        >>> (slope,) = torch.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
        >>> torch.autograd.grad((slope + x).sum(), x)
        Traceback (most recent call last):
        geowarp.errors.UnavailableError: Square can be differentiated only once; ...
    """

    @wraps(backward)
    def wrapper(ctx: Any, *grads: Tensor) -> Any:
        with torch.no_grad(), autocast_off(*grads):
            outputs = backward(ctx, *grads)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return outputs
        sources = [t for t in (*ctx.saved_tensors, *grads) if isinstance(t, Tensor) and t.requires_grad]
        return _refusing(outputs, sources, type(ctx).__name__) if sources else outputs

    return wrapper


def _refusing(outputs: Gradients, sources: list[Tensor], name: str) -> Gradients:
    single = isinstance(outputs, Tensor)
    parts = (outputs,) if isinstance(outputs, Tensor) else outputs
    given = [part for part in parts if part is not None]
    name = name.removesuffix("Backward").removeprefix("_")
    refusing = iter(_Refusal.apply(len(given), name, *given, *sources))  # type: ignore[no-untyped-call]
    result = tuple(None if part is None else next(refusing) for part in parts)
    return result[0] if single else result  # type: ignore[return-value]
