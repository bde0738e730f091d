"""Divided differences ``(f(a) − f(b)) / (a − b)`` of functions of eigenvalues."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds.linalg import spectral

from . import samples
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

GAPS = {
    "float32": [1e0, 1e-1, 1e-2, 1e-4, 1e-6, 1e-16],
    "float64": [1e0, 1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14, 1e-16],
}
Function = Callable[[Tensor], Tensor]
Quotient = Callable[[Tensor, Tensor], Tensor]


def naive(f: Function, derivative: Function) -> Quotient:
    """The quotient, and the derivative at equal arguments."""

    def quotient(a: Tensor, b: Tensor) -> Tensor:
        equal = a == b
        return torch.where(equal, derivative(a), (f(a) - f(b)) / torch.where(equal, 1, a - b))

    return quotient


def threshold(f: Function, derivative: Function) -> Quotient:
    """The quotient, and the mean of the derivatives where the relative gap is below 100 eps."""

    def quotient(a: Tensor, b: Tensor) -> Tensor:
        close = (a - b).abs() <= 100 * torch.finfo(a.dtype).eps * torch.maximum(a.abs(), b.abs())
        mean = 0.5 * (derivative(a) + derivative(b))
        return torch.where(close, mean, (f(a) - f(b)) / torch.where(close, 1, a - b))

    return quotient


def root_threshold(f: Function, derivative: Function) -> Quotient:
    """The quotient, and the derivative at the mean where the relative gap is below ``∛eps``."""

    def quotient(a: Tensor, b: Tensor) -> Tensor:
        close = (a - b).abs() <= torch.finfo(a.dtype).eps ** (1 / 3) * torch.maximum(a.abs(), b.abs())
        middle = derivative(0.5 * (a + b))
        return torch.where(close, middle, (f(a) - f(b)) / torch.where(close, 1, a - b))

    return quotient


def log_by_log1p(a: Tensor, b: Tensor) -> Tensor:
    """``log1p(d/b) / d``, d = a − b, b the smaller one."""
    low, d = torch.minimum(a, b), (a - b).abs()
    return torch.where(d > 0, (d / low).log1p() / torch.where(d > 0, d, 1), 1 / low)


def log_by_atanh(a: Tensor, b: Tensor) -> Tensor:
    """``2 artanh(z) / d``, z = d / (a + b)."""
    d = a - b
    return torch.where(d != 0, 2 * (d / (a + b)).atanh() / torch.where(d != 0, d, 1), 2 / (a + b))


def exp_by_expm1(a: Tensor, b: Tensor) -> Tensor:
    """``e^b expm1(d) / d``, d = a − b."""
    d = a - b
    return b.exp() * torch.where(d != 0, d.expm1() / torch.where(d != 0, d, 1), 1)


def exp_by_sinh(a: Tensor, b: Tensor) -> Tensor:
    """``e^{(a+b)/2} sinh(h) / h``, h = (a − b)/2."""
    h = 0.5 * (a - b)
    return (0.5 * (a + b)).exp() * torch.where(h != 0, h.sinh() / torch.where(h != 0, h, 1), 1)


def sqrt_closed(a: Tensor, b: Tensor) -> Tensor:
    """``1 / (√a + √b)``."""
    return 1 / (a.sqrt() + b.sqrt())


def inverse_sqrt_closed(a: Tensor, b: Tensor) -> Tensor:
    """``−1 / (√a √b (√a + √b))``."""
    p, q = a.sqrt(), b.sqrt()
    return -1 / (p * q * (p + q))


def pairs(count: int) -> Iterator[Case]:
    """Make pairs of arguments between 0.1 and 10 at each relative gap."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for gap in GAPS[name]:
            a = (10 ** (2 * torch.rand(10 * count, generator=source, dtype=torch.float64) - 1)).to(dtype)
            b = (a.double() * (1 + gap)).to(dtype)
            yield Case({"dtype": name, "gap": f"{gap:.0e}"}, (a, b))


def exact_quotient(f: Callable[[Any], Any], derivative: Callable[[Any], Any]) -> Callable[..., list[Any]]:
    """Return the exact divided difference of two arguments."""

    def quotient(a: Tensor, b: Tensor) -> list[Any]:
        x, y = mp.mpf(a.item()), mp.mpf(b.item())
        return [derivative(x) if x == y else (f(x) - f(y)) / (x - y)]

    return quotient


def topic(
    name: str,
    why: str,
    function: tuple[Function, Function],
    closed: dict[str, Quotient],
    value: Any,
    exact: Any,
) -> Topic:
    """Return the topic of one function, given with its derivative, in torch and in mpmath."""
    return Topic(
        name=f"divided-difference-{name.replace(' ', '-')}",
        title=f"Divided difference of {name}, by relative gap",
        why=why,
        candidates={
            "naive": naive(*function),
            "threshold 100 eps": threshold(*function),
            "threshold eps^1/3": root_threshold(*function),
            **closed,
            "geowarp": value.divided_difference,
        },
        shipped="geowarp",
        cases=pairs,
        exact=exact_quotient(*exact),
    )


TOPICS = [
    topic(
        "log",
        "log1p of the relative gap over the gap has the error of log1p at every gap. A threshold "
        "has to choose between cancellation on one side and truncation on the other.",
        (torch.log, torch.reciprocal),
        {"log1p": log_by_log1p, "artanh": log_by_atanh},
        spectral.log,
        (mp.log, lambda x: 1 / x),
    ),
    topic(
        "exp",
        "e^b expm1(a − b)/(a − b) has the error of expm1; the symmetric form with sinh multiplies "
        "the rounding of (a + b)/2 by its size.",
        (torch.exp, torch.exp),
        {"expm1": exp_by_expm1, "sinh": exp_by_sinh},
        spectral.exp,
        (mp.exp, mp.exp),
    ),
    topic(
        "sqrt",
        "a − b cancels against (√a − √b)(√a + √b): no difference is left.",
        (torch.sqrt, lambda x: 0.5 * x.rsqrt()),
        {"1/(√a + √b)": sqrt_closed},
        spectral.sqrt,
        (mp.sqrt, lambda x: 1 / (2 * mp.sqrt(x))),
    ),
    topic(
        "inverse sqrt",
        "As for the root: no difference is left.",
        (torch.rsqrt, lambda x: -0.5 * x.rsqrt() / x),
        {"−1/(√a √b (√a + √b))": inverse_sqrt_closed},
        spectral.inverse_sqrt,
        (lambda x: 1 / mp.sqrt(x), lambda x: -1 / (2 * x * mp.sqrt(x))),
    ),
]
