"""Random subspaces, a rotation of their bases, and what layers of subspaces must satisfy."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Layer = Callable[[Tensor], Tensor]


def subspaces(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return random orthonormal bases ``(..., n, k)``."""
    q: Tensor = torch.linalg.qr(torch.randn(shape, dtype=torch.float64))[0]
    return q.to(dtype)


def orthogonal(*batch: int, k: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return random orthogonal matrices ``(..., k, k)``, with determinants of both signs."""
    return subspaces(*batch, k, k, dtype=dtype) * torch.randn(*batch, 1, k).sign().to(dtype)


def projector(u: Tensor) -> Tensor:
    """Return ``UUᵀ``, which stands for the subspace: equal for equal spans."""
    return u @ u.mT


def assert_invariant(
    function: Layer, u: Tensor, output: Layer = lambda y: y, *, atol: float = 1e-10, rtol: float = 1e-9
) -> None:
    """Check that value and gradient of ``output(function(u))`` depend on span(u) only.

    The value of ``u Q`` is that of u, and its gradient is that of u times Q.

    Args:
        function: of orthonormal bases ``(..., n, k)``.
        u: such bases.
        output: applied to the value; ``projector`` where the value is a basis itself.
        atol: absolute tolerance.
        rtol: relative tolerance.
    """
    q = orthogonal(*u.shape[:-2], k=u.shape[-1], dtype=u.dtype)
    first, second = u.detach().clone().requires_grad_(), (u.detach() @ q).requires_grad_()
    value, turned = output(function(first)), output(function(second))
    torch.testing.assert_close(turned, value, atol=atol, rtol=rtol)
    cotangent = torch.randn_like(value)
    (gradient,) = torch.autograd.grad(value, first, cotangent)
    (gradient_of_turned,) = torch.autograd.grad(turned, second, cotangent)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient_of_turned, gradient @ q, atol=atol, rtol=rtol)


class Sizes(TorchDispatchMode):
    """Records the number of entries of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        parts = out if isinstance(out, (tuple, list)) else (out,)
        self.largest = max([self.largest, *(t.numel() for t in parts if isinstance(t, Tensor))])
        return out


def largest_tensor(function: Layer, *inputs: Tensor) -> int:
    """Return the number of entries of the largest tensor in the forward and backward pass."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    sizes = Sizes()
    with sizes:
        function(*leaves).sum().backward()
    return sizes.largest
