"""What the demonstration reports about a model."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..nn import BDH, LowRankFactor
from ..nn.probes import singular_values
from ..nn.probes.evaluation import evaluating
from ..nn.probes.spectra import FACTORS

__all__ = ["FACTORS", "bits_per_byte", "condition_numbers", "factor_of", "orthonormality_error", "token_loss"]


def factor_of(model: BDH, symbol: str) -> LowRankFactor:
    """Return the factor ``D_x``, ``D_y`` or ``E`` of a model."""
    factor: LowRankFactor = getattr(model, FACTORS[symbol])
    return factor


def token_loss(model: BDH, windows: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of every byte of ``windows (B, T + 1)`` but the first."""
    return F.cross_entropy(model(windows[:, :-1])[0].flatten(0, 1), windows[:, 1:].flatten())


def bits_per_byte(model: BDH, windows: Tensor, chunk: int = 16) -> float:
    """Return the mean cross-entropy in bits of all windows, without dropout."""
    with evaluating(model):
        total = sum(token_loss(model, part).item() * len(part) for part in windows.split(chunk))
    return total / (len(windows) * math.log(2))


def condition_numbers(model: BDH, *, diagonal: bool = True) -> dict[str, float]:
    """Return the condition number of each factor, with its diagonal or of its X alone."""
    result = {}
    for symbol in FACTORS:
        values = singular_values(factor_of(model, symbol), diagonal=diagonal)
        result[symbol] = (values[0] / values[-1]).item()
    return result


@torch.no_grad()
def orthonormality_error(model: BDH) -> float:
    """Return the largest ``‖XᵀX − I‖`` (Frobenius) of the factors, free ones first scaled to ``‖X‖² = d``."""
    worst = 0.0
    for symbol in FACTORS:
        factor = factor_of(model, symbol)
        x = factor.weight.as_subclass(Tensor).double()
        gram = x.mT @ x
        if factor.manifold is None:
            gram = gram / gram.diagonal().mean()
        worst = max(worst, (gram - torch.eye(len(gram), dtype=gram.dtype, device=x.device)).norm().item())
    return worst
