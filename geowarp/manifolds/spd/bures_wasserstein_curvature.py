"""The curvature of the Bures–Wasserstein metric, of which flat space is the total space."""

from torch import Tensor

from ..linalg.lyapunov import lyapunov

__all__ = ["curvature_of_quotient"]


def curvature_of_quotient(p: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return ``R(u, v) w`` of ``P = A Aᵀ``, ``(..., n, n)``, by O'Neill's formula.

    The horizontal lift of u is ``X A`` with ``X = L_P(u)``. The vertical part of the derivative of that of v
    along it is ``P W A`` with the skew-symmetric ``W(u, v) = L_P([Y, X])``, ``Y = L_P(v)``. With
    ``T(W, u) = P W P X − X P W P``:

    ``R(u, v) w = T(W(v, w), u) − T(W(u, w), v) − 2 T(W(u, v), w)``.

    References:
        O'Neill, The fundamental equations of a submersion, Michigan Math. J. 13 (1966), theorem 2; Massart,
        Hendrickx, Absil, Curvature of the manifold of fixed-rank positive-semidefinite matrices endowed with
        the Bures–Wasserstein metric, Geometric Science of Information (2019).

    Example:
        >>> u, v = torch.tensor([[1.0, 0.0], [0.0, -1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> curvature_of_quotient(torch.eye(2), u, v, v)
        tensor([[ 0.7500,  0.0000],
                [ 0.0000, -0.7500]])
    """
    x, y, z = (lyapunov(p, part) for part in (u, v, w))
    first = _turned(p, _vertical(p, y, z), x)
    second = _turned(p, _vertical(p, x, z), y)
    return first - second - 2 * _turned(p, _vertical(p, x, y), z)


def _vertical(p: Tensor, x: Tensor, y: Tensor) -> Tensor:
    product = y @ x
    return lyapunov(p, product - product.mT)


def _turned(p: Tensor, w: Tensor, x: Tensor) -> Tensor:
    product = p @ w @ p @ x
    return product + product.mT
