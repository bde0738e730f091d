"""Rotations that move the first k unit vectors along a geodesic of Grassmann, and gyro-sums by them."""

from collections.abc import Callable

import torch
from torch import Tensor

from .grassmann_distance import logarithm
from .linalg import newton_schulz
from .linalg.eigenfunction import symmetric_function
from .linalg.threads import over_threads
from .linalg.trigonometric import cos_sqrt, sinc_sqrt, versine_sqrt

__all__ = ["direction_to", "geodesic_rotation", "scaled", "total"]


def direction_to(x: Tensor) -> Tensor:
    """Return the lower block B ``(..., n − k, k)`` of the logarithm of span(x) at the first k unit vectors.

    The upper block of that is 0.

    Example:
        >>> direction_to(torch.tensor([[0.0], [0.6], [0.8]])).abs()
        tensor([[0.9425],
                [1.2566]])
    """
    n, k = x.shape[-2:]
    start = torch.eye(n, k, dtype=x.dtype, device=x.device)
    return logarithm(start, x)[..., k:, :]


def geodesic_rotation(b: Tensor) -> Callable[[Tensor], Tensor]:
    """Return ``y ↦ expm(Ω) y`` for ``Ω = [[0, −Bᵀ], [B, 0]]``, in k x k Gram form.

    With ``G = BᵀB`` and ``y = [y₁; y₂]`` it is
    ``[cos√G y₁ − sinc√G Bᵀy₂; y₂ + B (sinc√G y₁ − (1 − cos√G) G⁻¹ Bᵀy₂)]``.

    Args:
        b: ``(..., n − k, k)``; y is ``(..., n, p)``.

    Example:
        >>> geodesic_rotation(torch.tensor([[torch.pi / 6]]))(torch.eye(2))
        tensor([[ 0.8660, -0.5000],
                [ 0.5000,  0.8660]])
    """
    k, gram = b.shape[-1], b.mT @ b
    with torch.no_grad():
        known = over_threads(torch.linalg.eigh, gram)
    cosine, sine, versine = (
        symmetric_function(gram, function, decomposition=known)
        for function in (cos_sqrt, sinc_sqrt, versine_sqrt)
    )

    def rotation(y: Tensor) -> Tensor:
        top, rest = y[..., :k, :], y[..., k:, :]
        across = b.mT @ rest
        lower = rest + b @ (sine @ top - versine @ across)
        return torch.cat([cosine @ top - sine @ across, lower], dim=-2)

    return rotation


def total(x: Tensor, y: Tensor) -> Tensor:
    """Return the basis ``expm(Ω_x) y`` of the gyro-sum of two subspaces, ``(..., n, k)``.

    Example:
        >>> total(torch.tensor([[0.8], [0.6]]), torch.tensor([[0.8], [0.6]]))
        tensor([[0.2800],
                [0.9600]])
    """
    return newton_schulz(geodesic_rotation(direction_to(x))(y))


def scaled(t: Tensor, x: Tensor) -> Tensor:
    """Return the basis at t times the distance of span(x) from the first k unit vectors, ``(..., n, k)``.

    Args:
        t: ``(..., 1, 1)``.
        x: ``(..., n, k)``.

    Example:
        >>> scaled(torch.full((1, 1), 2.0), torch.tensor([[0.8], [0.6]]))
        tensor([[0.2800],
                [0.9600]])
    """
    n, k = x.shape[-2:]
    start = torch.eye(n, k, dtype=x.dtype, device=x.device)
    return newton_schulz(geodesic_rotation(t * direction_to(x))(start))
