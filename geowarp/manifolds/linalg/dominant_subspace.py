"""The dominant subspace of a weighted sum of projectors, without the n x n matrix."""

import torch
from torch import Tensor

from .broadcasting import broadcast_shapes
from .cholesky_qr import cholesky_qr

__all__ = ["dominant_subspace"]

_NOISE = 0.1


def dominant_subspace(x: Tensor, weights: Tensor, iterations: int = 12) -> Tensor:
    """Return an orthonormal basis ``(..., n, k)`` of the top k eigenvectors of ``Σ w_i x_i x_iᵀ``.

    From the eigenvectors of the ``Nk x Nk`` Gram matrix where ``Nk < n``, and otherwise from p subspace
    iterations, whose error is ``(λ_{k+1} / λ_k)^p``.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        weights: nonnegative, ``(..., N)``.
        iterations: p.

    References:
        Absil, Mahony, Sepulchre, Riemannian geometry of Grassmann manifolds with a view on algorithmic
        computation, Acta Appl. Math. 80 (2004); Srivastava, Klassen, Bayesian and geometric subspace
        tracking, Adv. Appl. Probab. 36 (2004) (the mean of projectors).

    Example:
        >>> x = torch.eye(3)[:, :2]
        >>> dominant_subspace(x[None], torch.ones(1)).abs()
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])
    """
    root = weights.sqrt()[..., None, None]
    count, n, k = x.shape[-3:]
    columns = (root * x).movedim(-3, -2).flatten(-2)
    if count * k < n:
        _, vectors = torch.linalg.eigh(columns.mT @ columns)
        return cholesky_qr(columns @ vectors[..., -k:])
    basis: Tensor = _heaviest(x, weights) + _NOISE / n**0.5 * _normal(x)
    for _ in range(iterations):
        basis = cholesky_qr(columns @ (columns.mT @ basis))
    return basis


def _heaviest(x: Tensor, weights: Tensor) -> Tensor:
    """Return the point of the largest weight."""
    batch = broadcast_shapes(x.shape[:-3], weights.shape[:-1])
    index = weights.argmax(-1).expand(batch)[..., None, None, None]
    heaviest: Tensor = x.expand(*batch, *x.shape[-3:]).take_along_dim(index, -3).squeeze(-3)
    return heaviest


def _normal(x: Tensor) -> Tensor:
    """Return normal entries: a point may be an eigenspace of the sum, which no iteration would leave."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(x.shape[-2:], generator=generator, dtype=x.dtype).to(x.device)
