"""Parity of groups in closed form: prototypes, divergences from groups, and the values that equalise them."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["ParityMode", "group_divergences", "parity_prototypes", "parity_values"]

ParityMode = Literal["mean", "softmax"]


def parity_prototypes(
    groups: int, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Return the vertices ``(G, G − 1)`` of a regular simplex of radius 1: ±1 for two groups.

    Their sum is 0, ``⟨P_g, P_h⟩ = −1/(G − 1)``, and ``PᵀP = G/(G − 1) I``.

    Raises:
        GeowarpError: for fewer than two groups.

    Example:
        >>> parity_prototypes(2).tolist()
        [[1.0], [-1.0]]
        >>> parity_prototypes(3)
        tensor([[ 1.0000,  0.0000],
                [-0.5000,  0.8660],
                [-0.5000, -0.8660]])
    """
    if groups < 2:
        raise GeowarpError(f"parity_prototypes: groups = {groups}; parity needs two or more groups")
    rows = torch.zeros(groups, groups - 1, dtype=torch.float64)
    scale = 1.0
    for place in range(groups - 1):
        others = groups - 1 - place
        rows[place, place] = scale
        rows[place + 1 :, place] = -scale / others
        scale *= math.sqrt((1 - 1 / others) * (1 + 1 / others))
    return rows.to(device=device, dtype=torch.get_default_dtype() if dtype is None else dtype)


def group_divergences(
    scores: Sequence[Tensor], mode: ParityMode = "mean", tau: float | Tensor | None = None
) -> Tensor:
    """Return how far each group is, ``(..., G)``, from the scores ``(..., n_g)`` of its members.

    A score is minus a squared distance. "mean" is the mean squared distance; "softmax" is
    ``−τ log Σ_y exp(s_y / τ)``, of which equal values mean equal mass under the softmax over all members,
    also of groups of different sizes.

    Raises:
        GeowarpError: for another mode, or "softmax" without a positive τ.

    Example:
        >>> group_divergences([torch.tensor([-1.0, -3.0]), torch.tensor([-4.0])])
        tensor([2., 4.])
        >>> group_divergences([torch.zeros(2), torch.zeros(1)], "softmax", 1.0)
        tensor([-0.6931, -0.0000])
    """
    check_mode("group_divergences", mode, tau)
    if mode == "mean":
        return torch.stack([-score.mean(-1) for score in scores], -1)
    assert tau is not None
    return torch.stack([-tau * torch.logsumexp(score / tau, -1) for score in scores], -1)


def parity_values(divergences: Tensor, alpha: float | Tensor, prototypes: Tensor) -> Tensor:
    """Return the b for which ``D_g + Σ_k α_k (b_k − P_gk)²`` is the same for every group g: ``(..., G − 1)``.

    As the prototypes are the vertices of a regular simplex, the solution of these G − 1 linear equations is
    ``b = (G − 1) / (2G) · Pᵀ(D + q) / α`` with ``q_g = Σ_k α_k P_gk²``, which is ``(D_1 − D_2) / 4α`` for two
    groups: b is lifted towards the group that is far. This potential is geowarp's own.

    Args:
        divergences: ``(..., G)``, as ``group_divergences`` gives them.
        alpha: positive; one number, or ``(G − 1,)``.
        prototypes: ``(G, G − 1)``, as ``parity_prototypes`` gives them.

    Raises:
        GeowarpError: for a number of groups other than that of the prototypes.

    Example:
        >>> parity_values(torch.tensor([3.0, 1.0]), 0.5, parity_prototypes(2))
        tensor([1.])
    """
    groups = prototypes.shape[0]
    if divergences.shape[-1:] != (groups,):
        raise GeowarpError(
            f"parity_values: the divergences have the shape {tuple(divergences.shape)}; with {groups} "
            f"prototypes the last dimension must be {groups}"
        )
    centred = divergences - divergences.mean(-1, keepdim=True)  # P has sum 0: less to cancel
    if isinstance(alpha, Tensor) and alpha.ndim:
        centred = centred + (alpha * prototypes.square()).sum(-1)
    return (groups - 1) / (2 * groups) * (centred @ prototypes) / alpha


def check_mode(name: str, mode: str, tau: float | Tensor | None) -> None:
    """Raise where a mode is none of the two, or has not the τ that it needs.

    Example:
        >>> check_mode("ParityPotential", "softmax", None)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: ParityPotential: mode "softmax" needs tau, the temperature of the ...
    """
    if mode not in ("mean", "softmax"):
        raise GeowarpError(f'{name}: mode = {mode!r}; it is "mean" or "softmax"')
    if mode == "softmax" and tau is None:
        raise GeowarpError(f'{name}: mode "softmax" needs tau, the temperature of the attention exp(−d²/τ)')
    if tau is not None and not isinstance(tau, Tensor) and not (tau > 0 and math.isfinite(tau)):
        raise GeowarpError(f"{name}: tau = {tau}; it must be positive and finite")
