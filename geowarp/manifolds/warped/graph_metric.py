"""The metric ``g + Σ db_k ⊗ db_k`` at points, its inverse by Woodbury; b is scaled by √α before."""

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg.dimensions import append_dimensions
from .frame import inner_product
from .potential import Potential, differentials

__all__ = ["gradients", "lowered", "raised", "slopes"]


def gradients(
    base: geoopt.Manifold, potential: Potential, x: Tensor, *, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the values b ``(..., K)``, and the gradients of the base metric ``(..., K, *point)``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> gradients(Sphere(), lambda x: x[..., 1:], torch.tensor([1.0, 0.0, 0.0]))
        (tensor([0., 0.]), tensor([[0., 1., 0.],
                [0., 0., 1.]]))
    """
    ndim = int(base.ndim)
    values, derivatives = differentials(potential, x, ndim, create_graph=create_graph)
    return values, base.egrad2rgrad(x.unsqueeze(-ndim - 1), derivatives)


def slopes(base: geoopt.Manifold, x: Tensor, lifts: Tensor, u: Tensor) -> Tensor:
    """Return ``db_k(u) = ⟨grad b_k, u⟩``, ``(..., K)``, of gradients ``(..., K, *point)``.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> slopes(Euclidean(1), torch.zeros(2), torch.eye(2), torch.tensor([3.0, 4.0]))
        tensor([3., 4.])
    """
    ndim = int(base.ndim)
    return inner_product(base, x.unsqueeze(-ndim - 1), lifts, u.unsqueeze(-ndim - 1))


def lowered(base: geoopt.Manifold, x: Tensor, lifts: Tensor, u: Tensor) -> Tensor:
    """Return ``u + Σ db_k(u) grad b_k``, whose inner products in the base metric are those of u.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> lowered(Euclidean(1), torch.zeros(2), torch.eye(2)[:1], torch.ones(2))
        tensor([2., 1.])
    """
    ndim = int(base.ndim)
    along = append_dimensions(slopes(base, x, lifts, u), ndim)
    return u + (along * lifts).sum(-ndim - 1)


def raised(base: geoopt.Manifold, x: Tensor, lifts: Tensor, u: Tensor) -> Tensor:
    """Return the v whose ``lowered`` is u: ``u − Σ grad b_k [(I + JJᵀ)⁻¹ ⟨grad b, u⟩]_k``, K equations.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> raised(Euclidean(1), torch.zeros(2), torch.eye(2)[:1], torch.ones(2))
        tensor([0.5000, 1.0000])
    """
    ndim = int(base.ndim)
    along = slopes(base, x, lifts, u)
    rows, columns = lifts.unsqueeze(-ndim - 1), lifts.unsqueeze(-ndim - 2)
    gram = inner_product(base, x.unsqueeze(-ndim - 1).unsqueeze(-ndim - 1), rows, columns)
    system = gram + torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    share = append_dimensions(torch.linalg.solve(system, along[..., None])[..., 0], ndim)
    return u - (share * lifts).sum(-ndim - 1)
