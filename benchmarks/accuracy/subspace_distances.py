"""Distances of subspaces that are functions of the principal angles θ, of cosines and of sines."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mpmath import mp
from torch import Tensor

from geowarp.metrics import BinetCauchy, FubiniStudy, Martin, Procrustes

from .grassmann import exact_angles, normal_part, pairs
from .topic import Topic

__all__ = ["TOPICS"]

Function = Callable[[Tensor], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]


def of_cosines(function: Function) -> Distance:
    """Return the function of ``σ(xᵀy)``."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        cosines: Tensor = torch.linalg.svdvals(x.mT @ y)
        return function(cosines.clamp_max(1))

    return distance


def of_sines(function: Function) -> Distance:
    """Return the function of ``σ((I − x xᵀ) y)``."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        sines: Tensor = torch.linalg.svdvals(normal_part(x, y))
        return function(sines.clamp_max(1))

    return distance


def topic(
    name: str,
    formula: str,
    functions: tuple[Function, Function],
    shipped: Distance,
    exact: Callable[[Sequence[Any]], Any],
) -> Topic:
    """Return the topic of one distance, given as a function of cosines and of sines."""
    return Topic(
        name=f"subspaces-{name.lower().replace('–', '-')}",
        title=f"{name} distance of subspaces, by largest principal angle",
        why=f"{formula}. Cosines forget small angles, and sines those near π/2; geowarp takes both, the "
        "sines from the normal part of y − x T as for the geodesic distance.",
        candidates={
            "of cosines": of_cosines(functions[0]),
            "of sines": of_sines(functions[1]),
            "geowarp": shipped,
        },
        shipped="geowarp",
        cases=pairs,
        exact=lambda x, y: [exact(exact_angles(x, y))],
    )


TOPICS = [
    topic(
        "Martin",
        "√(−Σ log cos²θ)",
        (
            lambda cosine: (-2 * cosine.log().sum(-1)).clamp_min(0).sqrt(),
            lambda sine: (-(-sine.square()).log1p().sum(-1)).sqrt(),
        ),
        Martin(),
        lambda angles: mp.sqrt(-2 * sum(mp.log(mp.cos(angle)) for angle in angles)),
    ),
    topic(
        "Binet–Cauchy",
        "√(1 − Π cos²θ)",
        (
            lambda cosine: (1 - cosine.square().prod(-1)).sqrt(),
            lambda sine: (-(-sine.square()).log1p().sum(-1).expm1()).sqrt(),
        ),
        BinetCauchy(),
        lambda angles: mp.sqrt(1 - mp.fprod(mp.cos(angle) ** 2 for angle in angles)),
    ),
    topic(
        "Fubini–Study",
        "acos Π cosθ",
        (
            lambda cosine: cosine.prod(-1).acos(),
            lambda sine: (-(-sine.square()).log1p().sum(-1).expm1()).sqrt().asin(),
        ),
        FubiniStudy(),
        lambda angles: mp.acos(mp.fprod(mp.cos(angle) for angle in angles)),
    ),
    topic(
        "Procrustes",
        "2 √Σ sin²(θ/2)",
        (
            lambda cosine: (2 * (1 - cosine).sum(-1)).sqrt(),
            lambda sine: 2 * (0.5 * sine.asin()).sin().square().sum(-1).sqrt(),
        ),
        Procrustes(),
        lambda angles: 2 * mp.norm([mp.sin(angle / 2) for angle in angles]),
    ),
]
