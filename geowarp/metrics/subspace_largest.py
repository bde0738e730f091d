"""Distances of subspaces that are functions of their largest principal angle."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..manifolds.linalg.principal_vectors import PrincipalVectors, largest_angle
from .subspace_distance import SubspaceDistance, chord

__all__ = ["Asimov", "Projection", "Spectral"]


class _OfLargest(SubspaceDistance):
    def _principal(self, x: Tensor, y: Tensor) -> PrincipalVectors:
        return largest_angle(x, y)


@dataclass(frozen=True)
class Asimov(_OfLargest):
    """The largest principal angle.

    Where several angles are the largest, the gradient is that of one of them, a subgradient.

    References:
        Asimov, The grand tour, SIAM J. Sci. Stat. Comput. 6 (1985).

    Example:
        >>> Asimov()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.5708)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return the last angle."""
        return torch.atan2(sine[..., -1], cosine[..., -1])

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``1 / sinθ`` for the last angle."""
        return _last(1 / distance.sin(), sine)


@dataclass(frozen=True)
class Projection(_OfLargest):
    """``sinθ`` of the largest angle, ``‖xxᵀ − yyᵀ‖₂`` for k = l: the gap of the subspaces.

    Where several angles are the largest, the gradient is that of one of them, a subgradient.

    References:
        Golub, Van Loan, Matrix Computations (2013), section 2.5.3.

    Example:
        >>> Projection()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return the last sine."""
        return sine[..., -1]

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``cosθ / sinθ`` for the last angle."""
        return _last(cosine[..., -1:] / distance, sine)


@dataclass(frozen=True)
class Spectral(_OfLargest):
    """``2 sin(θ/2)`` of the largest angle, the least ``‖x − y Q‖₂`` over Q with orthonormal columns (k <= l).

    Where several angles are the largest, the gradient is that of one of them, a subgradient.
    ``Projection`` is the spectral norm of the difference of the projectors.

    Example:
        >>> Spectral()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.4142)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return the last ``2 sin(θ/2)``."""
        return chord(sine, cosine)[..., -1]

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``1 / d`` for the last angle."""
        return _last(1 / distance, sine)


def _last(value: Tensor, like: Tensor) -> Tensor:
    """Return ``(..., p)`` with the value at the last place and 0 elsewhere."""
    return torch.cat([torch.zeros_like(like[..., :-1]), value], -1)
