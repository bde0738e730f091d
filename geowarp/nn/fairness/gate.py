"""A gate of compact support about the members of a group."""

import torch
from torch import Tensor

__all__ = ["gate"]


def gate(squares: Tensor, radius: float) -> Tensor:
    """Return ``1 − Π_y (1 − ψ(d²_y / radius²))``, ``(...)``, of squared distances ``(..., n)`` to n members.

    ``ψ(s) = (1 − s)³`` for ``s < 1``, else 0: the triweight kernel, twice continuously differentiable in the
    point wherever the squared distance is. The gate is 1 at a member, with derivative 0, and 0 from
    ``radius`` on.

    Example:
        >>> gate(torch.tensor([[0.0, 4.0], [0.5, 2.0], [1.0, 1.0]]), radius=1.0)
        tensor([1.0000, 0.1250, 0.0000])
    """
    outside = 1 - (1 - squares / radius**2).clamp_min(0).pow(3)
    while outside.shape[-1] > 1:  # in pairs, as the derivatives of prod look at numbers
        half = outside.shape[-1] // 2
        product = outside[..., :half] * outside[..., half : 2 * half]
        outside = torch.cat([product, outside[..., 2 * half :]], -1)
    return 1 - outside[..., 0]
