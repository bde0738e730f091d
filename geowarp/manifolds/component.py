"""One component of a product: a manifold of geowarp or of geoopt, the shape of its part, and its number."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import UnavailableError
from .base import Manifold
from .karcher import KarcherMean, karcher_mean

__all__ = ["Component", "expression", "fingerprint"]


def expression(manifold: geoopt.Manifold) -> str:
    """Return Python that makes the manifold, for messages; of one of geoopt the constants are left out.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> expression(Euclidean(2))
        'Euclidean(2)'
    """
    return repr(manifold) if isinstance(manifold, Manifold) else f"{manifold.name}()"


def fingerprint(manifold: geoopt.Manifold) -> Hashable:
    """Return what makes two manifolds equal: for one of geowarp, itself.

    For one of geoopt, which compares by identity: the type, public attributes, the values of its constants,
    the identity of the learnable ones, and the same of its submodules.

    Example:
        >>> from geoopt import PoincareBall
        >>> fingerprint(PoincareBall(c=0.5)) == fingerprint(PoincareBall(c=0.5))
        True
        >>> fingerprint(PoincareBall(c=0.5)) == fingerprint(PoincareBall(c=1.0))
        False
    """
    if isinstance(manifold, Manifold):
        return manifold
    attributes = {
        name: value if isinstance(value, Hashable) else repr(value)
        for name, value in vars(manifold).items()
        if not (name.startswith("_") or name == "training" or callable(value))
    }
    tensors = (*manifold.named_parameters(recurse=False), *manifold.named_buffers(recurse=False))
    constants = tuple(
        (name, id(t) if t.requires_grad else tuple(t.flatten().tolist())) for name, t in tensors
    )
    children = tuple((name, fingerprint(child)) for name, child in manifold.named_children())
    return type(manifold), tuple(sorted(attributes.items())), constants, children


@dataclass(frozen=True)
class Component:
    """A manifold, the shape of its part of a product's point, and its number there.

    The shape may have ``copies`` dimensions before those of a point of the manifold.
    """

    number: int
    manifold: geoopt.Manifold
    shape: tuple[int, ...]
    owner: str = "ProductManifold: component {0.number}, {0.manifold!r}"
    """How messages begin."""

    @property
    def copies(self) -> int:
        """How many dimensions the shape has before those of a point."""
        return len(self.shape) - int(self.manifold.ndim)

    def call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """Return the result of an operation of the manifold.

        Raises:
            UnavailableError: where the manifold has none.
        """
        method = getattr(self.manifold, operation, None)
        if method is None:
            raise self._unavailable(operation)
        try:
            return method(*arguments, **options)
        except NotImplementedError as error:
            raise self._unavailable(operation, error) from error

    def point_residual(self, x: Tensor) -> Tensor:
        """Return ``point_residual``, and for a manifold of geoopt ``projx(x) − x``."""
        if isinstance(self.manifold, Manifold):
            return self.manifold.point_residual(x)
        return self.call("projx", x) - x  # type: ignore[no-any-return]

    def tangent_residual(self, x: Tensor, u: Tensor) -> Tensor:
        """Return ``tangent_residual``, and for a manifold of geoopt ``proju(x, u) − u``."""
        if isinstance(self.manifold, Manifold):
            return self.manifold.tangent_residual(x, u)
        return self.call("proju", x, u) - u  # type: ignore[no-any-return]

    def dim(self) -> int:
        """Return the dimension of the manifold, times the number of copies."""
        count = torch.Size(self.shape[: self.copies]).numel()
        return count * int(self.call("dim", self.shape[self.copies :]))

    def pairwise(self, x: Tensor, y: Tensor) -> Tensor:
        """Return squared distances ``(..., N, M)`` of ``(..., N, *shape)`` and ``(..., M, *shape)``."""
        x, y = self._together(x), self._together(y)
        ndim = self.manifold.ndim
        if hasattr(self.manifold, "cdist"):
            distance: Tensor = self.call("cdist", x, y)
        else:
            distance = self.call("dist", x.unsqueeze(-ndim - 1), y.unsqueeze(-ndim - 2))
        square = distance.square()
        return square.flatten(-2 - self.copies, -3).sum(-3) if self.copies else square

    def solve_mean(self, x: Tensor, weights: Tensor) -> KarcherMean:
        """Return the means ``(..., *shape)`` of points ``(..., N, *shape)``, over all copies."""
        x = self._together(x)
        weights = weights[(..., *[None] * self.copies, slice(None))]
        if isinstance(self.manifold, Manifold):
            result = self.manifold.solve_mean(x, weights)
        else:
            self.call("logmap", x, x)  # names the component where there is none
            result = karcher_mean(self.manifold, x, weights)
        copies = tuple(range(-self.copies, 0))
        if not copies:
            return result
        return result._replace(
            iterations=result.iterations.amax(copies),
            converged=result.converged.all(copies),
            unique=result.unique.all(copies),
        )

    def random(self, size: tuple[int, ...], generator: torch.Generator | None, **options: Any) -> Tensor:
        """Return random points; a generator seeds the global one while a manifold of geoopt samples."""
        if isinstance(self.manifold, Manifold):
            return self.manifold.random(size, generator=generator, **options)
        with torch.random.fork_rng(enabled=generator is not None):
            if generator is not None:
                seed = torch.randint(2**62, (), generator=generator, device=generator.device)
                torch.manual_seed(int(seed))
            points: Tensor = self.call("random", size, **options)
        return points

    def _unavailable(self, operation: str, error: Exception | None = None) -> UnavailableError:
        remedy = f"has no {operation}; use a manifold of geowarp for it"
        if isinstance(error, UnavailableError):
            remedy = str(error)
        return UnavailableError(f"{self.owner.format(self)}: {remedy}")

    def _together(self, x: Tensor) -> Tensor:
        """Return ``(..., *copies, N, *point)`` for ``(..., N, *copies, *point)``."""
        return x.movedim(-len(self.shape) - 1, -int(self.manifold.ndim) - 1)
