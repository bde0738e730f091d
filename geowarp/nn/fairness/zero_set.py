"""The submanifold where a potential is 0."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.descent import State
from ...manifolds.linalg.dimensions import append_dimensions
from ...manifolds.linalg.precision import full_precision
from ...manifolds.warped.potential import check_values, differentials
from ...metrics.inference_mode import outside_inference_mode
from .bias_submanifold import BiasSubmanifold, Projection, flattened
from .nearest_point import nearest, projection, state
from .parity_potential import ParityPotential

__all__ = ["ZeroSet"]

_RESTORATIONS = 100
_TRUST = 0.25  # the error of the linear model, relative to the change, up to which a step is taken


@final
class ZeroSet(BiasSubmanifold):
    """``{x : b(x) = 0}`` of a potential b: M → R^K with independent differentials there.

    Of a ``ParityPotential`` it is the points that are equally far from all groups before any stretch: a
    hyperplane in flat space with mean parity, and curved elsewhere. The nearest point is found by descent
    within the set, each step of which is moved back to it by Newton's method.

    Args:
        potential: maps points ``(..., *point)`` to ``(..., K)``. Of a ``ParityPotential``, its ``parity``.
        base: the manifold; that of the potential by default.

    Raises:
        GeowarpError: for a potential without a base, where none is given.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> equator = ZeroSet(lambda x: x[..., 2:], Sphere())
        >>> equator.project(torch.tensor([[0.6, 0.0, 0.8]]))[..., :2].round(decimals=4)
        tensor([[1., 0.]])
    """

    def __init__(self, potential: Callable[[Tensor], Tensor], base: geoopt.Manifold | None = None) -> None:
        base = getattr(potential, "base", None) if base is None else base
        if base is None:
            raise GeowarpError("ZeroSet: the potential has no base; pass the manifold of its points as base")
        super().__init__(base)
        self.potential = potential

    def values(self, x: Tensor) -> Tensor:
        """Return what is 0 on the set, ``(..., K)``."""
        potential = self.potential
        values = potential.parity(x) if isinstance(potential, ParityPotential) else potential(x)
        return check_values("ZeroSet", values, x, self.base.ndim, None)

    @outside_inference_mode
    @full_precision
    def solve_projection(self, x: Tensor) -> Projection:
        """Return the nearest points, from where Newton's method ends that starts at the points."""
        batch, points = flattened(x, self.base.ndim)
        if not points.numel():
            empty = points.new_zeros(batch)
            return Projection(points.reshape(x.shape), empty, empty.long(), empty.bool())
        search = _Search(self, points)
        found = nearest(search, search.restored(points).point)
        result = projection(found.state.point, found, batch)
        return result._replace(converged=result.converged & result.residual.isfinite())


class _Local(NamedTuple):
    """The set near points ``(N, *point)``, as far as it is flat."""

    point: Tensor
    values: Tensor
    gradients: Tensor
    """``(N, K, *point)``."""
    inverse: Tensor
    """Of the inner products of the gradients, ``(N, K, K)``."""

    def combination(self, products: Tensor) -> Tensor:
        """Return the combination of the gradients that has these inner products ``(N, K)`` with them."""
        factors = (self.inverse @ products[..., None])[..., 0]
        ndim = self.gradients.ndim - 2
        return (append_dimensions(factors, ndim) * self.gradients).sum(1)


@dataclass(frozen=True)
class _Search:
    """``½ d(x, y)²`` of points y of the set, ``(N, *point)``."""

    zero_set: ZeroSet
    x: Tensor

    def evaluate(self, point: Tensor) -> State:
        base, local = self.zero_set.base, self._local(point)
        away = base.logmap(point, self.x)
        direction = away - local.combination(self._products(local, away))
        residual, off = (self._norm(point, u) for u in (direction, local.combination(local.values)))
        half = 0.5 * append_dimensions(base.dist2(self.x, point), base.ndim)
        lost = ~(off <= 1e3 * torch.finfo(off.dtype).eps * (1 + half)) | self._stuck(local)
        return state(
            point, direction, torch.where(lost, torch.inf, residual), torch.where(lost, torch.inf, half)
        )

    def _stuck(self, local: _Local) -> Tensor:
        """Return where no step removes the values, as the gradients do not span them."""
        left = self._products(local, local.combination(local.values)) - local.values
        size, eps = _size(local.values), torch.finfo(local.values.dtype).eps
        stuck = ((_size(left) > 0.5 * size) & (size > 1e3 * eps))[:, 0]
        return append_dimensions(stuck, self.zero_set.base.ndim)

    def finish(self, state: State) -> State:
        return state

    def move(self, centre: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        base = self.zero_set.base
        local = self.restored(base.retr(centre, u))
        carried = base.proju(local.point, u)
        return local.point, carried - local.combination(self._products(local, carried))

    def inner(self, centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
        base = self.zero_set.base
        return append_dimensions(base.inner(centre, u, v), base.ndim)

    def restored(self, point: Tensor) -> _Local:
        """Return where the potential is 0, by steps of Newton's method on which it is nearly linear."""
        base, local = self.zero_set.base, self._local(point)
        step = torch.ones_like(local.values[:, :1])
        eps = torch.finfo(point.dtype).eps
        for _ in range(_RESTORATIONS):
            back = local.combination(-local.values)
            far = self._norm(local.point, back).reshape(-1, 1)
            # a step that is refused close to the set is a rounding error
            if not bool(((far > 64 * eps) & (step > 1e-3) & ((step >= 1) | (far > eps**0.5))).any()):
                break
            trial = self._local(base.retr(local.point, append_dimensions(step[:, 0], base.ndim) * back))
            error = _size(trial.values - (1 - step) * local.values)
            better = error <= _TRUST * step * _size(local.values)
            step = torch.where(better, (2 * step).clamp_max(1), 0.5 * step)
            local = _Local(
                *(
                    torch.where(append_dimensions(better[:, 0], new.ndim - 1), new, old)
                    for new, old in zip(trial, local, strict=True)
                )
            )
        return local

    def _local(self, point: Tensor) -> _Local:
        base = self.zero_set.base
        values, slopes = differentials(self.zero_set.values, point, base.ndim, create_graph=False)
        gradients = base.egrad2rgrad(point.unsqueeze(-base.ndim - 1), slopes)
        products = torch.stack(
            [base.inner(point.unsqueeze(1), gradients, part.unsqueeze(1)) for part in gradients.unbind(1)], -1
        )
        return _Local(point, values, gradients, torch.linalg.pinv(products, hermitian=True))

    def _products(self, local: _Local, u: Tensor) -> Tensor:
        products: Tensor = self.zero_set.base.inner(local.point.unsqueeze(1), local.gradients, u.unsqueeze(1))
        return products

    def _norm(self, point: Tensor, u: Tensor) -> Tensor:
        norm: Tensor = self.zero_set.base.norm(point, u)
        return append_dimensions(norm, self.zero_set.base.ndim)


def _size(values: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
    return size
