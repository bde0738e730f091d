"""Distances of all pairs of two sets: by one matrix product, with and without recomputing close pairs."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.manifolds import Grassmann, LogCholeskySPD, PoincareBall
from geowarp.metrics import Chordal, pairwise_distance

from . import exact, samples
from .flat_metrics import cholesky_coordinates, exact_cholesky_coordinates
from .grassmann import arccos, arctan_one_svd, exact_angles, pairs_at
from .grassmann import distance as exact_distance
from .hyperbolic import ball_pair
from .norm import norm
from .poincare import exact_distance as exact_poincare
from .topic import DTYPES, Case, Topic

__all__ = ["TOPICS"]

DISTANCES = {"float32": [1e-1, 1e-2, 1e-3], "float64": [1e-1, 1e-3, 1e-5, 1e-7]}
CLOSE = 0.1  # share of ‖x‖² + ‖y‖² below which ‖x‖² + ‖y‖² − 2xᵀy has lost more than a digit


def by_product(x: Tensor, y: Tensor) -> Tensor:
    """``‖x‖² + ‖y‖² − 2 xᵀy`` of rows."""
    return (_sizes(x, y) - 2 * x @ y.mT).clamp_min(0).sqrt()


def by_difference(x: Tensor, y: Tensor) -> Tensor:
    """``‖x − y‖`` of rows."""
    return norm(x[..., :, None, :] - y[..., None, :, :])


def recomputed(x: Tensor, y: Tensor) -> Tensor:
    """By the product, and close pairs by the difference."""
    product = by_product(x, y)
    return torch.where(product.square() < CLOSE * _sizes(x, y), by_difference(x, y), product)


def _sizes(x: Tensor, y: Tensor) -> Tensor:
    return x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]


def poincare(euclidean: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``2 asinh(‖x − y‖ / √((1 − ‖x‖²)(1 − ‖y‖²)))`` with Euclidean distances."""

    def distances(x: Tensor, y: Tensor) -> Tensor:
        gaps = (1 - x.square().sum(-1))[..., :, None] * (1 - y.square().sum(-1))[..., None, :]
        return 2 * (euclidean(x, y) / gaps.sqrt()).asinh()

    return distances


def cholesky(euclidean: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return Euclidean distances of the log-Cholesky coordinates."""
    return lambda a, b: euclidean(cholesky_coordinates(a), cholesky_coordinates(b))


def chordal_by_product(x: Tensor, y: Tensor) -> Tensor:
    """``√(k − ‖xᵀy‖²)``."""
    return (x.shape[-1] - _gram(x, y).square().sum((-2, -1))).clamp_min(0).sqrt()


def chordal_by_residual(x: Tensor, y: Tensor) -> Tensor:
    """``‖y − x xᵀy‖``."""
    residual = y[:, None, :] - x[:, :, None] @ _gram(x, y)
    return norm(residual.flatten(-2))


def chordal_recomputed(x: Tensor, y: Tensor) -> Tensor:
    """By the product, and close pairs by the residual."""
    product = chordal_by_product(x, y)
    return torch.where(product.square() < CLOSE * x.shape[-1], chordal_by_residual(x, y), product)


def _gram(x: Tensor, y: Tensor) -> Tensor:
    return x[:, :, None].mT @ y[:, None, :]


def _of_pairs(pair: Callable[[Any, Any], Any], point: Callable[[Tensor], Any]) -> Callable[..., list[Any]]:
    """Return the exact distances of all pairs."""

    def distances(x: Tensor, y: Tensor) -> list[Any]:
        rows, columns = [point(p) for p in x], [point(p) for p in y]
        return [pair(row, column) for row in rows for column in columns]

    return distances


def _euclidean(x: list[Any], y: list[Any]) -> Any:
    return mp.norm([a - b for a, b in zip(x, y, strict=True)])


def _chordal(x: Tensor, y: Tensor) -> Any:
    return mp.norm([mp.sin(angle) for angle in exact_angles(x, y)])


def sets(make: Callable[[torch.Generator, int, float], tuple[Tensor, Tensor]]) -> Any:
    """Return what makes two sets of points, of which those of the same index are at each distance."""

    def cases(count: int) -> Iterator[Case]:
        source = samples.generator()
        for name, dtype in DTYPES.items():
            for size in DISTANCES[name]:
                x, y = make(source, max(2, count // 5), size)
                labels = {"dtype": name, "distance of close pairs": f"{size:.0e}"}
                yield Case(labels, (x.to(dtype)[None], y.to(dtype)[None]))

    return cases


def _matrices(source: torch.Generator, count: int, size: float) -> tuple[Tensor, Tensor]:
    a = samples.spd(source, count, 4, 1e1)
    return a, samples.spd_near(source, a, size)


TOPICS = [
    Topic(
        name="pairwise-log-cholesky",
        title="Log-Cholesky distances of all pairs",
        why=(
            "One product of all pairs is several times as fast as differences, and wrong where ‖x‖² + "
            "‖y‖² − 2xᵀy cancels. Recomputing those pairs costs little, as they are few; geowarp computes "
            "the closest of them from A and B, as above."
        ),
        candidates={
            "product": cholesky(by_product),
            "differences": cholesky(by_difference),
            "product, close pairs by differences": cholesky(recomputed),
            "geowarp": lambda x, y: pairwise_distance(LogCholeskySPD(), x, y),
        },
        shipped="geowarp",
        cases=sets(_matrices),
        exact=_of_pairs(_euclidean, exact_cholesky_coordinates),
    ),
    Topic(
        name="pairwise-poincare",
        title="Distances of all pairs in the Poincaré ball (radius 3)",
        why=(
            "The same, at every radius: close to the boundary all points have nearly the same norm, "
            "and the pairs that matter cancel."
        ),
        candidates={
            "product": poincare(by_product),
            "differences": poincare(by_difference),
            "product, close pairs by differences": poincare(recomputed),
            "geowarp": lambda x, y: pairwise_distance(PoincareBall(1.0), x, y),
        },
        shipped="geowarp",
        cases=sets(lambda source, count, size: ball_pair(source, count, 3.0, size)),
        exact=_of_pairs(exact_poincare, exact.vector),
    ),
    Topic(
        name="pairwise-grassmann",
        title="Distances of all pairs of subspaces",
        why=("Cosines of all pairs by one product; where they do not tell the angle, from the bases."),
        candidates={
            "acos": lambda x, y: arccos(x[:, :, None], y[:, None, :]),
            "atan2": lambda x, y: arctan_one_svd(x[:, :, None], y[:, None, :]),
            "geowarp": lambda x, y: pairwise_distance(Grassmann(), x, y),
        },
        shipped="geowarp",
        cases=sets(lambda source, count, size: pairs_at(source, count, size, torch.float64, True)),
        exact=_of_pairs(lambda x, y: exact_distance(x, y)[0], lambda x: x),
    ),
    Topic(
        name="pairwise-chordal",
        title="Chordal distances of all pairs of subspaces",
        why=("k − ‖xᵀy‖² cancels for close pairs, which are recomputed from the bases."),
        candidates={
            "product": chordal_by_product,
            "residuals": chordal_by_residual,
            "product, close pairs by residuals": chordal_recomputed,
            "geowarp": lambda x, y: Chordal().pairwise(x, y),
        },
        shipped="geowarp",
        cases=sets(lambda source, count, size: pairs_at(source, count, size, torch.float64, True)),
        exact=_of_pairs(_chordal, lambda x: x),
    ),
]
