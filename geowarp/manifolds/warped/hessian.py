"""Functions on a manifold at points: slopes, gradients and covariant Hessians, by two derivatives."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import UnavailableError
from ..linalg.dimensions import append_dimensions

__all__ = ["FunctionsAt", "base_operation"]


def base_operation(base: geoopt.Manifold, name: str) -> Callable[..., Tensor]:
    """Return a method of a base manifold, which may be one of geoopt.

    Raises:
        UnavailableError: where it has none.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> base_operation(Sphere(), "christoffel")(*torch.eye(2)[[0, 1, 1]])
        tensor([1., 0.])
    """
    method: Callable[..., Tensor] | None = getattr(base, name, None)
    if method is None:
        raise UnavailableError(f"{type(base).__name__} has no {name}; take a manifold of geowarp as the base")
    return method


def _gradient(value: Tensor, point: Tensor, create_graph: bool) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(
        value, point, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return gradient


@dataclass(frozen=True)
class FunctionsAt:
    """K functions f on a manifold, at points: what their covariant Hessians are made of.

    ``∇²f(u, v) = D²f[u, v] − Df[Γ(u, v)]`` in the entries of the points, with the Christoffel symbols of the
    manifold; on an embedded one, of any extension of f to the surrounding space.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> first = lambda x: torch.eye(3)[None, 0].expand(1, 3) + 0 * x
        >>> x, u, _ = torch.eye(3)
        >>> functions = FunctionsAt.of(Sphere(), first, x, keeps_graph=False)
        >>> functions.finished(functions.hessian(u, u))
        tensor([-1.])
    """

    base: geoopt.Manifold
    point: Tensor
    """The points, ``(..., *point)``, by whose entries derivatives are taken."""
    first: Tensor
    """Their derivatives by the entries, ``(..., K, *point)``, with a graph."""
    keeps_graph: bool
    """Whether results are to be differentiated once more."""

    @classmethod
    def of(
        cls,
        base: geoopt.Manifold,
        differentials: Callable[[Tensor], Tensor],
        x: Tensor,
        *,
        keeps_graph: bool,
    ) -> "FunctionsAt":
        """Return the functions with these derivatives ``(..., *point) → (..., K, *point)`` at x."""
        with torch.enable_grad():
            point = x if keeps_graph and x.requires_grad else x.detach().requires_grad_()
            return cls(base, point, differentials(point), keeps_graph)

    @property
    def ndim(self) -> int:
        """How many dimensions a point has."""
        return int(self.base.ndim)

    def stack(self, x: Tensor) -> Tensor:
        """Return ``(..., *point)`` as ``(..., 1, *point)``."""
        return x.unsqueeze(-self.ndim - 1)

    def gradients(self) -> Tensor:
        """Return the Riemannian gradients, ``(..., K, *point)``."""
        return self.raised(self.first)

    def raised(self, covectors: Tensor) -> Tensor:
        """Return the tangent vectors ``(..., K, *point)`` of Euclidean derivatives."""
        vectors: Tensor = self.base.egrad2rgrad(self.stack(self.point), covectors)
        return vectors

    def inner(self, vectors: Tensor, v: Tensor) -> Tensor:
        """Return the inner products ``(..., K)`` of ``(..., K, *point)`` and ``(..., *point)``."""
        product: Tensor = self.base.inner(self.stack(self.point), vectors, self.stack(v))
        return product

    def weighted(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """Return ``Σ_k c_k v_k``, ``(..., *point)``."""
        return (append_dimensions(weights, self.ndim) * vectors).sum(-self.ndim - 1)

    def hessian(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ``∇²f_k(u, v)``, ``(..., K)``."""
        with torch.enable_grad():
            symbols = base_operation(self.base, "christoffel")(self.point, u, v)
            return self._paired(self._second(u), v) - self._paired(self.first, symbols)

    def hessian_vectors(self, u: Tensor) -> Tensor:
        """Return the tangent vectors of the covectors ``∇²f_k(u, ·)``, ``(..., K, *point)``."""
        with torch.enable_grad():
            probe = torch.zeros_like(self.first).requires_grad_()
            symbols = base_operation(self.base, "christoffel")(self.stack(self.point), self.stack(u), probe)
            return self.raised(self._second(u) - self._derivative((self.first * symbols).sum(), probe))

    def finished(self, result: Tensor) -> Tensor:
        """Return a result, without its graph where none is wanted."""
        return result if self.keeps_graph else result.detach()

    def _second(self, u: Tensor) -> Tensor:
        """Return ``D²f_k[u, ·]``, ``(..., K, *point)``."""
        slopes = self._paired(self.first, u)
        rows = [self._derivative(slopes[..., k].sum(), self.point) for k in range(slopes.shape[-1])]
        return torch.stack(rows, -self.ndim - 1)

    def _derivative(self, value: Tensor, point: Tensor) -> Tensor:
        return _gradient(value, point, self.keeps_graph)

    def _paired(self, covectors: Tensor, u: Tensor) -> Tensor:
        product = covectors * self.stack(u)
        return product.flatten(-self.ndim).sum(-1) if self.ndim else product
