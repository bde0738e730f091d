"""Distances of subspaces that are functions of ``Πcosθ``, the cosine between their volume elements."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .subspace_distance import SubspaceDistance

__all__ = ["BinetCauchy", "FubiniStudy", "Martin", "product_of_others"]


@dataclass(frozen=True)
class FubiniStudy(SubspaceDistance):
    """``arccos Πcosθ``, which is ``arccos |det xᵀy|`` for k = l: the angle of the two volume elements.

    Where a right angle appears the distance is π/2 and has a kink.

    Example:
        >>> FubiniStudy()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.5708)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``atan2(√(1 − Πcos²θ), Πcosθ)``."""
        return torch.atan2(_sine_of_product(sine, cosine), cosine.prod(-1))

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return the product of the other cosines, divided by ``sin d``."""
        return product_of_others(cosine) / distance.sin()


@dataclass(frozen=True)
class BinetCauchy(SubspaceDistance):
    """``√(1 − Πcos²θ)``, the sine of the Fubini–Study distance.

    References:
        Wolf, Shashua, Learning over sets using kernel principal angles, J. Mach. Learn. Res. 4 (2003).

    Example:
        >>> BinetCauchy()(torch.eye(3)[:, :2], torch.eye(3)[:, 1:])
        tensor(1.)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``√(−expm1 Σ log cos²θ)``."""
        return _sine_of_product(sine, cosine)

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return the product of all cosines and that of the others, divided by d."""
        return cosine.prod(-1, keepdim=True) * product_of_others(cosine) / distance


@dataclass(frozen=True)
class Martin(SubspaceDistance):
    """``√(−Σ log cos²θ)``; infinite, with gradient 0, where a right angle appears.

    Not a metric: the triangle inequality fails.

    References:
        Martin, A metric for ARMA processes, IEEE Trans. Signal Process. 48 (2000); De Cock, De Moor, Subspace
        angles between ARMA models, Syst. Control Lett. 46 (2002).

    Example:
        >>> Martin()(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.6], [0.8]]))
        tensor(1.0108)
    """

    def of_angles(self, sine: Tensor, cosine: Tensor) -> Tensor:
        """Return ``√(−Σ log cos²θ)``."""
        return (-_log_square(sine, cosine).sum(-1)).sqrt()

    def slope(self, sine: Tensor, cosine: Tensor, distance: Tensor) -> Tensor:
        """Return ``1 / (d cosθ)``."""
        finite = distance.isfinite()
        return torch.where(finite, 1 / torch.where(finite, distance * cosine, 1), 0)


def _log_square(sine: Tensor, cosine: Tensor) -> Tensor:
    """Return ``log cos²θ``, from the smaller of sine and cosine."""
    small = sine < cosine
    near = torch.log1p(-torch.where(small, sine, 0).square())
    return torch.where(small, near, 2 * torch.where(small, 1, cosine).log())


def _sine_of_product(sine: Tensor, cosine: Tensor) -> Tensor:
    """Return ``√(1 − Πcos²θ)``."""
    return (-torch.expm1(_log_square(sine, cosine).sum(-1))).sqrt()


def product_of_others(values: Tensor) -> Tensor:
    """Return, for each of ``(..., p)``, the product of all the others, also where some are 0.

    Example:
        >>> product_of_others(torch.tensor([2.0, 3.0, 0.0]))
        tensor([0., 0., 6.])
    """
    one = torch.ones_like(values[..., :1])
    before = torch.cat([one, values[..., :-1]], -1).cumprod(-1)
    after = torch.cat([values[..., 1:], one], -1).flip(-1).cumprod(-1).flip(-1)
    return before * after
