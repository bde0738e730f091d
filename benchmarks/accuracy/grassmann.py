"""Principal angles: the distance and the logarithm of the Grassmann manifold."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import Grassmann

from . import exact, samples
from .norm import norm
from .topic import DTYPES, Case, Topic

__all__ = [
    "TOPICS",
    "arccos",
    "arctan_one_svd",
    "distance",
    "exact_angles",
    "normal_part",
    "pairs",
    "pairs_at",
]

N, K = 10, 3
ANGLES = {
    "1e-8": 1e-8,
    "1e-4": 1e-4,
    "1e-2": 1e-2,
    "1": 1.0,
    "π/2 − 1e-3": math.pi / 2 - 1e-3,
    "π/2 − 1e-6": math.pi / 2 - 1e-6,
}


def normal_part(x: Tensor, y: Tensor) -> Tensor:
    """Return ``(I − x xᵀ) y``, the projection applied twice."""
    for _ in range(2):
        y = y - x @ (x.mT @ y)
    return y


def arccos(x: Tensor, y: Tensor) -> Tensor:
    """``acos σ(xᵀy)``."""
    return norm(torch.linalg.svdvals(x.mT @ y).clamp_max(1).acos())


def arcsin(x: Tensor, y: Tensor) -> Tensor:
    """``asin σ((I − x xᵀ) y)``."""
    return norm(torch.linalg.svdvals(normal_part(x, y)).clamp_max(1).asin())


def arctan_one_svd(x: Tensor, y: Tensor) -> Tensor:
    """``atan2(s, σ)``, σ and A by the SVD of ``yᵀx = A σ Rᵀ``, s the norms of ``(I − x xᵀ) y A``."""
    a, cosine, _ = torch.linalg.svd(y.mT @ x)
    sine = normal_part(x, y @ a).norm(dim=-2)
    return norm(torch.atan2(sine, cosine))


def arctan_two_svds(x: Tensor, y: Tensor) -> Tensor:
    """``atan2`` of the singular values of ``(I − x xᵀ) y`` and of ``xᵀy``, in opposite orders."""
    sine, cosine = torch.linalg.svdvals(normal_part(x, y)), torch.linalg.svdvals(x.mT @ y)
    return norm(torch.atan2(sine, cosine.flip(-1)))


def logarithm_by_inverse(x: Tensor, y: Tensor) -> Tensor:
    """``U atan(Σ) Vᵀ`` of ``(I − x xᵀ) y (xᵀy)⁻¹ = U Σ Vᵀ``."""
    u, s, vh = torch.linalg.svd(
        torch.linalg.solve(x.mT @ y, normal_part(x, y), left=False), full_matrices=False
    )
    vector: Tensor = (u * s.atan()[..., None, :]) @ vh
    return vector


def logarithm_by_arcsin(x: Tensor, y: Tensor) -> Tensor:
    """``U asin(Σ) Vᵀ`` of ``(I − x xᵀ) ŷ``, with ŷ the basis of span(y) nearest to x."""
    a, _, rh = torch.linalg.svd(y.mT @ x)
    u, s, vh = torch.linalg.svd(normal_part(x, y @ (a @ rh)), full_matrices=False)
    vector: Tensor = (u * s.clamp_max(1).asin()[..., None, :]) @ vh
    return vector


def logarithm_one_svd(x: Tensor, y: Tensor) -> Tensor:
    """``H (θ / s) Rᵀ``, H the columns ``(I − x xᵀ) y A`` of norms s, ``θ = atan2(s, σ)``."""
    a, cosine, rh = torch.linalg.svd(y.mT @ x)
    columns = normal_part(x, y @ a)
    sine = columns.norm(dim=-2)
    ratio = torch.where(sine > 0, torch.atan2(sine, cosine) / torch.where(sine > 0, sine, 1), 1)
    vector: Tensor = (columns * ratio[..., None, :]) @ rh
    return vector


def _orthonormal(x: Any) -> Any:
    """Return the nearest orthonormal basis of the same span."""
    return x * exact.apply(x.T * x, lambda value: 1 / mp.sqrt(value))


def _principal(x: Tensor, y: Tensor) -> tuple[Any, Any, list[Any]]:
    """Return vectors along the principal directions at x, turned back to the basis x, and the angles."""
    u, v = _orthonormal(exact.matrix(x)), _orthonormal(exact.matrix(y))
    a, cosine, rt = mp.svd_r(v.T * u)
    return (v - u * (u.T * v)) * a, rt, [mp.acos(c) for c in cosine]


def exact_angles(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact principal angles."""
    return _principal(x, y)[2]


def distance(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact distance of the two spans."""
    return [mp.norm(exact_angles(x, y))]


def logarithm(x: Tensor, y: Tensor) -> list[Any]:
    """Return the exact logarithm."""
    columns, rt, angles = _principal(x, y)
    return exact.entries(columns * mp.diag([angle / mp.sin(angle) for angle in angles]) * rt)


def pairs_at(
    source: torch.Generator, count: int, angle: float, dtype: torch.dtype, aligned: bool
) -> tuple[Tensor, Tensor]:
    """Return bases with principal angles ``angle``, its half and its third, turned alike or differently."""
    q, turn = samples.orthogonal(source, count, N), samples.orthogonal(source, count, K)
    angles = angle / torch.arange(1, K + 1, dtype=torch.float64)
    x = q[..., :K]
    y = x * angles.cos() + q[..., K : 2 * K] * angles.sin()
    other = turn if aligned else samples.orthogonal(source, count, K)
    return (x @ turn).to(dtype), (y @ other).to(dtype)


def pairs(count: int) -> Iterator[Case]:
    """Make pairs at each largest angle."""
    source = samples.generator()
    for name, dtype in DTYPES.items():
        for aligned, (label, angle) in itertools.product([True, False], ANGLES.items()):
            if angle > 10 * torch.finfo(dtype).eps:
                labels = {"dtype": name, "bases": "aligned" if aligned else "turned", "largest angle": label}
                yield Case(labels, pairs_at(source, count, angle, dtype, aligned))


TOPICS = [
    Topic(
        name="grassmann-distance",
        title="Distance on the Grassmann manifold, by largest principal angle",
        why=(
            "acos loses half of the digits at small angles, asin at large ones; atan2 of both is "
            "right at each. The part of y normal to x is taken as that of y − x T, T the orthogonal "
            "polar factor of xᵀy: for bases that are already close, aligned as the optimiser moves "
            "them, nothing is lost to the product x xᵀy, and even the smallest angles keep all "
            "digits."
        ),
        candidates={
            "acos": arccos,
            "asin": arcsin,
            "atan2, two SVDs": arctan_two_svds,
            "atan2, one SVD": arctan_one_svd,
            "geowarp": Grassmann().dist,
        },
        shipped="geowarp",
        cases=pairs,
        exact=distance,
    ),
    Topic(
        name="grassmann-logarithm",
        title="Logarithm on the Grassmann manifold, by largest principal angle",
        why=(
            "The inverse of xᵀy and asin fail where an angle nears π/2, where the logarithm is still "
            "well defined. θ / sin θ as a function of the symmetric matrix of cosines is smooth at "
            "all angles below π, and normal parts of y − x T keep the digits of small ones."
        ),
        candidates={
            "atan of (I − xxᵀ) y (xᵀy)^-1": logarithm_by_inverse,
            "asin, two SVDs": logarithm_by_arcsin,
            "atan2, one SVD": logarithm_one_svd,
            "geowarp": Grassmann().logmap,
        },
        shipped="geowarp",
        cases=pairs,
        exact=logarithm,
        normwise=True,
    ),
]
