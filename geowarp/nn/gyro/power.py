"""The scaling of points that takes the place of an activation."""

import math

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from ...errors import GeowarpError
from .families import require_gyrovector_space

__all__ = ["PowerActivation"]


class PowerActivation(nn.Module):
    """``x ↦ t ⊙ x``, the point at t times the distance of x from the identity element.

    On affine-invariant and log-Euclidean positive definite matrices the matrix power ``X^t``, which for
    0 < t < 1 brings eigenvalues closer together. On a flat metric it is linear in the coordinates.

    Args:
        manifold: a gyrovector space.
        power: t.
        learnable: whether t is a parameter.

    Raises:
        UnavailableError: for a manifold without gyrovector operations.
        GeowarpError: for a power that is not finite.

    References:
        Wang, Hu, Song, Wu, Sebe, Chen, Towards a general attention framework on gyrovector spaces for matrix
        manifolds, NeurIPS (2025).

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> PowerActivation(AffineInvariantSPD(), 0.5)(torch.diag(torch.tensor([4.0, 9.0])))
        tensor([[2., 0.],
                [0., 3.]])
    """

    def __init__(self, manifold: geoopt.Manifold, power: float, learnable: bool = False) -> None:
        super().__init__()
        self.manifold = require_gyrovector_space("PowerActivation", manifold)
        if not math.isfinite(power):
            raise GeowarpError(f"PowerActivation: the power is {power}; it must be finite")
        self.power = nn.Parameter(torch.tensor(float(power))) if learnable else float(power)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``t ⊙ x``, ``(..., *point)``."""
        power = self.power
        return self.manifold.gyro_scale(power.to(x.dtype) if isinstance(power, Tensor) else power, x)

    def extra_repr(self) -> str:
        """Return the power, for ``repr``."""
        return f"power={float(self.power):g}, learnable={isinstance(self.power, nn.Parameter)}"
