"""The comparison of Jacobians with differences fails where a derivative of first or second order is wrong."""

from typing import Any

import pytest
import torch
from jacobians import assert_jacobian, assert_second_derivatives
from torch import Tensor


def wrong(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x³ y`` whose slope in one entry of y is too small by 1 %."""
    held = torch.tensor([1.0, 0.99], dtype=torch.float64)
    return x**3 * (y * held + (y * (1 - held)).detach())


class Square(torch.autograd.Function):
    """The square; its gradient is right, and that of its gradient 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient: Tensor = 2 * x.detach() * gradients[0]
        return gradient


def kept_square(x: Tensor) -> Tensor:
    value: Tensor = Square.apply(x)  # type: ignore[no-untyped-call]
    return value


def test_right_derivatives_pass_and_wrong_ones_fail() -> None:
    x, y = (torch.rand(3, 2, dtype=torch.float64).add(0.5).requires_grad_() for _ in range(2))
    assert_jacobian(lambda a, b: a**3 * b, x, y)
    assert_second_derivatives(lambda a, b: (a**3 * b).sum(-1), x, y)
    with pytest.raises((AssertionError, RuntimeError)):
        assert_jacobian(wrong, x, y)
    torch.testing.assert_close(kept_square(x), x.square())
    assert_jacobian(kept_square, x)
    with pytest.raises((AssertionError, RuntimeError)):
        assert_second_derivatives(kept_square, x)
