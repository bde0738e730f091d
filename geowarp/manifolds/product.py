"""Products of manifolds, whose points are packed in one flat dimension."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError
from .base import Manifold
from .component import Component, fingerprint
from .karcher import KarcherMean, describe_mean, normalized_weights, uniqueness_radius
from .linalg import safe_sqrt
from .linalg.broadcasting import broadcast_shapes
from .sampling import shape_of

__all__ = ["ProductManifold"]


def _totals(values: list[Tensor], batch: int) -> Tensor:
    """Return the sum over values, and over the dimensions of each after the first ``batch``."""
    return torch.stack([value[..., None].flatten(batch).sum(-1) for value in values]).sum(0)


class ProductManifold(Manifold):
    """The product of manifolds, points ``(..., n)``: the entries of the components one after another.

    The metric is the sum of those of the components, so ``dist(x, y)² = Σ dist(x_i, y_i)²``, and every
    operation acts on each component. Adam scales each component by its own gradient, through
    ``component_inner``. A component may have more dimensions than a point of its manifold:
    ``(Sphere(), (3, 4))`` is three points of a sphere in R^4.

    Manifolds of geowarp and of geoopt may be mixed. Two products are equal where their components are. Those
    of geoopt, which it compares by identity, are compared by type, attributes and the values of their
    constants; learnable constants are compared by identity, so a copy of such a product is another one.

    Args:
        manifolds_with_shape: pairs of a manifold and the shape of its component.

    Raises:
        GeowarpError: for no components, or a shape that the manifold does not take.
        UnavailableError: from an operation that a component has no formula for, with its number and name.

    Example:
        >>> from geowarp.manifolds import Euclidean, Sphere
        >>> product = ProductManifold((Sphere(), 3), (Euclidean(1), 2))
        >>> x = product.pack_point(torch.eye(3)[0], torch.zeros(2))
        >>> y = product.pack_point(torch.eye(3)[1], torch.ones(2))
        >>> product.dist(x, y)
        tensor(2.1136)
        >>> product.unpack_tensor(product.logmap(x, y))
        (tensor([0.0000, 1.5708, 0.0000]), tensor([1., 1.]))
    """

    name = "ProductManifold"
    ndim = 1

    def __init__(self, *manifolds_with_shape: tuple[geoopt.Manifold, int | tuple[int, ...]]) -> None:
        super().__init__()
        if not manifolds_with_shape:
            raise GeowarpError("ProductManifold: 0 components were given; it needs at least one")
        self.shapes: list[tuple[int, ...]] = []
        self.slices: list[slice] = []
        manifolds: list[geoopt.Manifold] = []
        self.n_elements = 0
        for number, (manifold, size) in enumerate(manifolds_with_shape):
            shape = (size,) if isinstance(size, int) else tuple(size)
            ok, reason = manifold._check_shape(shape, "its part")
            if not ok:
                raise GeowarpError(f"ProductManifold: component {number}, {manifold!r}: {reason}")
            # torch's traversals visit equal modules once, so that equal ones must be one
            manifolds.append(next((other for other in manifolds if other == manifold), manifold))
            self.shapes.append(shape)
            self.slices.append(slice(self.n_elements, self.n_elements + torch.Size(shape).numel()))
            self.n_elements = self.slices[-1].stop
        self.n_manifolds = len(manifolds)
        self.manifolds = torch.nn.ModuleList(manifolds)
        self.reversible = all(bool(manifold.reversible) for manifold in manifolds)

    @classmethod
    def from_point(cls, *parts: Tensor, batch_dims: int = 0) -> "ProductManifold":
        """Return the product of the manifolds of ``parts``, which are ``geoopt.ManifoldTensor``.

        Example:
            >>> from geowarp.manifolds import Sphere
            >>> ProductManifold.from_point(Sphere().random(7, 3), Sphere().random(7, 2), batch_dims=1)
            ProductManifold((Sphere(), (3,)), (Sphere(), (2,)))
        """
        batches = [tuple(part.shape[:batch_dims]) for part in parts]
        if len(set(batches)) > 1:
            raise GeowarpError(f"ProductManifold: the batch shapes {batches} of the parts differ")
        return cls(*((getattr(part, "manifold"), tuple(part.shape[batch_dims:])) for part in parts))  # noqa: B009

    def constants(self) -> tuple[Any, ...]:
        """Return the components and their shapes."""
        return tuple(zip(map(fingerprint, self.manifolds), self.shapes, strict=True))

    def __repr__(self) -> str:
        parts = zip(self.manifolds, self.shapes, strict=True)
        return f"ProductManifold({', '.join(f'({manifold!r}, {shape})' for manifold, shape in parts)})"

    # --- packing ---

    def take_submanifold_value(self, x: Tensor, i: int, reshape: bool = True) -> Tensor:
        """Return component i of ``(..., n)``: ``(..., *shape)``, or flat."""
        part = x[..., self.slices[i]]
        return part.reshape(x.shape[:-1] + self.shapes[i]) if reshape else part

    def unpack_tensor(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Return the components ``(..., *shape)`` of ``(..., n)``."""
        return tuple(self.take_submanifold_value(tensor, i) for i in range(self.n_manifolds))

    def pack_point(self, *tensors: Tensor) -> Tensor:
        """Return ``(..., n)`` with these components ``(..., *shape)``, whose batch dimensions broadcast.

        Raises:
            GeowarpError: for another number of components, or a shape that does not end in that of its part.
        """
        if len(tensors) != self.n_manifolds:
            raise GeowarpError(
                f"{self!r}: {len(tensors)} tensors were given, for {self.n_manifolds} components"
            )
        flat = []
        for number, (part, shape) in enumerate(zip(tensors, self.shapes, strict=True)):
            batch = part.ndim - len(shape)
            if batch < 0 or part.shape[batch:] != shape:
                given = tuple(part.shape)
                raise GeowarpError(f"{self!r}: component {number} has shape {given}; it must end in {shape}")
            flat.append(part.reshape((*part.shape[:batch], torch.Size(shape).numel())))
        batches = broadcast_shapes(*(part.shape[:-1] for part in flat))
        return torch.cat([part.expand(batches + part.shape[-1:]) for part in flat], -1)

    # --- operations ---

    def dim(self, shape: tuple[int, ...]) -> int:
        """Return the sum of the dimensions of the components."""
        return sum(component.dim() for component in self._components())

    def point_residual(self, x: Tensor) -> Tensor:
        """Return the root of the sum of the squared residuals of the components.

        That of a manifold of geoopt is its distance to ``projx(x)`` in the surrounding space.
        """
        residuals = self._map(Component.point_residual, x)
        return safe_sqrt(_totals([residual.square() for residual in residuals], x.ndim - 1))

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the root of the sum of the squared residuals of the components.

        That of a manifold of geoopt is its distance to ``proju(x, u)`` in the surrounding space.
        """
        residuals = self._map(Component.tangent_residual, x, u)
        return safe_sqrt(_totals([residual.square() for residual in residuals], max(x.ndim, u.ndim) - 1))

    def projx(self, x: Tensor) -> Tensor:
        """Return the projections of the components."""
        return self._packed("projx", x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the projections of the components."""
        return self._packed("proju", x, u)

    def egrad2rgrad(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the gradients of the components."""
        return self._packed("egrad2rgrad", x, u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor | None = None, *, keepdim: bool = False) -> Tensor:
        """Return the sum of the inner products of the components."""
        return self._summed("inner", x, u, u if v is None else v, keepdim=keepdim)

    def component_inner(self, x: Tensor, u: Tensor, v: Tensor | None = None) -> Tensor:
        """Return, for each entry ``(..., n)``, the inner product of the component that it belongs to."""
        products = self._each("component_inner", x, u, u if v is None else v)
        batch = broadcast_shapes(x.shape, u.shape, u.shape if v is None else v.shape)[:-1]
        return self.pack_point(*(p.expand(batch + s) for p, s in zip(products, self.shapes, strict=True)))

    def retr(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the retractions of the components."""
        return self._packed("retr", x, u)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        """Return the exponentials of the components."""
        return self._packed("expmap", x, u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the logarithms of the components."""
        return self._packed("logmap", x, y)

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Return the transports of the components."""
        return self._packed("transp", x, y, v)

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retractions and the transports of the components."""
        points, vectors = zip(*self._each("retr_transp", x, u, v), strict=True)
        return self.pack_point(*points), self.pack_point(*vectors)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exponentials and the transports of the components."""
        points, vectors = zip(*self._each("expmap_transp", x, u, v), strict=True)
        return self.pack_point(*points), self.pack_point(*vectors)

    def christoffel(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        """Return the Christoffel symbols of the components."""
        return self._packed("christoffel", x, u, v)

    def riemann(self, x: Tensor, u: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Return the curvatures of the components."""
        return self._packed("riemann", x, u, v, w)

    def dist2(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``Σ dist(x_i, y_i)²``."""
        return self._summed("dist2", x, y, keepdim=keepdim)

    def dist(self, x: Tensor, y: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return the root of the sum of the squared distances; its gradient at equal points is 0."""
        return safe_sqrt(self._summed("dist2", x, y, keepdim=keepdim))

    def cdist(self, x: Tensor, y: Tensor) -> Tensor:
        """Return all distances ``(..., N, M)`` between ``(..., N, n)`` and ``(..., M, n)``."""
        parts = zip(self._components(), self.unpack_tensor(x), self.unpack_tensor(y), strict=True)
        return safe_sqrt(torch.stack([component.pairwise(a, b) for component, a, b in parts]).sum(0))

    def solve_mean(self, x: Tensor, weights: Tensor | None = None) -> KarcherMean:
        """Return the means of the components, of points ``(..., N, n)``; see ``Manifold.solve_mean``.

        The iterations are those of the component with the most, and the mean has converged, and is unique,
        where that holds of every component.
        """
        weights = normalized_weights(x, weights, 1)
        parts = zip(self._components(), self.unpack_tensor(x), strict=True)
        results = [component.solve_mean(part, weights) for component, part in parts]
        mean = self.pack_point(*(result.mean for result in results))
        whole = describe_mean(self, x, weights, mean)
        return whole._replace(
            iterations=torch.stack([result.iterations for result in results]).amax(0),
            converged=torch.stack([result.converged for result in results]).all(0),
            unique=torch.stack([result.unique for result in results]).all(0),
        )

    def uniqueness_radius(self) -> float:
        """Return the smallest one of the components; NaN where that of one is unknown."""
        radii = [uniqueness_radius(manifold) for manifold in self.manifolds]
        return math.nan if any(map(math.isnan, radii)) else min(radii)

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return random points ``(..., n)``, each component as its manifold samples it."""
        shape = shape_of(size)
        self._assert_check_shape(shape, "random")
        parts = (
            component.random(shape[:-1] + component.shape, generator, dtype=dtype, device=device)
            for component in self._components()
        )
        return geoopt.ManifoldTensor(self.pack_point(*parts), manifold=self)  # type: ignore[no-any-return]

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> Tensor:
        """Return the origins of the components; ``seed`` is for those of geoopt that have none."""
        shape = shape_of(size)
        self._assert_check_shape(shape, "origin")
        parts = (
            component.call("origin", shape[:-1] + component.shape, dtype=dtype, device=device, seed=seed)
            for component in self._components()
        )
        return geoopt.ManifoldTensor(self.pack_point(*parts), manifold=self)  # type: ignore[no-any-return]

    # --- pieces ---

    def _components(self) -> list[Component]:
        return [Component(i, self.manifolds[i], self.shapes[i]) for i in range(self.n_manifolds)]

    def _map(self, function: Callable[..., Any], *tensors: Tensor) -> list[Any]:
        unpacked = (self.unpack_tensor(tensor) for tensor in torch.broadcast_tensors(*tensors))
        return [function(*arguments) for arguments in zip(self._components(), *unpacked, strict=True)]

    def _each(self, operation: str, *tensors: Tensor, **options: Any) -> list[Any]:
        return self._map(lambda part, *arguments: part.call(operation, *arguments, **options), *tensors)

    def _packed(self, operation: str, *tensors: Tensor) -> Tensor:
        return self.pack_point(*self._each(operation, *tensors))

    def _summed(self, operation: str, *tensors: Tensor, keepdim: bool) -> Tensor:
        values = self._each(operation, *tensors, keepdim=True)
        total = _totals(values, max(tensor.ndim for tensor in tensors) - 1)
        return total[..., None] if keepdim else total

    def _check_shape(self, shape: tuple[int, ...], name: str) -> tuple[bool, str | None]:
        if len(shape) < 1 or shape[-1] != self.n_elements:
            return False, f"{name}: the shape is {tuple(shape)}; a packed point is (..., {self.n_elements})"
        return True, None

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        return self._check("check_point_on_manifold", x, atol=atol, rtol=rtol)

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        return self._check("check_vector_on_tangent", x, u, ok_point=True, atol=atol, rtol=rtol)

    def _check(self, operation: str, *tensors: Tensor, **options: Any) -> tuple[bool, str | None]:
        for number, (ok, reason) in enumerate(self._each(operation, *tensors, explain=True, **options)):
            if not ok:
                return False, f"component {number}, {self.manifolds[number]!r}: {reason}"
        return True, None
