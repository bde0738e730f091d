"""Geodesics of the α-metrics of Stiefel: in all n rows, and in the k + p coordinates that they stay in."""

import torch
from torch import Tensor

from .linalg import newton_schulz, skew, sym
from .linalg.exponential import doublings_for, expm1_stages, matrix_exp

__all__ = ["Geodesic", "exponential", "generator", "lower", "pieces", "reduced_norm"]


def pieces(x: Tensor, u: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ``H, M, N, T`` of the geodesic ``(xM + HN) T`` from ``x`` along ``u``, ``(..., n, k)``.

    With ``A = xᵀu``, ``H = u − xA`` and ``G = HᵀH``:
    ``[M; N] = expm([[A/(α+1), −G], [I, 0]])[:, :k]`` and ``T = expm(αA/(α+1))``, a form without QR, which is
    smooth at every tangent vector.

    Example:
        >>> x, u = torch.eye(2, 1), torch.tensor([[0.0], [1.0]])
        >>> [round(part.item(), 4) for part in pieces(x, u, -0.5)[1:]]
        [0.5403, 0.8415, 1.0]
    """
    vertical = skew(x.mT @ u)
    horizontal = u - x @ (x.mT @ u)
    scale = torch.linalg.matrix_norm(horizontal.detach(), keepdim=True).clamp_min(1)
    gram = horizontal.mT @ horizontal / scale
    eye = scale * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    top = torch.cat([vertical / (alpha + 1), -gram], dim=-1)
    bottom = torch.cat([eye, torch.zeros_like(gram)], dim=-1)
    first = matrix_exp(torch.cat([top, bottom], dim=-2))[..., : x.shape[-1]]
    m, n = first.chunk(2, dim=-2)
    return horizontal, m, n / scale, matrix_exp(vertical * (alpha / (alpha + 1)))


def exponential(x: Tensor, u: Tensor, alpha: float) -> Tensor:
    """Return the geodesic of the metric α from ``x`` along ``u`` at time 1, ``(..., n, k)``.

    Example:
        >>> x, u = torch.eye(2, 1), torch.tensor([[0.0], [1.0]])
        >>> exponential(x, u, alpha=-0.5).squeeze()
        tensor([0.5403, 0.8415])
    """
    horizontal, m, n, turned = pieces(x, u, alpha)
    return newton_schulz((x @ m + horizontal @ n) @ turned)


def lower(x: Tensor, u: Tensor, alpha: float) -> Tensor:
    """Return the Euclidean gradient g with ``tr gᵀv = ⟨u, v⟩`` for every tangent v, of tangent ``u``.

    Example:
        >>> lower(torch.eye(2), torch.tensor([[0.0, -1.0], [1.0, 0.0]]), alpha=0.0)
        tensor([[ 0.0000, -0.5000],
                [ 0.5000,  0.0000]])
    """
    return u - (2 * alpha + 1) / (2 * (alpha + 1)) * x @ (x.mT @ u)


def generator(v: Tensor, alpha: float) -> Tensor:
    """Return the skew ``W = [[A/(α+1), −Rᵀ], [R, 0]]`` of ``v = [A; R]``, ``(..., k + p, k)``.

    Example:
        >>> generator(torch.tensor([[0.0], [1.0]]), alpha=0.0)
        tensor([[ 0., -1.],
                [ 1.,  0.]])
    """
    k = v.shape[-1]
    a, r = v[..., :k, :], v[..., k:, :]
    corner = r.new_zeros((*r.shape[:-1], r.shape[-2]))
    return torch.cat([torch.cat([a / (alpha + 1), -r.mT], -1), torch.cat([r, corner], -1)], -2)


def reduced_norm(v: Tensor, alpha: float) -> Tensor:
    """Return the length of ``v = [A; R]``, ``√(‖A‖²/(2(α+1)) + ‖R‖²)``, ``(...)``.

    Example:
        >>> reduced_norm(torch.tensor([[0.0], [2.0]]), alpha=0.0)
        tensor(2.)
    """
    k = v.shape[-1]
    a, r = v[..., :k, :].square().sum((-2, -1)), v[..., k:, :].square().sum((-2, -1))
    return (a / (2 * (alpha + 1)) + r).sqrt()


def _difference(e: Tensor, t: Tensor) -> Tensor:
    k = t.shape[-1]
    first = e[..., :k]
    moved = first + first @ t
    return torch.cat([moved[..., :k, :] + t, moved[..., k:, :]], dim=-2)


def _join(first: Tensor, second: Tensor) -> Tensor:
    """Return ``expm(W) expm(V) − I`` from ``expm(W) − I`` and ``expm(V) − I``."""
    return first + second + first @ second


class Geodesic:
    """The geodesic from ``[I; 0]`` along ``v = [A; R]``, in the coordinates of a frame of k + p columns.

    It is ``expm(tW) [I; 0] expm(tcA)`` with ``c = α/(α+1)``: an orbit of isometries.

    Args:
        v: ``(..., k + p, k)``, A skew-symmetric.
        alpha: of the metric.

    References:
        Zimmermann, Hüper, Computing the Riemannian logarithm on the Stiefel manifold: metrics, methods and
        performance, SIAM J. Matrix Anal. Appl. 43 (2022), section 3.

    Example:
        >>> Geodesic(torch.tensor([[0.0], [1.0]]), alpha=0.0).difference.squeeze()
        tensor([-0.4597,  0.8415])
    """

    def __init__(self, v: Tensor, alpha: float) -> None:
        count = doublings_for(4 * max(1.0, 1 / (1 + alpha)))
        right = v[..., : v.shape[-1], :] * (alpha / (alpha + 1))
        self.v, self.alpha = v, alpha
        self._left = expm1_stages(generator(v, alpha), count)
        self._right = expm1_stages(right, count) if alpha != 0 else [right] * (count + 1)
        self.difference = _difference(self.left, self.right)
        """The end minus ``[I; 0]``, to relative accuracy."""

    @property
    def left(self) -> Tensor:
        """``expm(W) − I``."""
        return self._left[0]

    @property
    def right(self) -> Tensor:
        """``expm(cA) − I``."""
        return self._right[0]

    @property
    def velocity(self) -> Tensor:
        """The velocity at the end."""
        moved = self.v + self.left @ self.v
        return moved + moved @ self.right

    def points(self) -> list[Tensor]:
        """Return the points at times 3/4, 1/2 and 1/4."""
        eye = torch.eye(*self.v.shape[-2:], dtype=self.v.dtype, device=self.v.device)
        (_, e2, e1, *_), (_, t2, t1, *_) = self._left, self._right
        pairs = [(_join(e2, e1), _join(t2, t1)), (e2, t2), (e1, t1)]
        return [eye + _difference(e, t) for e, t in pairs]

    def tangent(self, gap: Tensor) -> Tensor:
        """Return the orthogonal projection of ``gap`` to the tangent space at the end."""
        eye = torch.eye(*self.v.shape[-2:], dtype=self.v.dtype, device=self.v.device)
        end = eye + self.difference
        return gap - end @ sym(end.mT @ gap)
