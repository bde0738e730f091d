"""Gyrovector spaces: manifolds whose points are added and scaled along the geodesics from one of them."""

import abc

import torch
from torch import Tensor

from .base import Manifold
from .linalg import full_precision

__all__ = ["GyrovectorSpace", "Gyrovectors"]


class Gyrovectors(abc.ABC):
    """Points that can be added and scaled; what follows from ``gyro_add`` and ``gyro_scale``.

    Example:
        >>> from geowarp.manifolds import GrassmannProjectors, PoincareBall
        >>> [isinstance(space, Gyrovectors) for space in (PoincareBall(), GrassmannProjectors(2))]
        [True, True]
    """

    @abc.abstractmethod
    def identity_element(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return E, for which ``E ⊕ x = x``, of the shape ``size``."""

    @abc.abstractmethod
    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y``."""

    @abc.abstractmethod
    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t ⊙ x``; t is a number, or a tensor that broadcasts with the batch dimensions of x."""

    def gyro_neg(self, x: Tensor) -> Tensor:
        """Return ``⊖x = (−1) ⊙ x``, for which ``⊖x ⊕ x = E``."""
        return self.gyro_scale(-1.0, x)

    @full_precision
    def gyro_sub(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ (⊖y)``."""
        return self.gyro_add(x, self.gyro_neg(y))

    @full_precision
    def gyration(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Return ``gyr[x, y] z = ⊖(x ⊕ y) ⊕ (x ⊕ (y ⊕ z))``, so that ``x ⊕ (y ⊕ z) = (x ⊕ y) ⊕ gyr[x, y] z``.

        An isometry that fixes E, and the identity where ⊕ is a group.
        """
        return self.gyro_add(self.gyro_neg(self.gyro_add(x, y)), self.gyro_add(x, self.gyro_add(y, z)))


class GyrovectorSpace(Gyrovectors, Manifold):
    """A manifold with a distinguished point E, from which its points are added and scaled as vectors are.

    With E the ``identity_element``, the logarithm at it, and parallel transport along geodesics:

    - ``x ⊕ y = exp_x(PT_{E→x}(log_E y))``, in general neither commutative nor associative,
    - ``t ⊙ x = exp_E(t log_E x)`` and ``⊖x = (−1) ⊙ x``,
    - ``gyr[x, y] z = ⊖(x ⊕ y) ⊕ (x ⊕ (y ⊕ z))``.

    On the spaces here ``y ↦ x ⊕ y`` is an isometry, so that ``⊖x ⊕ (x ⊕ y) = y`` and
    ``dist(x, y) = dist(E, ⊖x ⊕ y)``; and ``dist(E, t ⊙ x) = |t| dist(E, x)`` for as far as geodesics from E
    are shortest. Every operation has a closed form; those of this class are the definitions.

    References:
        Ungar, Analytic hyperbolic geometry and Albert Einstein's special theory of relativity (2008);
        Nguyen, The gyro-structure of some matrix manifolds, NeurIPS (2022); Nguyen, Yang, Building neural
        networks on matrix manifolds: a gyrovector space approach, ICML (2023).

    Example:
        >>> from geowarp.manifolds import AffineInvariantSPD
        >>> spd, x = AffineInvariantSPD(), torch.tensor([[4.0, 0.0], [0.0, 1.0]])
        >>> spd.gyro_add(x, x), spd.gyro_scale(0.5, x)
        (tensor([[16.,  0.],
                [ 0.,  1.]]), tensor([[2., 0.],
                [0., 1.]]))
    """

    def identity_element(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Return E, the ``origin`` as a plain tensor, of the shape ``size``.

        Example:
            >>> from geowarp.manifolds import Lorentz
            >>> Lorentz().identity_element(2, 3)
            tensor([[1., 0., 0.],
                    [1., 0., 0.]])
        """
        return self.origin(*size, dtype=dtype, device=device).detach().as_subclass(Tensor)

    def gyro_add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``x ⊕ y = exp_x(PT_{E→x}(log_E y))``: y moved as E is along the geodesic to x."""
        identity = self._identity_of(y)
        point: Tensor = self.expmap(x, self.transp(identity, x, self.logmap(identity, y)))
        return point

    def gyro_scale(self, t: Tensor | float, x: Tensor) -> Tensor:
        """Return ``t ⊙ x = exp_E(t log_E x)``; t broadcasts with the batch dimensions of x."""
        return self.geodesic(t, self._identity_of(x), x)

    def _identity_of(self, x: Tensor) -> Tensor:
        return self.identity_element(tuple(x.shape[x.ndim - self.ndim :]), dtype=x.dtype, device=x.device)
