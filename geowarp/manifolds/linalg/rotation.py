"""Rotations: the nearest one, and their logarithm and angles, accurate from 0 to π."""

import math
from typing import Any

import torch
from torch import Tensor

from .differentiation import once_differentiable
from .elementary import skew, sym
from .exponential import matrix_exp
from .polar import newton_schulz, polar_factor
from .trigonometric import arccos_ratio

__all__ = ["nearest_rotation", "rotation_angles", "rotation_exp", "rotation_log"]


class _NearestRotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix)
        sign = torch.ones_like(s)
        sign[..., -1] = torch.where(torch.linalg.det(u @ vh) < 0, -1.0, 1.0)
        u = u * sign[..., None, :]
        ctx.save_for_backward(matrix, u, s * sign, vh)
        return newton_schulz(u @ vh)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        _, u, s, vh = ctx.saved_tensors
        inner = u.mT @ grad @ vh.mT
        total = s[..., :, None] + s[..., None, :]
        turn = torch.where(total > 0, (inner - inner.mT) / torch.where(total > 0, total, 1), 0)
        result: Tensor = u @ turn @ vh
        return result


def nearest_rotation(matrix: Tensor) -> Tensor:
    """Return the nearest matrix with ``RᵀR = I`` and ``det R = 1``, ``U diag(1, ..., 1, det UVᵀ) Vᵀ``.

    The gradient divides by sums of signed singular values, so it is finite at rotations; it can be
    differentiated once.

    Args:
        matrix: ``(..., n, n)``; where the nearest rotation is not unique, one of them is returned.

    References:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns, IEEE Trans.
        Pattern Anal. Mach. Intell. 13 (1991), lemma.

    Example:
        >>> nearest_rotation(torch.diag(torch.tensor([2.0, 3.0, -1.0])))
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """
    rotation: Tensor = _NearestRotation.apply(matrix)  # type: ignore[no-untyped-call]
    return rotation


def rotation_angles(x: Tensor, y: Tensor) -> Tensor:
    """Return the angles of the rotation ``xᵀy`` in [0, π], one for each of its n eigenvalues, descending.

    They are ``2 atan2(σ_j(x − y), σ_{n+1−j}(x + y))``, accurate at every angle.

    Args:
        x: rotations, ``(..., n, n)``.
        y: rotations, ``(..., n, n)``.

    Example:
        >>> rotation_angles(torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0])))
        tensor([3.1416, 3.1416, 0.0000])
    """
    return 2 * torch.atan2(torch.linalg.svdvals(x - y), torch.linalg.svdvals(x + y).flip(-1))


def rotation_exp(generator: Tensor) -> Tensor:
    """Return the matrix exponential of skew-symmetric matrices ``(..., n, n)``.

    Example:
        >>> rotation_exp(torch.tensor([[0.0, -torch.pi / 6], [torch.pi / 6, 0.0]]))
        tensor([[ 0.8660, -0.5000],
                [ 0.5000,  0.8660]])
    """
    return newton_schulz(matrix_exp(generator))


def _small_angles(symmetric: Tensor, generator: Tensor) -> Tensor:
    """Return ``f(S) K`` for ``f(c) = arccos(c) / √(1 − c²)``, diagonal S and K that commutes with it."""
    factor = arccos_ratio(symmetric)
    return 0.5 * (factor[..., :, None] + factor[..., None, :]) * generator


