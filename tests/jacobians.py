"""Every entry of a Jacobian against central differences, of all perturbed inputs as one batch."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import gradcheck

Function = Callable[..., Tensor]
STEP, ATOL, RTOL = 1e-6, 1e-5, 1e-3  # those of gradcheck


def _copies(x: Tensor, count: int) -> Tensor:
    return x.detach().expand(count, *x.shape).clone()


def _differences(function: Function, inputs: tuple[Tensor, ...], place: int) -> Tensor:
    """Return the derivatives with respect to the entries of one input, as columns."""
    entries = inputs[place].numel()
    step = STEP * torch.eye(entries, dtype=inputs[place].dtype).reshape(entries, *inputs[place].shape)
    copies = [_copies(x, 2 * entries) for x in inputs]
    copies[place] += torch.cat([step, -step])
    above, below = function(*(copy.requires_grad_() for copy in copies)).detach().flatten(1).chunk(2)
    return ((above - below) / (2 * STEP)).mT


def assert_jacobian(function: Function, *inputs: Tensor, atol: float = ATOL, rtol: float = RTOL) -> None:
    """Compare gradients with differences, entry by entry, where ``gradcheck`` would call entry by entry.

    The function takes inputs of one more batch dimension. What ``gradcheck`` checks besides (that two calls
    give the same, that undefined gradients are taken), and single calls, is left to its fast mode.
    """
    assert gradcheck(function, inputs, fast_mode=True, atol=atol, rtol=rtol)
    shape = function(*inputs).shape
    rows = torch.eye(shape.numel(), dtype=inputs[0].dtype).reshape(-1, *shape)
    copies = [_copies(x, shape.numel()).requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(function(*copies), copies, rows)
    for place, gradient in enumerate(gradients):
        expected = _differences(function, inputs, place)
        torch.testing.assert_close(gradient.flatten(1), expected, atol=atol, rtol=rtol)


def assert_second_derivatives(function: Function, *inputs: Tensor) -> None:
    """Compare the gradients of a gradient with differences of it, where ``gradgradcheck`` would."""
    cotangent = torch.randn_like(function(*inputs)).requires_grad_()

    def gradient(*arguments: Tensor) -> Tensor:
        *points, rows = arguments
        parts = torch.autograd.grad(function(*points), points, rows, create_graph=True)
        batch = rows.shape[: rows.dim() - cotangent.dim()]
        return torch.cat([part.reshape(*batch, -1) for part in parts], -1)

    assert_jacobian(gradient, *inputs, cotangent)
