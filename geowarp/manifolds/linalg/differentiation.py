"""Gradients that cannot be differentiated once more say so."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ...errors import UnavailableError
from .precision import autocast_off

__all__ = ["differentiable_once", "once_differentiable", "without_derivative"]

Gradients = Tensor | tuple[Tensor | None, ...]


class _Refusal(torch.autograd.Function):
    """The first tensors as they are; whoever differentiates them, by whatever they depend on, is told."""

    @staticmethod
    def forward(ctx: Any, count: int, message: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.message = message
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        raise UnavailableError(ctx.message)


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
    message = f"{name} can be differentiated only once; take finite differences of its gradient instead"
    refusing = iter(_Refusal.apply(len(given), message, *given, *sources))  # type: ignore[no-untyped-call]
    result = tuple(None if part is None else next(refusing) for part in parts)
    return result[0] if single else result  # type: ignore[return-value]


class _Once(torch.autograd.Function):
    """A tensor as it is, whose derivative has none."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, name: str) -> Tensor:
        ctx.save_for_backward(tensor)
        ctx.name = name
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        sources = [t for t in (*ctx.saved_tensors, grad) if t.requires_grad]
        refusing = torch.is_grad_enabled() and sources
        return (_refusing(grad, sources, ctx.name) if refusing else grad), None  # type: ignore[return-value]


def differentiable_once(tensor: Tensor, name: str) -> Tensor:
    """Return a tensor whose first derivatives are right, and whose second ones raise UnavailableError.

    Example:
        >>> x = torch.ones(1, requires_grad=True)
        >>> y = differentiable_once(x.square(), "the square")
        >>> (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        >>> torch.autograd.grad(slope.sum(), x)
        Traceback (most recent call last):
        geowarp.errors.UnavailableError: the square can be differentiated only once; ...
    """
    result: Tensor = _Once.apply(tensor, name)  # type: ignore[no-untyped-call]
    return result


def without_derivative(tensor: Tensor, message: str, *sources: Tensor) -> Tensor:
    """Return a tensor that was computed without a graph; differentiating it by the sources raises.

    Example:
        >>> x = torch.ones(1, requires_grad=True)
        >>> without_derivative(torch.ones(1), "there is none", x).sum().backward()
        Traceback (most recent call last):
        geowarp.errors.UnavailableError: there is none
    """
    depends = [source for source in sources if source.requires_grad]
    if not depends or not torch.is_grad_enabled():
        return tensor
    (result,) = _Refusal.apply(1, message, tensor, *depends)  # type: ignore[no-untyped-call]
    return result  # type: ignore[no-any-return]
