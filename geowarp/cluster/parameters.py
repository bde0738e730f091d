"""Checks of an estimator's parameters, and their form in JSON."""

import math
import numbers
from typing import Any

import numpy as np
import torch

from ..errors import GeowarpError

__all__ = ["check_integer", "check_number", "check_optional_bool", "from_json", "to_json"]


def check_integer(name: str, value: object, least: int) -> int:
    """Return an integer of at least ``least``.

    Raises:
        GeowarpError: for anything else.

    Example:
        >>> check_integer("n_clusters", 3, 2)
        3
        >>> check_integer("n_clusters", 1, 2)
        Traceback (most recent call last):
            ...
        geowarp.errors.GeowarpError: n_clusters = 1 must be an integer of at least 2
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise GeowarpError(f"{name} = {value!r} must be an integer of at least {least}")
    return int(value)


def check_number(name: str, value: object, *, zero: bool = False) -> float:
    """Return a positive finite number; with ``zero`` also 0.

    Raises:
        GeowarpError: for anything else.

    Example:
        >>> check_number("learning_rate", 1e-3)
        0.001
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if real else math.nan  # type: ignore[arg-type]
    if not (0 < number < math.inf or (zero and number == 0)):
        raise GeowarpError(f"{name} = {value!r} must be a positive number{', or 0' if zero else ''}")
    return number


def check_optional_bool(name: str, value: object) -> bool | None:
    """Return True, False or None.

    Raises:
        GeowarpError: for anything else.

    Example:
        >>> check_optional_bool("shared_encoder", np.True_)
        True
    """
    if value is not None and not isinstance(value, bool | np.bool_):
        raise GeowarpError(f"{name} = {value!r} must be True, False or None")
    return None if value is None else bool(value)


def to_json(name: str, value: Any) -> Any:
    """Return a parameter as what JSON can hold and ``from_json`` gives back equal.

    Raises:
        GeowarpError: for a value of a type that has no such form.

    Example:
        >>> to_json("widths", (np.int64(3), 4))
        {'tuple': [3, 4]}
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return to_json(name, value.item())
        case list():
            return [to_json(name, part) for part in value]
        case tuple():
            return {"tuple": [to_json(name, part) for part in value]}
        case torch.device():
            return {"device": str(value)}
        case np.random.RandomState():
            kind, keys, *rest = value.get_state(legacy=True)
            return {"RandomState": [kind, np.asarray(keys).tolist(), *rest]}
    raise GeowarpError(
        f"{name} = {value!r} is a {type(value).__name__}, which save cannot write; use joblib.dump"
    )


def from_json(value: Any) -> Any:
    """Return a parameter from what ``to_json`` made of it.

    Example:
        >>> from_json(to_json("widths", (3, [4])))
        (3, [4])
    """
    match value:
        case list():
            return [from_json(part) for part in value]
        case {"tuple": list(parts)}:
            return tuple(from_json(part) for part in parts)
        case {"device": str(name)}:
            return torch.device(name)
        case {"RandomState": list(state)}:
            restored = np.random.RandomState()
            restored.set_state(tuple(state))
            return restored
    return value
