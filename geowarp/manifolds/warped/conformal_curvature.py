"""Second-order geometry of a conformal metric ``e^{2φ} g``."""

from typing import Protocol

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ..linalg import full_precision
from .hessian import FunctionsAt, base_operation
from .potential import differentials

__all__ = ["ConformalMetric", "conformal_christoffel", "conformal_riemann"]


class ConformalMetric(Protocol):
    """What is read of a conformally warped manifold: its base and the exponent.

    Example:
        >>> def exponents(manifold: ConformalMetric, x: Tensor) -> Tensor:
        ...     return manifold.phi_values(x)
    """

    @property
    def base(self) -> geoopt.Manifold:
        """The manifold whose metric is warped."""
        ...

    def phi_values(self, x: Tensor) -> Tensor:
        """Return φ, ``(...)``."""
        ...

    def keeps_graph(self, x: Tensor, *tensors: Tensor | None) -> bool:
        """Return whether a result may be differentiated."""
        ...


@full_precision
def conformal_christoffel(m: ConformalMetric, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return ``Γ(u, v) + dφ(u) v + dφ(v) u − ⟨u, v⟩ grad φ``, of the base on the right, ``(..., *point)``.

    References:
        Besse, Einstein manifolds (1987), theorem 1.159.

    Example:
        >>> from types import SimpleNamespace
        >>> from geowarp.manifolds import Euclidean
        >>> m = SimpleNamespace(
        ...     base=Euclidean(1), keeps_graph=lambda *tensors: False, phi_values=lambda x: x[..., 0]
        ... )
        >>> conformal_christoffel(m, torch.zeros(2), *torch.eye(2))
        tensor([0., 1.])
    """
    x, u, v = torch.broadcast_tensors(x, u, v)
    functions = _functions(m, x, u, v)
    gradient = functions.gradients().squeeze(-functions.ndim - 1)
    symbols = base_operation(m.base, "christoffel")(functions.point, u, v)
    along_u, along_v = (_inner(functions, gradient, part) for part in (u, v))
    return functions.finished(symbols + along_u * v + along_v * u - _inner(functions, u, v) * gradient)


@full_precision
def conformal_riemann(m: ConformalMetric, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return ``R(u, v)w − ⟨Bv, w⟩ u + ⟨Bu, w⟩ v − ⟨v, w⟩ Bu + ⟨u, w⟩ Bv``, of the base on the right.

    ``Bu = ∇_u grad φ − dφ(u) grad φ + ½ ‖grad φ‖² u``.

    References:
        Besse, Einstein manifolds (1987), theorem 1.159.

    Example:
        >>> from types import SimpleNamespace
        >>> from geowarp.manifolds import Euclidean
        >>> m = SimpleNamespace(base=Euclidean(1), keeps_graph=lambda *tensors: False,
        ...     phi_values=lambda x: (2 / (1 - x.square().sum(-1))).log())
        >>> conformal_riemann(m, torch.zeros(2), *torch.eye(2)[[0, 1, 1]])
        tensor([-4.,  0.])
    """
    x, u, v, w = torch.broadcast_tensors(x, u, v, w)
    functions = _functions(m, x, u, v, w)
    of_u, of_v = _schouten(functions, u), _schouten(functions, v)
    bent = _inner(functions, of_v, w) * u - _inner(functions, of_u, w) * v
    bent = bent + _inner(functions, v, w) * of_u - _inner(functions, u, w) * of_v
    return functions.finished(base_operation(m.base, "riemann")(functions.point, u, v, w) - bent)


def _functions(m: ConformalMetric, x: Tensor, *vectors: Tensor) -> FunctionsAt:
    def slope(point: Tensor) -> Tensor:
        ndim = int(m.base.ndim)
        return differentials(lambda p: m.phi_values(p)[..., None], point, ndim, create_graph=True)[1]

    keeps = m.keeps_graph(x, *vectors)
    return FunctionsAt.of(m.base, slope, x, keeps_graph=keeps)


def _inner(functions: FunctionsAt, u: Tensor, v: Tensor) -> Tensor:
    product: Tensor = functions.base.inner(functions.point, u, v, keepdim=True)
    return product


def _schouten(functions: FunctionsAt, u: Tensor) -> Tensor:
    """Return Bu."""
    gradient, bent = (
        part.squeeze(-functions.ndim - 1) for part in (functions.gradients(), functions.hessian_vectors(u))
    )
    square = _inner(functions, gradient, gradient)
    return bent - _inner(functions, gradient, u) * gradient + 0.5 * square * u
