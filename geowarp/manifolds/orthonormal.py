"""What the manifolds of matrices with orthonormal columns share: their points and their retractions."""

import torch
from torch import Tensor

from .base import Manifold
from .linalg import full_precision, polar_factor
from .retractions import QR, Retraction

__all__ = ["OrthonormalFrames"]


class OrthonormalFrames(Manifold):
    """Base of manifolds whose points are ``(..., n, k)`` with ``xᵀx = I`` and ``k <= n``.

    Args:
        retraction: ``QR()``, ``Polar()``, ``Cayley()`` or ``Exponential()``.

    Example:
        >>> from geowarp.manifolds import Grassmann, Stiefel
        >>> [isinstance(manifold, OrthonormalFrames) for manifold in (Grassmann(), Stiefel())]
        [True, True]
    """

    ndim = 2

    def __init__(self, retraction: Retraction | None = None) -> None:
        super().__init__()
        self.retraction = QR() if retraction is None else retraction

    @full_precision
    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``‖xᵀx − I‖`` (Frobenius)."""
        eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        residual: Tensor = torch.linalg.matrix_norm(x.mT @ x - eye)
        return residual

    def projx(self, x: Tensor) -> Tensor:
        """Return the nearest matrix with orthonormal columns, the polar factor of ``x``."""
        return polar_factor(x)

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the manifold's retraction."""
        return self.retraction(self, x, u)

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the first k columns of the identity."""
        return torch.eye(*shape[-2:]).expand(shape)

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        ok, reason = super()._check_shape(shape, name)
        if ok and shape[-1] > shape[-2]:
            return False, f"{name}: (n, k) = {tuple(shape[-2:])} has more columns than rows; transpose it"
        return ok, reason
