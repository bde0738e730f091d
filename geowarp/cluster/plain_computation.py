"""Computation that the caller's modes of torch do not change."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["plain_computation"]

_AUTOCAST = ("cpu", "cuda")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def plain_computation(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Leave autocast, ``torch.inference_mode`` and a default device other than the CPU for a function.

    Example:
        >>> @plain_computation
        ... def product(x):
        ...     return x @ x
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     product(torch.eye(2)).dtype
        torch.float32
    """

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.device("cpu"))
            for device in filter(torch.is_autocast_enabled, _AUTOCAST):
                stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **kwargs)

    return wrapper
