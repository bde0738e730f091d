"""Hyperbolic distances of all pairs of two sets of points of the ball, in blocks that fit the cache."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .broadcasting import broadcast_shapes
from .differentiation import once_differentiable

__all__ = ["pairwise_arc_length"]

# ‖x − y‖² / (‖x‖² + ‖y‖²) below which x² + y² − 2xy is not the square to the accuracy of the result
_CLOSE = 3e-2
_CLOSE_IN_FLOAT64 = 1e-8  # the same for a float32 result of a float64 product
_BLOCK = {"cpu": 1 << 19}  # of pairs at once
_BLOCK_ELSEWHERE = 1 << 24
_ENTRIES = 1 << 22  # of the differences of close pairs at once


class _Points(NamedTuple):
    """Points ``(P, N, n)``, the same about the common centre, and their factors ``(P, N, 1)``."""

    points: Tensor
    centred: Tensor
    factor: Tensor

    def take(self, at: Any) -> "_Points":
        return _Points(*(part[at] for part in self))

    def square(self) -> Tensor:
        return self.factor * self.centred.square().sum(-1, keepdim=True)


class _Pairs(NamedTuple):
    """Two sets, and matrices whose product is ``2 a_i b_j ‖x_i − y_j‖²``."""

    x: _Points
    y: _Points
    left: Tensor
    right: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> "_Pairs":
        """Return the pairs of ``(P, N, n)`` and ``(P, M, n)`` with factors ``(P, N)`` and ``(P, M)``."""
        total = x.sum(-2, keepdim=True) + y.sum(-2, keepdim=True)
        centre = total / max(1, x.shape[-2] + y.shape[-2])
        first, second = (_Points(p, p - centre, f[..., None]) for p, f in ((x, a), (y, b)))
        left = torch.cat([-2 * first.factor * first.centred, first.square(), first.factor], -1)
        right = torch.cat([second.factor * second.centred, second.factor, second.square()], -1)
        return cls(first, second, 2 * left, right)

    def blocks(self) -> Iterator[tuple[tuple[slice, slice], "_Pairs"]]:
        """Yield slices of problems and rows, of about a block of pairs each, and their pairs."""
        (problems, rows), columns = self.left.shape[:2], self.right.shape[1]
        if not problems * rows * columns:
            return
        size = _BLOCK.get(self.left.device.type, _BLOCK_ELSEWHERE)
        step = min(rows, max(1, size // columns))
        many = max(1, size // (columns * rows))
        for p in range(0, problems, many):
            for i in range(0, rows, step):
                at = slice(p, p + many), slice(i, i + step)
                yield at, _Pairs(self.x.take(at), self.y.take(at[0]), self.left[at], self.right[at[0]])

    def close(self, rise: Tensor, ratio: float) -> Tensor:
        """Return indices ``(3, count)`` of the pairs for which the product has cancelled."""
        left, right = ratio * self.left[..., -2:], self.right[..., -2:]
        if rise.amin() > (left.amax((0, 1)) * right.amax((0, 1))).sum():
            return torch.zeros(3, 0, dtype=torch.long, device=rise.device)
        return (rise <= left @ right.mT).nonzero().T

    def differences(self, close: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Yield p, i, j, ``x_i − y_j`` and ``a_i b_j`` of close pairs, few enough at a time."""
        for part in close.split(max(1, _ENTRIES // max(1, self.x.points.shape[-1])), dim=1):
            p, i, j = part.unbind(0)
            scale = (self.x.factor[p, i] * self.y.factor[p, j]).squeeze(-1)
            yield p, i, j, self.x.points[p, i] - self.y.points[p, j], scale


def _arcosh1p(rise: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``arcosh(1 + f)``, twice the ``arsinh`` of ``√(f/2)``."""
    root = (rise + 2).mul_(rise).sqrt_().add_(rise)
    return torch.log1p(root, out=root if out is None else out)


class _PairwiseArcLength(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
        close = []
        ratio = _CLOSE if x.dtype == dtype else _CLOSE_IN_FLOAT64
        value = torch.empty(*a.shape, b.shape[-1], dtype=dtype, device=x.device)
        for at, pairs in _Pairs.of(x, y, a, b).blocks():
            rise, target = pairs.left @ pairs.right.mT, value[at]
            close.append(pairs.close(rise, ratio))
            _arcosh1p(rise.to(dtype), out=target)
            for p, i, j, difference, scale in pairs.differences(close[-1]):
                target[p, i, j] = _arcosh1p(2 * scale * difference.square().sum(-1)).to(dtype)
        ctx.save_for_backward(x, y, a, b, value, *close)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, a, b, value, *close = ctx.saved_tensors
        to = _Gradients(*(torch.zeros_like(tensor) for tensor in (x, y, a, b)))
        for (at, pairs), near in zip(_Pairs.of(x, y, a, b).blocks(), close, strict=True):
            to.block(at).add(pairs, value[at].to(x.dtype), grad[at].to(x.dtype), near)
        return *to, None


class _Gradients(NamedTuple):
    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor

    def block(self, at: tuple[slice, slice]) -> "_Gradients":
        return _Gradients(self.x[at], self.y[at[0]], self.a[at], self.b[at[0]])

    def add(self, pairs: _Pairs, value: Tensor, grad: Tensor, close: Tensor) -> None:
        """Add those of a block of values D: ``4ab / sinh(D) (x − y)`` and ``tanh(D/2) / a``."""
        a, b = pairs.x.factor, pairs.y.factor.mT
        tilt = grad * (0.5 * value).tanh()
        self.a.add_((tilt / a).sum(-1))
        self.b.add_((tilt / b).sum(-2))
        pull = torch.where(value > 0, grad / value.sinh(), 0).mul_(4 * a).mul_(b)
        for p, i, j, difference, _ in pairs.differences(close):
            weighted = pull[p, i, j, None] * difference
            self.x.index_put_((p, i), weighted, accumulate=True)
            self.y.index_put_((p, j), -weighted, accumulate=True)
            pull[p, i, j] = 0
        self.x.add_(pull.sum(-1, keepdim=True) * pairs.x.centred - pull @ pairs.y.centred)
        self.y.add_(pull.sum(-2)[..., None] * pairs.y.centred - pull.mT @ pairs.x.centred)


def pairwise_arc_length(x: Tensor, y: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``2 arsinh(√(a_i b_j) ‖x_i − y_j‖)``, ``(..., N, M)``.

    One product gives the squares of all differences; pairs for which that cancels are computed from their
    differences. Memory is that of the result and of a block of pairs. The gradient is 0 where two points are
    equal; it can be differentiated once.

    Args:
        x: ``(..., N, n)``.
        y: ``(..., M, n)``.
        a: ``(..., N)``.
        b: ``(..., M)``.
        dtype: of the result; for float32, float64 arguments make close pairs rare.

    Example:
        >>> x, a = torch.tensor([[0.0], [0.5]]), torch.tensor([1.0, 4 / 3])
        >>> pairwise_arc_length(x, x, a, a, torch.float32)
        tensor([[0.0000, 1.0986],
                [1.0986, 0.0000]])
    """
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2], a.shape[:-1], b.shape[:-1])
    sets = (p.expand(*batch, *p.shape[-2:]).reshape(batch.numel(), *p.shape[-2:]) for p in (x, y))
    factors = (f.expand(*batch, f.shape[-1]).reshape(batch.numel(), f.shape[-1]) for f in (a, b))
    value: Tensor = _PairwiseArcLength.apply(*sets, *factors, dtype)  # type: ignore[no-untyped-call]
    return value.reshape(*batch, x.shape[-2], y.shape[-2])
