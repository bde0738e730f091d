"""The last steps of a quasi-Newton method, for a batch of problems at once."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Step", "quasi_newton_direction", "remembered_step", "select_steps"]


class Step(NamedTuple):
    """A step s, the change y of the gradient over it, their covectors, and 1 / ⟨s, y⟩, or 0 where it is none.

    All are ``(B, M, p)``, and ``weight`` is ``(B, 1, 1)``.
    """

    step: Tensor
    change: Tensor
    step_covector: Tensor
    change_covector: Tensor
    weight: Tensor


def remembered_step(step: Tensor, change: Tensor, lower: Callable[[Tensor], Tensor]) -> Step:
    """Return the step with its covectors; one of no positive curvature gets weight 0, and has no effect.

    Example:
        >>> remembered_step(torch.ones(1, 1, 1), -torch.ones(1, 1, 1), lambda v: v).weight
        tensor([[[0.]]])
    """
    covector, dual = lower(step), lower(change)
    product = _inner(covector, change)
    floor = 1e-10 * (_inner(covector, step) * _inner(dual, change)).clamp_min(0).sqrt()
    positive = product > floor
    weight = torch.where(positive, 1 / torch.where(positive, product, 1), 0)
    return Step(step, change, covector, dual, weight)


def select_steps(steps: tuple[Step, ...], index: Tensor) -> tuple[Step, ...]:
    """Return the steps of some of the problems."""
    return tuple(Step(*(part[index] for part in step)) for step in steps)


def quasi_newton_direction(
    steps: tuple[Step, ...], gradient: Tensor, inverse: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ``−H g``, where H starts from an inverse Hessian and agrees with the steps, the oldest first.

    References:
        Nocedal, Wright, Numerical optimization, 2nd ed. (2006), algorithm 7.4.

    Example:
        >>> quasi_newton_direction((), torch.ones(1, 1, 1), lambda g: g / 2)
        tensor([[[-0.5000]]])
    """
    shares = []
    for step in reversed(steps):
        share = step.weight * _inner(step.step_covector, gradient)
        gradient = gradient - share * step.change
        shares.append(share)
    direction = inverse(gradient)
    for step, share in zip(steps, reversed(shares), strict=True):
        direction = direction + (share - step.weight * _inner(step.change_covector, direction)) * step.step
    return -direction


def _inner(covector: Tensor, vector: Tensor) -> Tensor:
    return (covector * vector).sum((-2, -1), keepdim=True)
