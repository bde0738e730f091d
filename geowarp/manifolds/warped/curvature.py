"""Second-order geometry of the metric ``g + Σ α_k db_k ⊗ db_k`` of a graph, in closed form.

``H_k = ∇²b_k`` are covariant Hessians in the base, and the matrix ``S = (A⁻¹ + ⟨grad b, grad b⟩)⁻¹`` with
``A = diag(α)`` is K x K. Nothing but that and vectors is formed.
"""

from typing import Protocol

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg import full_precision
from .hessian import FunctionsAt, base_operation

__all__ = ["GraphMetric", "graph_christoffel", "graph_riemann", "potential_hessian"]


class GraphMetric(Protocol):
    """What is read of a warped manifold: its base, potentials and weights.

    Example:
        >>> def weights(manifold: GraphMetric) -> Tensor:
        ...     return manifold.alpha
    """

    @property
    def base(self) -> geoopt.Manifold:
        """The manifold whose metric is warped."""
        ...

    @property
    def alpha(self) -> Tensor:
        """The weights, ``()`` or ``(K,)``."""
        ...

    def potential_differentials(self, x: Tensor) -> Tensor:
        """Return the derivatives by the entries, ``(..., K, *point)``, with a graph where x has one."""
        ...

    def keeps_graph(self, x: Tensor, *tensors: Tensor | None) -> bool:
        """Return whether a result may be differentiated."""
        ...


@full_precision
def potential_hessian(m: GraphMetric, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return ``H_k(u, v) = D²b_k[u, v] − Db_k[Γ(u, v)]``, ``(..., K)``, Γ of the base.

    Raises:
        UnavailableError: for a base without ``christoffel``, or a potential that can be differentiated only
            once.

    Example:
        >>> from types import SimpleNamespace
        >>> from geowarp.manifolds import Euclidean
        >>> m = SimpleNamespace(base=Euclidean(1), alpha=torch.tensor(1.0),
        ...     keeps_graph=lambda *tensors: False, potential_differentials=lambda x: 2 * x[..., None, :])
        >>> potential_hessian(m, torch.zeros(2), *torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
        tensor([6.])
    """
    x, u, v = torch.broadcast_tensors(x, u, v)
    functions = _functions(m, x, u, v)
    return functions.finished(functions.hessian(u, v))


@full_precision
def graph_christoffel(m: GraphMetric, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return ``Γ(u, v) + Σ_k [S H(u, v)]_k grad b_k``, Γ and grad of the base, ``(..., *point)``.

    References:
        Hartmann, Girolami, Klami, Warped geometric information on the optimisation of Euclidean functions,
        arXiv:2308.08305 (2023), for one potential on flat space.

    Example:
        >>> from types import SimpleNamespace
        >>> from geowarp.manifolds import Euclidean
        >>> m = SimpleNamespace(base=Euclidean(1), alpha=torch.tensor(1.0),
        ...     keeps_graph=lambda *tensors: False, potential_differentials=lambda x: 2 * x[..., None, :])
        >>> graph_christoffel(m, *torch.tensor([[0.5, 0.0], [0.0, 1.0], [0.0, 1.0]]))
        tensor([1., 0.])
    """
    x, u, v = torch.broadcast_tensors(x, u, v)
    functions = _functions(m, x, u, v)
    gradients = functions.gradients()
    share = _solve(functions, m.alpha, gradients, functions.hessian(u, v))
    symbols = base_operation(m.base, "christoffel")(functions.point, u, v)
    return functions.finished(symbols + functions.weighted(share, gradients))


@full_precision
def graph_riemann(m: GraphMetric, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return ``R_G(u, v) w``, ``(..., *point)``, by the equation of Gauss for the graph of √α b.

    ``⟨R_G(u, v)w, z⟩_G = ⟨R(u, v)w, z⟩ + Σ S_kl (H_k(v, w) H_l(u, z) − H_k(u, w) H_l(v, z))``, R of the base.

    Raises:
        UnavailableError: for a base without ``riemann``, too.

    References:
        do Carmo, Riemannian Geometry (1992), chapter 6, theorem 2.5.

    Example:
        >>> from types import SimpleNamespace
        >>> from geowarp.manifolds import Euclidean
        >>> m = SimpleNamespace(base=Euclidean(1), alpha=torch.tensor(1.0),
        ...     keeps_graph=lambda *tensors: False, potential_differentials=lambda x: x[..., None, :])
        >>> graph_riemann(m, torch.zeros(2), *torch.eye(2)[[0, 1, 1]])
        tensor([1., 0.])
    """
    x, u, v, w = torch.broadcast_tensors(x, u, v, w)
    functions = _functions(m, x, u, v, w)
    gradients = functions.gradients()
    along_u, along_v = functions.hessian_vectors(u), functions.hessian_vectors(v)
    of_v = _solve(functions, m.alpha, gradients, functions.inner(along_v, w))
    of_u = _solve(functions, m.alpha, gradients, functions.inner(along_u, w))
    bent = functions.weighted(of_v, along_u) - functions.weighted(of_u, along_v)
    total = base_operation(m.base, "riemann")(functions.point, u, v, w) + bent
    share = _solve(functions, m.alpha, gradients, functions.inner(gradients, total))
    return functions.finished(total - functions.weighted(share, gradients))


def _functions(m: GraphMetric, x: Tensor, *vectors: Tensor) -> FunctionsAt:
    keeps = m.keeps_graph(x, *vectors)
    return FunctionsAt.of(m.base, m.potential_differentials, x, keeps_graph=keeps)


def _solve(functions: FunctionsAt, alpha: Tensor, gradients: Tensor, h: Tensor) -> Tensor:
    """Return ``S h = A (I + C A)⁻¹ h``, ``C = ⟨grad b, grad b⟩``, which needs no inverse of α."""
    each = gradients.unbind(-functions.ndim - 1)
    gram = torch.stack([functions.inner(gradients, gradient) for gradient in each], -1)
    alpha = alpha.to(dtype=h.dtype, device=h.device)
    system = torch.eye(h.shape[-1], dtype=h.dtype, device=h.device) + gram * alpha
    solution: Tensor = torch.linalg.solve(system, h[..., None])
    return alpha * solution[..., 0]
