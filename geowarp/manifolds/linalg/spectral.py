"""Functions of eigenvalues with divided differences of first and second order, free of cancellation.

Each is a value with the methods of ``SpectralFunction`` and ``second_divided_difference``, for
``symmetric_function`` and ``frechet_derivative``. Relative errors are a few rounding units at every gap
between the arguments, zero included.

References:
    de Boor, Divided differences, Surveys in Approximation Theory 1 (2005), sections 4 (products), 9 (the
    Genocchi-Hermite formula); Higham, Functions of Matrices (2008), section B.16.

Example:
    >>> a, b = torch.tensor(2.0), torch.tensor(2.0 + 1e-6)
    >>> log.divided_difference(a, b), (a.log() - b.log()) / (a - b)
    (tensor(0.5000), tensor(0.5000))
    >>> log.second_divided_difference(a, a, a), Power(3).second_divided_difference(a, a, b)
    (tensor(-0.1250), tensor(6.0000))
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .quadrature import gauss_legendre

__all__ = ["Power", "exp", "inverse", "inverse_sqrt", "log", "log1p", "sqrt"]

_LOG_RATIO = 4.0  # of the largest argument to the smallest, from which the recursion does not cancel
_EXP_GAP = 2.0
_LOG_NODES, _EXP_NODES = gauss_legendre(12), gauss_legendre(10)


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.minimum(low, c), torch.maximum(low, torch.minimum(high, c)), torch.maximum(high, c)


def _log_ratio(low: Tensor, high: Tensor) -> Tensor:
    """Return ``log(high / low)`` to full relative accuracy, also where the ratio overflows."""
    excess = (high - low) / low
    return torch.where(excess < 1e6, excess.log1p(), 2 * (high.sqrt() / low.sqrt()).log())


def _decay(gap: Tensor) -> Tensor:
    """Return ``(1 − e^{−gap}) / gap`` for ``gap >= 0``, 1 at 0."""
    apart = gap > 0
    return torch.where(apart, -torch.expm1(-gap) / torch.where(apart, gap, 1), 1)


def _recursion(first: Tensor, second: Tensor, gap: Tensor, use: Tensor) -> Tensor:
    return (second - first) / torch.where(use, gap, 1)


class _Log:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.log()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        apart = high > low
        return torch.where(apart, _log_ratio(low, high) / torch.where(apart, high - low, 1), 1 / low)

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return ``−∫₀^∞ dt / ((a + t)(b + t)(c + t))``, by 12 nodes, and by recursion of wide triples."""
        low, middle, high = _sorted(a, b, c)
        wide = high > _LOG_RATIO * low
        below, above = self.divided_difference(low, middle), self.divided_difference(middle, high)
        scale = low.sqrt() * high.sqrt()
        x, y, z = (torch.where(wide, 1, value / scale) for value in (low, middle, high))
        total = torch.zeros_like(scale)
        for s, weight in _LOG_NODES:
            r = 1 - s
            total = total - weight * r / ((r * x + s) * (r * y + s) * (r * z + s))
        return torch.where(wide, _recursion(below, above, high - low, wide), total / scale / scale)


class _Log1p:
    """``log(1 + x)``; its quotients are those of the logarithm at 1 + x, whose rounding does not matter."""

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.log1p()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        return log.divided_difference(1 + a, 1 + b)

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return log.second_divided_difference(1 + a, 1 + b, 1 + c)


class _Exp:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.exp()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b).exp() * _decay((a - b).abs())

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        low, middle, high = _sorted(a, b, c)
        return high.exp() * _exp_below(high - low, high - middle)


def _exp_below(far: Tensor, near: Tensor) -> Tensor:
    """Return ``exp[−far, −near, 0]`` for ``far >= near >= 0``.

    It is ``∫₀¹ e^{−u far} (1 − u) decay((1 − u) near) du``, by 10 nodes, and recursion of wide triples.
    """
    wide = far > _EXP_GAP
    below = torch.exp(-near) * _decay(far - near)
    recursion = _recursion(below, _decay(near), far, wide)
    far, near = torch.where(wide, 0, far), torch.where(wide, 0, near)
    total = torch.zeros_like(far)
    for u, weight in _EXP_NODES:
        total = total + weight * (1 - u) * torch.exp(-u * far) * _decay((1 - u) * near)
    return torch.where(wide, recursion, total)


class _Sqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.sqrt()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 / (a.sqrt() + b.sqrt())

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        p, q, r = a.sqrt(), b.sqrt(), c.sqrt()
        return -1 / (p + q) / (q + r) / (r + p)


class _InverseSqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return eigenvalue.rsqrt()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        p, q = a.sqrt(), b.sqrt()
        return -1 / p / q / (p + q)

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        p, q, r = a.sqrt(), b.sqrt(), c.sqrt()
        return (p + q + r) / (p + q) / (q + r) / (r + p) / p / q / r


class _Inverse:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return 1 / eigenvalue

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        return -1 / a / b

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return 1 / a / b / c


@dataclass(frozen=True)
class Power:
    """The function ``x^p`` of positive x, with its divided differences.

    Args:
        exponent: any real number p.

    Example:
        >>> Power(-1).divided_difference(torch.tensor(2.0), torch.tensor(4.0))
        tensor(-0.1250)
    """

    exponent: float

    def __call__(self, eigenvalue: Tensor) -> Tensor:
        """Return ``x^p``."""
        return eigenvalue**self.exponent

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """Return ``p exp[p log a, p log b] log[a, b]``."""
        return self.exponent * self._exp_quotient(a, b) * log.divided_difference(a, b)

    def second_divided_difference(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """Return the second difference of ``exp(p log x)``, or of ``x x^{p−1}`` for p near 1.

        The chain rule is a difference of terms in the ratio ``p : 1``, which cancel for p near 1; the product
        rule ``a g[a, b, c] + g[b, c]``, of terms in the ratio ``p − 2 : 2``, does not.
        """
        low, middle, high = _sorted(a, b, c)
        if not 0.5 < self.exponent < 2:
            return self._chain(low, middle, high)
        rest = Power(self.exponent - 1)
        return low * rest._chain(low, middle, high) + rest.divided_difference(middle, high)

    def _exp_quotient(self, a: Tensor, b: Tensor) -> Tensor:
        gap = abs(self.exponent) * _log_ratio(torch.minimum(a, b), torch.maximum(a, b))
        return torch.maximum(self(a), self(b)) * _decay(gap)

    def _chain(self, low: Tensor, middle: Tensor, high: Tensor) -> Tensor:
        p = self.exponent
        far = abs(p) * _log_ratio(low, high)
        top, end = (high, low) if p >= 0 else (low, high)
        near = abs(p) * _log_ratio(torch.minimum(middle, top), torch.maximum(middle, top))
        second = self(top) * _exp_below(far, torch.minimum(near, far))
        curved = p * p * second * log.divided_difference(low, high) * log.divided_difference(middle, top)
        outer = self._exp_quotient(end, middle)
        return curved + p * outer * log.second_divided_difference(low, middle, high)


log = _Log()
log1p = _Log1p()
exp = _Exp()
sqrt = _Sqrt()
inverse_sqrt = _InverseSqrt()
inverse = _Inverse()
