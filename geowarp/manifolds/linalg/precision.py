"""The precision in which geometry is computed: at least float32, autocast off, contiguous results."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor

__all__ = ["autocast_off", "full_precision", "working_precision"]

_HALF = (torch.float16, torch.bfloat16)


def autocast_off(*values: Any) -> AbstractContextManager[Any]:
    """Return a context without autocast on the device of the first tensor; it does nothing where it is off.

    Example:
        >>> x = torch.eye(2)
        >>> with torch.autocast("cpu", torch.bfloat16), autocast_off(x):
        ...     (x @ x).dtype
        torch.float32
    """
    device = next((value.device.type for value in values if isinstance(value, Tensor)), "meta")
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _restore(result: Any, half: torch.dtype | None) -> Any:
    if isinstance(result, tuple):
        parts = (_restore(part, half) for part in result)
        return type(result)(*parts) if hasattr(result, "_fields") else tuple(parts)
    if not isinstance(result, Tensor):
        return result
    keep = half is None or not result.is_floating_point()
    return (result if keep else result.to(half)).contiguous()


def full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run ``function`` with autocast off and half-precision tensors in float32.

    A half-precision result comes back in the dtype that came in; every tensor result is contiguous.

    Example:
        >>> @full_precision
        ... def gram(x):
        ...     assert x.dtype == torch.float32
        ...     return x.mT @ x
        >>> gram(torch.eye(2, dtype=torch.bfloat16)).dtype
        torch.bfloat16
    """

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor) and a.is_floating_point()]
        all_half = bool(tensors) and all(t.dtype in _HALF for t in tensors)
        if any(t.dtype in _HALF for t in tensors):
            args = tuple(_raise_half(a) for a in args)
            kwargs = {key: _raise_half(a) for key, a in kwargs.items()}
        half = tensors[0].dtype if all_half else None
        with autocast_off(*tensors):
            return _restore(function(*args, **kwargs), half)

    return wrapper


def _raise_half(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


def working_precision(x: Tensor) -> Tensor:
    """Return x in float64, where the device has it.

    Example:
        >>> working_precision(torch.zeros(1)).dtype
        torch.float64
    """
    return x if x.device.type == "mps" else x.double()
