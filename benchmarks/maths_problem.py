"""Problems of ``maths.py``: the rivals that solve one, and how wrong a solution is."""

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath
import numpy as np
import torch

Array = Any
SAMPLE = (1, 2, 5)


@dataclass(frozen=True)
class Rival:
    """One way to a result; ``scale`` is how many times the work of a call the whole problem is."""

    run: Callable[[], Any]
    scale: float = 1.0


@dataclass(frozen=True)
class Problem:
    """A row of the benchmark: ``rivals`` by name, the first one geowarp, and ``error`` of a result."""

    rivals: dict[str, Rival]
    error: Callable[[Array], float]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings that peers emit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def optional(name: str) -> Any:
    """Return a module, or None and a message where it does not import."""
    os.environ.setdefault("GEOMSTATS_BACKEND", "numpy")
    try:
        with quiet():
            return importlib.import_module(name)
    except Exception as error:  # a peer that breaks on this numpy raises what it likes
        print(f"skipped: {name} does not import ({type(error).__name__}: {error})")
        return None


def geomstats(rivals: dict[str, Callable[[], Rival]]) -> dict[str, Rival]:
    """Return the rivals that need geomstats, or none where it does not import."""
    return {} if optional("geomstats") is None else {name: make() for name, make in rivals.items()}


def pyriemann(rivals: dict[str, Callable[[Any], Rival]]) -> dict[str, Rival]:
    """Return the rivals that need ``pyriemann.geometry``, or none where it does not import."""
    module = optional("pyriemann.geometry.mean") and importlib.import_module("pyriemann.geometry")
    return {} if module is None else {name: make(module) for name, make in rivals.items()}


def as_numpy(result: Any) -> Array:
    """Return a result as a numpy array."""
    return result.detach().cpu().numpy() if isinstance(result, torch.Tensor) else np.asarray(result)


def relative_error(result: Array, exact: Callable[[int], Any]) -> float:
    """Return the largest relative error of the first row of a result, over the sample."""
    return max(abs(float(mpmath.mpf(float(result[0, j])) / exact(j) - 1)) for j in SAMPLE)


def exact_matrix(matrix: Any) -> Any:
    """Return the entries, exactly, as a matrix of mpmath."""
    return mpmath.matrix(as_numpy(matrix).tolist())
