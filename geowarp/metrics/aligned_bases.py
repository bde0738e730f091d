"""Bases of subspaces turned towards each other, so that differences of close ones keep their digits."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..manifolds.linalg import polar_factor

__all__ = ["Bases", "aligned"]


class Bases(NamedTuple):
    """A set of bases that are turned towards a common one, and how they differ from it.

    Example:
        >>> x, y = aligned(torch.eye(3)[None, None, :, :2], -torch.eye(3)[None, None, :, :2])
        >>> bool((y.shift == 0).all())
        True
    """

    points: Tensor
    """``(b, N, n, k)``."""
    shift: Tensor
    """``points − m``, ``(b, N, n, k)``, with the relative accuracy of small differences."""

    def part(self, which: slice) -> "Bases":
        """Return some of the bases."""
        return Bases(self.points[:, which], self.shift[:, which])


def aligned(x: Tensor, y: Tensor) -> tuple[Bases, Bases]:
    """Return two sets of bases turned towards the first basis of x; unchanged where they differ in size.

    Example:
        >>> x, _ = aligned(torch.eye(3)[None, None, :, :2], torch.eye(3)[None, None, :, 1:])
        >>> x.shift.abs().max()
        tensor(0.)
    """
    if x.shape[-1] != y.shape[-1] or x.shape[1] == 0:
        return Bases(x, x), Bases(y, y)
    centre = x[:, :1].detach()
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    sets = []
    for bases in (x,) if y is x else (x, y):
        turn = polar_factor(bases.detach().mT @ centre)
        shift = (bases - centre) + bases @ (turn - eye)
        sets.append(Bases((centre + shift).detach(), shift))
    return sets[0], sets[-1]
