"""Subspaces as orthogonal projectors, and their gyrovector operations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import GeowarpError
from .grassmann import Grassmann
from .grassmann_gyro import direction_to, geodesic_rotation
from .gyrovector import Gyrovectors
from .linalg import full_precision, sym
from .linalg.dimensions import append_dimensions
from .sampling import shape_of

__all__ = ["GrassmannProjectors"]


@dataclass(frozen=True)
class GrassmannProjectors(Gyrovectors):
    """k-dimensional subspaces of R^n as orthogonal projectors ``P = x xᵀ``, ``(..., n, n)``.

    ``P ⊕ Q = expm(Ω_P) Q expm(−Ω_P)``, where Ω_P is skew-symmetric with ``[Ω_P, E]`` the logarithm of P at
    ``E = diag(I_k, 0)``. The subspaces are those that ``Grassmann`` gives from bases: the operations of
    projectors are the operations there with n x n points. ``Grassmann.to_projector`` and
    ``Grassmann.from_projector`` convert.

    Args:
        rank: the dimension k of the subspaces.

    Raises:
        GeowarpError: for a rank below 1.

    References:
        Nguyen, The gyro-structure of some matrix manifolds, NeurIPS (2022), section 3; Nguyen, Yang, Building
        neural networks on matrix manifolds: a gyrovector space approach, ICML (2023).

    Example:
        >>> projectors, a = GrassmannProjectors(1), torch.tensor([[0.8], [0.6]])
        >>> projectors.gyro_add(projectors.gyro_neg(a @ a.mT), a @ a.mT).round(decimals=5).abs()
        tensor([[1., 0.],
                [0., 0.]])
    """

    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise GeowarpError(f"GrassmannProjectors: the rank is {self.rank}; it must be at least 1")

    def identity_element(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return the projector on the first k unit vectors, ``(..., n, n)``."""
        shape = shape_of(size)
        if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < self.rank:
            raise GeowarpError(f"{self!r}: the shape {tuple(shape)} must be (..., n, n), n >= {self.rank}")
        diagonal = (torch.arange(shape[-1], device=device) < self.rank).to(dtype or torch.get_default_dtype())
        return torch.diag(diagonal).expand(shape).contiguous()

    @full_precision
    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``expm(Ω_x) y expm(−Ω_x)``."""
        rotation = geodesic_rotation(self._direction(x))
        return sym(rotation(rotation(y).mT))

    @full_precision
    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``expm(t Ω_x) E expm(−t Ω_x)``; t broadcasts with the batch dimensions of x."""
        time = append_dimensions(torch.as_tensor(t, dtype=x.dtype, device=x.device), 2)
        n = x.shape[-1]
        start = torch.eye(n, self.rank, dtype=x.dtype, device=x.device)
        return Grassmann().to_projector(geodesic_rotation(time * self._direction(x))(start))

    def _direction(self, x: Tensor) -> Tensor:
        return direction_to(Grassmann().from_projector(x, self.rank))
