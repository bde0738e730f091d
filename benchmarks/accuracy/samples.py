"""Random inputs, made in float64 from a fixed seed and rounded to the dtype at the end."""

import torch
from torch import Tensor

__all__ = ["generator", "normal", "orthogonal", "spd", "spd_near", "symmetric", "unit", "with_eigenvalues"]


def generator() -> torch.Generator:
    """Return a generator of the same numbers each time."""
    return torch.Generator().manual_seed(0)


def normal(source: torch.Generator, *shape: int) -> Tensor:
    """Return standard normal numbers in float64."""
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def unit(source: torch.Generator, *shape: int) -> Tensor:
    """Return random unit vectors."""
    x = normal(source, *shape)
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length


def orthogonal(source: torch.Generator, count: int, n: int) -> Tensor:
    """Return random orthogonal matrices."""
    q: Tensor = torch.linalg.qr(normal(source, count, n, n)).Q
    return q


def with_eigenvalues(source: torch.Generator, eigenvalues: Tensor) -> Tensor:
    """Return matrices of these eigenvalues, symmetric to the last bit."""
    q = orthogonal(source, *eigenvalues.shape)
    return symmetric((q * eigenvalues[:, None, :]) @ q.mT)


def spd(source: torch.Generator, count: int, n: int, condition: float) -> Tensor:
    """Return matrices with eigenvalues from ``1 / condition`` to 1, log-uniform between them."""
    exponents = torch.rand(count, n, generator=source, dtype=torch.float64)
    exponents[:, 0], exponents[:, 1] = 0, 1
    return with_eigenvalues(source, condition**-exponents)


def spd_near(source: torch.Generator, a: Tensor, distance: float) -> Tensor:
    """Return matrices at the affine-invariant distance from ``a``."""
    values = normal(source, *a.shape[:2])
    values = distance * values / values.norm(dim=-1, keepdim=True)
    factor = torch.linalg.cholesky(a)
    growth = with_eigenvalues(source, torch.expm1(values))
    return symmetric(a + factor @ growth @ factor.mT)


def symmetric(a: Tensor) -> Tensor:
    """Return the lower triangle, mirrored."""
    return a.tril() + a.tril(-1).mT
