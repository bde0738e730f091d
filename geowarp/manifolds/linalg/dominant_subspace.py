"""The dominant subspace of a weighted sum of projectors, without the n x n matrix."""

import torch
from torch import Tensor

from .cholesky_qr import cholesky_qr

__all__ = ["dominant_subspace"]

_ITERATIONS = 12


def dominant_subspace(x: Tensor, weights: Tensor) -> Tensor:
    """Return an orthonormal basis ``(..., n, k)`` of the top k eigenvectors of ``Σ w_i x_i x_iᵀ``.

    From the eigenvectors of the ``Nk x Nk`` Gram matrix where ``Nk < n``, and otherwise from 12 subspace
    iterations, whose error is ``(λ_{k+1} / λ_k)^12``.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        weights: nonnegative, ``(..., N)``.

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
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(n, k, generator=generator, dtype=x.dtype).to(x.device)
    for _ in range(_ITERATIONS):
        basis = cholesky_qr(columns @ (columns.mT @ basis))
    return basis
