"""Functions that differentiate inside, called in inference mode."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = ["outside_inference_mode"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def outside_inference_mode(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Leave ``torch.inference_mode`` for a function that needs derivatives of its own.

    Within that mode, and of tensors that come from it, torch records nothing. The function then gets copies
    of its tensors, and its results have no gradient.

    Example:
        >>> @outside_inference_mode
        ... def slope(x):
        ...     with torch.enable_grad():
        ...         variable = x.detach().requires_grad_()
        ...         return torch.autograd.grad(variable.square().sum(), variable)[0]
        >>> with torch.inference_mode():
        ...     slope(torch.ones(2))
        tensor([2., 2.])
    """

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        given = (*args, *kwargs.values())
        inside = torch.is_inference_mode_enabled()
        if not (inside or any(isinstance(value, Tensor) and value.is_inference() for value in given)):
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.set_grad_enabled(not inside and torch.is_grad_enabled()):
            copies = [_normal(value) for value in args]
            return function(*copies, **{key: _normal(value) for key, value in kwargs.items()})  # type: ignore[arg-type]

    return wrapper


def _normal(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value
