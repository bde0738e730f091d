"""numpy arrays as arguments and results of functions of torch tensors."""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import GeowarpError

__all__ = ["Array", "accepts_arrays", "tensors"]

Array = TypeVar("Array", Tensor, NDArray[Any])
"""A tensor, or a numpy array: all array arguments of a call are of one kind, and so is its result."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def accepts_arrays(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function of tensors take numpy arrays as well; its result is then made of numpy arrays.

    Arrays of integers become float64, floating-point ones keep their dtype. The fields of tuples, named or
    not, are converted one by one. Tensors go through untouched, on any device. With arrays no gradient is
    recorded.

    Raises:
        GeowarpError: for a numpy array beside a tensor, and for an array that is not of real numbers.

    Example:
        >>> import numpy as np
        >>> @accepts_arrays
        ... def double(x):
        ...     return 2 * x
        >>> double(np.array([1, 2]))
        array([2., 4.])
        >>> double(torch.tensor([1, 2]))
        tensor([2, 4])
    """
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if not any(isinstance(value, np.ndarray) for value in _leaves((args, tuple(kwargs.values())))):
            return function(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        _refuse_mixture(function.__name__, arguments)
        tensor_args = tuple(_to_tensor(function.__name__, value) for value in args)
        tensor_kwargs = {key: _to_tensor(function.__name__, value) for key, value in kwargs.items()}
        with torch.no_grad():
            result = function(*tensor_args, **tensor_kwargs)
        converted: Result = _to_array(result)
        return converted

    return wrapper


def tensors(*values: object) -> Any:
    """Return the values themselves, one or a tuple: ``Array`` arguments are tensors inside of the function.

    For the type checker alone, which takes ``Array`` for either kind there.

    Example:
        >>> tensors(torch.ones(1), None)
        (tensor([1.]), None)
    """
    return values[0] if len(values) == 1 else values


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _refuse_mixture(function: str, arguments: dict[str, object]) -> None:
    arrays, others = (
        [name for name, value in arguments.items() if any(isinstance(leaf, kind) for leaf in _leaves(value))]
        for kind in (np.ndarray, Tensor)
    )
    if others:
        array, tensor = arrays[0], others[0]
        raise GeowarpError(
            f"{function}: {array} is a numpy array and {tensor} a torch tensor; pass "
            f"torch.as_tensor({array}), or {tensor}.numpy()"
        )


def _to_tensor(function: str, value: Any) -> Any:
    if type(value) in (tuple, list):
        return type(value)(_to_tensor(function, part) for part in value)
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "iu":
        value = value.astype(np.float64)
    if value.dtype.kind not in "fb" or value.dtype.itemsize > 8:
        raise GeowarpError(
            f"{function}: an array has the dtype {value.dtype}; convert it, .astype(numpy.float64)"
        )
    native = value.astype(value.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.require(native, requirements=["C", "W"]))  # it has no negative strides


def _to_array(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result.detach().cpu().numpy()
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(_to_array, result))
    if type(result) in (tuple, list):
        return type(result)(map(_to_array, result))
    return result
