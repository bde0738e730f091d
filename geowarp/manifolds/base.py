"""The contract of a manifold: a subclass of ``geoopt.Manifold``, and what is derived from it."""

import abc
from typing import Any, TypeVar

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import NotOnManifoldError
from .linalg import full_precision, safe_sqrt
from .sampling import gaussian, shape_of

__all__ = ["Manifold"]

Self = TypeVar("Self", bound="Manifold")

_COMPUTED = (
    *("projx", "proju", "egrad2rgrad", "inner", "norm", "retr", "expmap", "logmap"),
    *("transp", "retr_transp", "expmap_transp", "dist", "dist2", "cdist"),
)


class Manifold(geoopt.Manifold):  # type: ignore[misc]
    """A space whose points are tensors: manifold dimensions last, any leading batch dimensions.

    Two manifolds of one type with equal constants are equal and hash the same. Every operation that a
    subclass defines runs in at least float32 with autocast off and returns contiguous tensors.

    Raises:
        NotOnManifoldError: from the ``assert_check_*`` methods, with the size of the violation.
    """

    name: str
    ndim: int
    reversible = False
    __scaling__ = geoopt.Manifold.__scaling__.copy()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in _COMPUTED:
            if name in cls.__dict__:
                setattr(cls, name, full_precision(cls.__dict__[name]))

    # --- must be defined, beside geoopt's retr, expmap, inner, proju, egrad2rgrad and projx ---

    @abc.abstractmethod
    def dim(self, shape: tuple[int, ...]) -> int:
        """Return the dimension of the manifold whose points have this shape (without batch)."""

    @abc.abstractmethod
    def point_residual(self, x: Tensor) -> Tensor:
        """Return how far each point ``(..., *point)`` is from satisfying the constraint, ``(...)``."""

    @abc.abstractmethod
    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return how far each ``u`` is from the tangent space at ``x``, ``(...)``."""

    # --- may be overridden ---

    def constants(self) -> tuple[Any, ...]:
        """Return what, beside the type, makes two manifolds equal."""
        return ()

    def origin_point(self, shape: tuple[int, ...]) -> Tensor:
        """Return the point that ``origin`` gives for a shape: by default the projection of zero."""
        point: Tensor = self.projx(torch.zeros(shape))
        return point

    def for_small_steps(self: Self) -> Self:
        """Return the same manifold with a retraction as accurate for steps of norm at most 1, and cheaper.

        Example:
            >>> from geowarp.manifolds import Sphere, Stiefel
            >>> Stiefel().for_small_steps(), Sphere().for_small_steps()
            (Stiefel(EuclideanMetric(), QR(passes=1)), Sphere())
        """
        return self

    def norm(self, x: Tensor, u: Tensor, *, keepdim: bool = False) -> Tensor:
        """Return ``√⟨u, u⟩_x``; its gradient at ``u = 0`` is 0."""
        return safe_sqrt(self.inner(x, u, keepdim=keepdim))

    def retr_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the retracted point and ``v`` transported there."""
        y = self.retr(x, u)
        return y, self.transp(x, y, v)

    def expmap_transp(self, x: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the end of the geodesic and ``v`` transported there."""
        y = self.expmap(x, u)
        return y, self.transp(x, y, v)

    def random(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the projection of standard normal entries, which is uniform on a sphere or on Stiefel."""
        self._assert_check_shape(shape_of(size), "random")
        point = self.projx(gaussian(size, dtype, device, generator))
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    # --- derived ---

    def origin(
        self,
        *size: int | tuple[int, ...],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 42,
    ) -> Tensor:
        """Return the distinguished point of the manifold; ``seed`` is geoopt's, and without effect."""
        self._assert_check_shape(shape_of(size), "origin")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        point = self.origin_point(shape_of(size)).to(device=device, dtype=dtype).contiguous()
        return geoopt.ManifoldTensor(point, manifold=self)  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.constants() == other.constants()

    def __hash__(self) -> int:
        return hash((type(self), self.constants()))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.constants()))})"

    def assert_check_point_on_manifold(self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5) -> None:
        """Raise NotOnManifoldError, with the number and the remedy, where ``x`` is not a point."""
        ok, reason = self.check_point_on_manifold(x, atol=atol, rtol=rtol, explain=True)
        if not ok:
            raise NotOnManifoldError(f"{self!r}: {reason}; project it with {self.name}().projx(x)")

    def assert_check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, ok_point: bool = False, atol: float = 1e-5, rtol: float = 1e-5
    ) -> None:
        """Raise NotOnManifoldError, with the number and the remedy, where ``u`` is not tangent at ``x``."""
        ok, reason = self.check_vector_on_tangent(x, u, ok_point=ok_point, atol=atol, rtol=rtol, explain=True)
        if not ok:
            raise NotOnManifoldError(f"{self!r}: {reason}; project it with {self.name}().proju(x, u)")

    def _check_point_on_manifold(
        self, x: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        return _within(self.point_residual(x), torch.as_tensor(atol), "departure of the point")

    def _check_vector_on_tangent(
        self, x: Tensor, u: Tensor, *, atol: float = 1e-5, rtol: float = 1e-5
    ) -> tuple[bool, str | None]:
        dims = tuple(range(-self.ndim, 0))
        size = u.square().sum(dims).sqrt() if dims else u.abs()
        return _within(self.tangent_residual(x, u), atol + rtol * size, "departure from the tangent space")


def _within(residual: Tensor, bound: Tensor, what: str) -> tuple[bool, str | None]:
    if residual.numel() == 0 or bool((residual <= bound).all()):
        return True, None
    return False, f"{what} is {residual.max().item():.1e}, above {bound.max().item():.1e}"
