"""The submanifold that pairs or groups of points differ along."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ..._geoopt import geoopt
from ...errors import GeowarpError
from ...manifolds.descent import State
from ...manifolds.linalg.precision import full_precision
from ...metrics import tangent_pca
from ...metrics.inference_mode import outside_inference_mode
from ...metrics.mean import frechet_mean
from ...metrics.tangent_vectors import combine
from ...metrics.validation import check_points
from .bias_submanifold import BiasSubmanifold, Projection, flattened
from .groups import Members, read_groups
from .like import check_like, in_single
from .nearest_point import nearest, projection, state

__all__ = ["PrincipalGeodesics", "of_groups", "of_pairs"]


@final
class PrincipalGeodesics(BiasSubmanifold):
    """``{exp_m(Σ_k t_k u_k)}``: what geodesics along K orthonormal tangent vectors at m sweep.

    ``BiasSubmanifold.from_pairs`` and ``from_groups`` find it.

    Args:
        base: the manifold.
        mean: m, ``(*point)``.
        components: u, ``(K, *point)``.
        variances: of the differences along each component, ``(K,)``.
        explained: the variances divided by that of the differences, ``(K,)``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> pole, east = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> circle = PrincipalGeodesics(Sphere(), pole, east, torch.ones(1), torch.ones(1))
        >>> circle.distance(torch.tensor([0.48, 0.6, 0.64])).sin()
        tensor(0.6000)
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    explained: Tensor

    def __init__(
        self, base: geoopt.Manifold, mean: Tensor, components: Tensor, variances: Tensor, explained: Tensor
    ) -> None:
        super().__init__(base)
        for name, value in (("mean", mean), ("components", components)):
            self.register_buffer(name, value.detach().as_subclass(Tensor).clone())
        self.register_buffer("variances", variances.detach())
        self.register_buffer("explained", explained.detach())

    @outside_inference_mode
    @full_precision
    def solve_projection(self, x: Tensor) -> Projection:
        """Return the nearest points, from the coordinates of ``log_m x`` on.

        Raises:
            GeowarpError: for points of another shape or dtype than the mean.
        """
        check_like("PrincipalGeodesics", x, self.components, "components")
        batch, points = flattened(x, self.base.ndim)
        with torch.no_grad():
            found = nearest(_Coordinates(self, points), self.coordinates(points))
            return projection(self.points(found.state.point), found, batch)

    def coordinates(self, x: Tensor) -> Tensor:
        """Return ``⟨u_k, log_m x⟩``, ``(..., K)``, of points ``(..., *point)``; in flat space of the nearest.

        Example:
            >>> from geowarp.manifolds import Euclidean
            >>> line = of_pairs(torch.tensor([[[3.0, 1.0], [-3.0, 1.0]]]), Euclidean(1), 1)
            >>> line.coordinates(torch.tensor([[5.0, 7.0]]))
            tensor([[5.]])
        """
        mean, components = self.mean.to(x.dtype), self.components.to(x.dtype)
        logarithms = self.base.logmap(mean, x)
        return torch.stack([self.base.inner(mean, u, logarithms) for u in components], -1)

    def points(self, coordinates: Tensor) -> Tensor:
        """Return ``exp_m(Σ_k t_k u_k)``, ``(N, *point)``, of coordinates ``(N, K)``."""
        mean, components = self.mean.to(coordinates.dtype), self.components.to(coordinates.dtype)
        points: Tensor = self.base.expmap(mean, combine(self.base, coordinates, components))
        return points


@dataclass(frozen=True)
class _Coordinates:
    """``½ d(x, exp_m(Σ t_k u_k))²`` of coordinates t, ``(N, K)``."""

    geodesics: PrincipalGeodesics
    x: Tensor

    def evaluate(self, point: Tensor) -> State:
        with torch.enable_grad():
            variable = point.detach().requires_grad_()
            half = 0.5 * self.geodesics.base.dist2(self.x, self.geodesics.points(variable))
            (gradient,) = torch.autograd.grad(half.sum(), variable)
        residual = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        return state(point, -gradient, residual, half.detach()[:, None])

    def finish(self, state: State) -> State:
        return state

    def move(self, centre: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return centre + u, u

    def inner(self, centre: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(-1, keepdim=True)


def of_pairs(
    pairs: Tensor,
    base: geoopt.Manifold,
    components: int,
    mean: Tensor | None = None,
    name: str = "BiasSubmanifold.from_pairs",
) -> PrincipalGeodesics:
    """Return the submanifold that the members of pairs ``(P, 2, *point)`` differ along, through the mean.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> of_pairs(torch.tensor([[[3.0, 1.0], [-3.0, 1.0]]]), Euclidean(1), 1).variances
        tensor([9.])
    """
    check_points(base, pairs, "pairs")
    if pairs.ndim != base.ndim + 2 or pairs.shape[1] != 2 or not pairs.shape[0]:
        raise GeowarpError(
            f"{name}: the pairs have the shape {tuple(pairs.shape)}; they must be (P, 2, *point), P at least "
            "1"
        )
    pairs = in_single(pairs)
    mean = frechet_mean(base, pairs.flatten(0, 1)) if mean is None else mean
    logarithms = base.logmap(mean, pairs)
    halves = base.expmap(mean, 0.5 * (logarithms[:, 0] - logarithms[:, 1]))
    return _principal(base, mean, halves, components)


def of_groups(groups: Members, base: geoopt.Manifold, components: int | None) -> PrincipalGeodesics:
    """Return the submanifold that the means of groups differ along.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> of_groups([torch.tensor([[2.0, 0.0]]), torch.tensor([[4.0, 0.0]])], Euclidean(1), None).mean
        tensor([3., 0.])
    """
    read = read_groups("BiasSubmanifold.from_groups", groups, base)
    most = len(read.names) - 1
    if components is not None and not 1 <= components <= most:
        raise GeowarpError(
            f"BiasSubmanifold.from_groups: components = {components}; {len(read.names)} groups have from 1 "
            f"to {most}"
        )
    means = torch.stack([frechet_mean(base, part) for part in in_single(read.members).split(read.sizes)])
    return _principal(base, frechet_mean(base, means), means, most if components is None else components)


def _principal(base: geoopt.Manifold, mean: Tensor, points: Tensor, components: int) -> PrincipalGeodesics:
    pca = tangent_pca(base, points, n_components=components, mean=mean)
    return PrincipalGeodesics(base, mean, pca.components, pca.variances, pca.explained_ratio)
