"""Entire functions ``cos √x``, ``sin √x / √x``, ``(1 − cos √x) / x``, and ``arccos c / √(1 − c²)``.

All are integrals ``∫₀¹ w(t) h(x, t) dt`` of a function whose divided difference in x has a closed form, so
their own divided differences are Gauss–Legendre sums of smooth terms, without cancellation.
"""

import torch
from torch import Tensor

from .elementary import sinc
from .quadrature import gauss_legendre

__all__ = ["arccos_ratio", "cos_sqrt", "sinc_sqrt", "versine_sqrt"]

_SINE_NODES, _ARCCOS_NODES = gauss_legendre(24), gauss_legendre(14)


def _root(x: Tensor) -> Tensor:
    return x.clamp_min(0).sqrt()


def _cosine_quotient(a: Tensor, b: Tensor, t: float) -> Tensor:
    mean, half = 0.5 * (_root(a) + _root(b)), 0.5 * (_root(a) - _root(b))
    return -0.5 * t * t * sinc(t * mean) * sinc(t * half)


class _CosSqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return _root(eigenvalue).cos()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        return _cosine_quotient(a, b, 1.0)


class _SincSqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return sinc(_root(eigenvalue))

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros_like(a + b)
        for t, weight in _SINE_NODES:
            total = total + weight * _cosine_quotient(a, b, t)
        return total


class _VersineSqrt:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        return 0.5 * sinc(0.5 * _root(eigenvalue)).square()

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros_like(a + b)
        for t, weight in _SINE_NODES:
            total = total + weight * (1 - t) * _cosine_quotient(a, b, t)
        return total


class _ArccosRatio:
    def __call__(self, eigenvalue: Tensor) -> Tensor:
        c = eigenvalue.clamp(-1, 1)
        sine = ((1 - c) * (1 + c)).sqrt()
        return torch.where(sine > 0, c.arccos() / torch.where(sine > 0, sine, 1), 1)

    def divided_difference(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros_like(a + b)
        for t, weight in _ARCCOS_NODES:
            even, odd = 1 + t * t, 1 - t * t
            total = total - 2 * weight * odd / ((even + odd * a) * (even + odd * b))
        return total


cos_sqrt = _CosSqrt()
sinc_sqrt = _SincSqrt()
versine_sqrt = _VersineSqrt()
arccos_ratio = _ArccosRatio()
