"""A topic: candidate formulas, the inputs they are tried on, and their exact values by mpmath."""

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

__all__ = ["DTYPES", "Case", "Row", "Topic", "measure", "ratio_to_best", "worst"]

Row = dict[str, Any]
DIGITS = 60
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Case:
    """Inputs, all with the samples along the first dimension, and the first columns of their row."""

    labels: dict[str, str]
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Topic:
    """One formula.

    Args:
        name: short, for the command line.
        title: one line.
        why: why the shipped formula is the one that ships.
        candidates: functions of the inputs of a case, all samples at once.
        shipped: the candidate that calls geowarp.
        cases: makes the cases, with so many samples each.
        exact: the mpmath numbers of one sample, from the exact values of its (rounded) inputs.
        higher_precision: candidates that are beside the comparison, as they work in a wider dtype.
        normwise: whether the error of a sample is that of its norm rather than of each of its numbers.
    """

    name: str
    title: str
    why: str
    candidates: dict[str, Callable[..., Tensor]]
    shipped: str
    cases: Callable[[int], Iterator[Case]]
    exact: Callable[..., Sequence[Any]]
    higher_precision: tuple[str, ...] = ()
    normwise: bool = False


def measure(topic: Topic, samples: int) -> list[Row]:
    """Return one row per case: the largest and the median relative error of every candidate."""
    with mp.workdps(DIGITS):
        return [_row(topic, case) for case in topic.cases(samples)]


def _row(topic: Topic, case: Case) -> Row:
    exact = [topic.exact(*sample) for sample in zip(*case.inputs, strict=True)]
    errors = {}
    for name, candidate in topic.candidates.items():
        values = candidate(*case.inputs).detach().double().reshape(len(exact), -1).tolist()
        found = [e for pair in zip(values, exact, strict=True) for e in _errors(*pair, topic.normwise)]
        errors[name] = {"max": max(found), "median": statistics.median(found)}
    return {"topic": topic.name, **case.labels, "errors": errors}


def _errors(values: list[float], exact: Sequence[Any], normwise: bool) -> list[float]:
    """Return the relative errors of one sample; NaN and infinity count as infinitely wrong."""
    if not all(map(math.isfinite, values)):
        return [math.inf]
    differences = [mp.mpf(value) - e for value, e in zip(values, exact, strict=True)]
    if normwise:
        return [float(mp.norm(differences) / mp.norm(exact))]
    return [float(abs(d / e)) for d, e in zip(differences, exact, strict=True) if e != 0]


def worst(rows: Iterable[Row]) -> list[Row]:
    """Return the largest errors over the last label, which is what a topic varies, one row for all others."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        labels = tuple((key, value) for key, value in row.items() if key != "errors")[:-1]
        errors = found.setdefault(labels, dict(labels) | {"errors": {}})["errors"]
        for name, error in row["errors"].items():
            errors[name] = {"max": max(error["max"], errors[name]["max"] if name in errors else 0.0)}
    return list(found.values())


def ratio_to_best(topic: Topic, row: Row) -> float:
    """Return the largest error of what ships over that of the best candidate, neither below 8 eps."""
    floor = 8 * torch.finfo(DTYPES[row["dtype"]]).eps
    errors = {name: max(error["max"], floor) for name, error in row["errors"].items()}
    beside = {topic.shipped, *topic.higher_precision}
    ratio: float = errors[topic.shipped] / min(error for name, error in errors.items() if name not in beside)
    return ratio
