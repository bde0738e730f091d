"""The singular values of a BDH model's factors."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..bdh import BDH
from ..low_rank import LowRankFactor

__all__ = ["FACTORS", "FactorSpectrum", "factor_spectra", "singular_values"]

FACTORS = {"D_x": "decoder_x", "D_y": "decoder_y", "E": "encoder"}


class FactorSpectrum(NamedTuple):
    """The singular values of a factor ``W = τ X diag(s)``, ``(d,)``, the largest first, in float64.

    Args:
        x: of X, without the gain and the diagonal; all are 1 on Stiefel.
        w: of W, with both.

    Example:
        >>> FactorSpectrum(torch.ones(3), torch.tensor([4.0, 2.0, 1.0])).condition_number
        4.0
    """

    x: Tensor
    w: Tensor

    @property
    def condition_number(self) -> float:
        """The largest singular value of W over the smallest; infinite where that is 0."""
        return float(self.w[0] / self.w[-1]) if self.w[-1] > 0 else math.inf


def factor_spectra(model: BDH) -> dict[str, FactorSpectrum]:
    """Return the singular values of the factors ``D_x``, ``D_y`` and ``E``.

    E is ``(d, n)`` in the paper; its singular values are those of the transpose that the model keeps.

    Example:
        >>> from geowarp.nn import BDH, BDHConfig
        >>> spectra = factor_spectra(BDH(BDHConfig(n_embd=16, mlp_internal_dim_multiplier=4)))
        >>> [f"{symbol}: {spectrum.condition_number:.3f}" for symbol, spectrum in spectra.items()]
        ['D_x: 1.000', 'D_y: 1.000', 'E: 1.000']
    """
    spectra = {}
    for symbol, name in FACTORS.items():
        factor = getattr(model, name)
        spectra[symbol] = FactorSpectrum(singular_values(factor, diagonal=False), singular_values(factor))
    return spectra


@torch.no_grad()
def singular_values(factor: LowRankFactor, *, diagonal: bool = True) -> Tensor:
    """Return the singular values ``(d,)`` of a factor's ``W = τ X diag(s)``, or of its X, in float64.

    Args:
        factor: of shape ``(n, d)``.
        diagonal: False for X, without the gain and the diagonal.

    Example:
        >>> from geowarp.manifolds import Stiefel
        >>> from geowarp.nn import LowRankFactor
        >>> singular_values(LowRankFactor(9, 2, manifold=Stiefel(), gain=3.0)).allclose(
        ...     torch.tensor([3.0, 3.0], dtype=torch.float64), atol=1e-6
        ... )
        True
    """
    matrix = factor.effective() if diagonal else factor.weight.detach()
    values: Tensor = torch.linalg.svdvals(matrix.as_subclass(Tensor).double())
    return values