def _pairs(n: int, like: Tensor) -> Tensor:
    """Return the skew matrix of quarter turns in the planes (0, 1), (2, 3), ...; n is even."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=like.dtype, device=like.device)
    return torch.block_diag(*[turn] * (n // 2)) if n else like.new_zeros(0, 0)


def _split(cosine: Tensor) -> Tensor:
    """Return a mask ``(..., n)`` of the large angles: those above the widest gap, preferably near π/2.

    The cosines ascend, in equal pairs; an unpaired last one is 1.
    """
    planes = cosine.shape[-1] // 2
    angle = 0.5 * (cosine[..., 0 : 2 * planes : 2] + cosine[..., 1 : 2 * planes : 2])
    angle = angle.clamp(-1, 1).arccos()
    zero = torch.zeros_like(cosine[..., :1])
    ends = torch.cat([zero + math.pi, angle, zero], -1)
    gap = (ends[..., :-1] - ends[..., 1:]) * (0.5 * (ends[..., :-1] + ends[..., 1:])).sin()
    first_small = gap.argmax(-1, keepdim=True)
    index = torch.arange(cosine.shape[-1], device=cosine.device)
    return index < 2 * first_small


def _half_turns(generator: Tensor, large: Tensor) -> Tensor:
    """Return the skew orthogonal factor J of K on the large angles: ``K = J |K|``, ``J² = −I``.

    Where K vanishes, at angles of exactly π, J is a quarter turn of consecutive axes.
    """
    n = generator.shape[-1] // 2 * 2
    both = (large[..., :, None] & large[..., None, :])[..., :n, :n]
    turns = _pairs(n, generator)
    noise = 8 * torch.finfo(generator.dtype).eps
    core = torch.where(both, generator[..., :n, :n] + noise * turns, turns)
    factor = skew(polar_factor(core))
    for _ in range(
        6
    ):  # the factor of a nearly singular plane need not be skew; its skew part is not orthogonal
        factor = newton_schulz(factor)
    result = torch.zeros_like(generator)
    result[..., :n, :n] = torch.where(both, factor, 0)
    return result


def _log(departure: Tensor) -> Tensor:
    shift, vectors = torch.linalg.eigh(sym(departure))
    cosine = 1 + shift
    generator = skew(vectors.mT @ skew(departure) @ vectors)
    large = _split(cosine)
    both = large[..., :, None] & large[..., None, :]
    neither = ~large[..., :, None] & ~large[..., None, :]
    small = torch.where(neither, _small_angles(cosine, generator), 0)
    beyond = torch.where(both, math.pi * _half_turns(generator, large) - _small_angles(-cosine, generator), 0)
    return skew(vectors @ (small + beyond) @ vectors.mT)


class _Log(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, departure: Tensor) -> Tensor:
        logarithm = _log(departure)
        ctx.save_for_backward(departure, logarithm)
        return logarithm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        departure, logarithm = ctx.saved_tensors
        grad = skew(grad)
        angle, vectors = torch.linalg.eigh(1j * logarithm)
        half = 0.5 * (angle[..., :, None] - angle[..., None, :])
        limit = math.pi - math.sqrt(torch.finfo(grad.dtype).eps)
        half = half.clamp(-limit, limit)
        even = 1 / torch.sinc(half / math.pi) * half.cos()
        inner = vectors.mH @ grad.to(vectors.dtype) @ vectors
        dual = (vectors @ (even * inner) @ vectors.mH).real
        dual = dual - 0.5 * (logarithm @ grad - grad @ logarithm)
        result: Tensor = dual + departure @ dual
        return result


def rotation_log(departure: Tensor) -> Tensor:
    """Return the skew-symmetric L with ``exp(L) = R`` and angles in [0, π], for ``departure = R − I``.

    With R = S + K, symmetric and skew-symmetric part, the eigenvectors of S split the space at the widest
    gap between the angles. On the side of the small ones ``L = f(S) K``, ``f(c) = arccos(c) / √(1 − c²)``;
    on the other ``L = πJ − f(−S) K``, J the skew orthogonal factor of K. Relative accuracy is kept at small
    angles and absolute accuracy near π. At an angle of π the logarithm is not unique, and is one of its
    values. The gradient is along rotations, is finite at π, and can be differentiated once.

    Args:
        departure: ``R − I``, ``(..., n, n)``; ``xᵀ(y − x)`` for the rotation from x to y.

    References:
        Gallier, Xu, Computing exponentials of skew-symmetric matrices and logarithms of orthogonal matrices,
        Int. J. Robot. Autom. 17 (2002), for the logarithm by planes.

    Example:
        >>> rotation_log(torch.tensor([[-1.0, -1.0], [1.0, -1.0]]))
        tensor([[ 0.0000, -1.5708],
                [ 1.5708,  0.0000]])
    """
    logarithm: Tensor = _Log.apply(departure)  # type: ignore[no-untyped-call]
    return logarithm
