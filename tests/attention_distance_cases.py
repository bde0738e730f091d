"""Attention problems for tests: manifolds, scores, points, and what each query may look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.nn import ChordalSquaredDistance, Distance, InverseLogDistance, Score, SquaredDistance, Uniform

HEADS, QUERIES, KEYS = 3, 4, 5
Array = Any  # of numpy


@dataclass(frozen=True)
class Case:
    """A manifold, made anew at every call, the shape of its points and a score."""

    make: Callable[[], Manifold]
    shape: tuple[int, ...]
    score: Score = SquaredDistance()  # noqa: RUF009

    @property
    def name(self) -> str:
        return f"{self.make()!r}-{self.score!r}"

    @property
    def has_features(self) -> bool:
        manifold = self.make()
        x = random_points(manifold, self.shape, 1)
        return self.score.features(manifold, x, x) is not None


def product() -> Manifold:
    return ProductManifold((Sphere(), (2, 3)), (Lorentz(2.0), 3), (LogEuclideanSPD(), (2, 2)))


def flat_product() -> Manifold:
    return ProductManifold((LogCholeskySPD(), (2, 2, 2)), (Euclidean(0), 1))


def learnable_ball() -> Manifold:
    ball: Manifold = PoincareBall(0.5, learnable=True).double()
    return ball


def learnable_hyperboloid() -> Manifold:
    hyperboloid: Manifold = Lorentz(2.0, learnable=True).double()
    return hyperboloid


CASES = [
    Case(lambda: Euclidean(1), (3,)),
    Case(lambda: Euclidean(0), (), Distance()),
    Case(lambda: Euclidean(2), (2, 2), InverseLogDistance()),
    Case(LogEuclideanSPD, (3, 3)),
    Case(LogCholeskySPD, (2, 2)),
    Case(flat_product, (9,)),
    Case(AffineInvariantSPD, (2, 2)),
    Case(AffineInvariantSPD, (2, 2), InverseLogDistance()),
    Case(BuresWassersteinSPD, (2, 2)),
    Case(learnable_hyperboloid, (4,)),
    Case(learnable_hyperboloid, (4,), ChordalSquaredDistance()),
    Case(learnable_ball, (3,)),
    Case(learnable_ball, (3,), Distance()),
    Case(learnable_ball, (3,), ChordalSquaredDistance()),
    Case(Grassmann, (5, 2)),
    Case(Grassmann, (5, 2), Distance()),
    Case(Grassmann, (5, 2), ChordalSquaredDistance()),
    Case(Sphere, (4,)),
    Case(Sphere, (4,), ChordalSquaredDistance()),
    Case(Sphere, (4,), Uniform()),
    Case(Stiefel, (4, 2), ChordalSquaredDistance()),
    Case(SpecialOrthogonal, (3, 3)),
    Case(lambda: SPSD(1), (3, 1)),
    Case(product, (13,)),
    Case(product, (13,), ChordalSquaredDistance()),
]


def random_points(
    manifold: Manifold, shape: tuple[int, ...], *batch: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    points = manifold.random(*batch, *shape, dtype=torch.float64)
    return points.detach().as_subclass(Tensor).to(dtype).clone()


class Inputs:
    """Queries ``(2, 3, 4, *point)``, of which two are keys, keys ``(2, 1, 5, *point)``, values and τ."""

    def __init__(self, case: Case, dtype: torch.dtype = torch.float64) -> None:
        self.manifold, self.score = case.make(), case.score
        self.manifold = self.manifold.to(dtype)
        self.k = random_points(self.manifold, case.shape, 2, 1, KEYS, dtype=dtype)
        self.q = random_points(self.manifold, case.shape, 2, HEADS, QUERIES, dtype=dtype)
        self.q[0, 0, :2] = self.k[0, 0, :2]
        self.v = torch.randn(HEADS, KEYS, 2, dtype=dtype)
        self.tau = torch.tensor([0.5, 1.0, 2.0], dtype=dtype)
        for tensor in (self.q, self.k, self.v, self.tau):
            tensor.requires_grad_()

    def sources(self, options: dict[str, Any]) -> list[Tensor]:
        """Return everything that has a gradient."""
        parameters = [p for p in self.manifold.parameters() if p.requires_grad]
        return [
            self.q,
            self.k,
            self.v,
            self.tau,
            *(t for t in [options.get("bias")] if t is not None),
            *parameters,
        ]


def visibilities(dtype: torch.dtype = torch.float64) -> list[dict[str, Any]]:
    """Return options: everything; hidden pairs and query, biases of pairs; padding, order, biases of keys."""
    pairs = torch.rand(QUERIES, KEYS) < 0.7
    pairs[1] = False
    padding = torch.tensor([[True, True, False, True, False], [False, False, True, True, True]])
    return [
        {},
        {"mask": pairs, "bias": torch.randn(HEADS, QUERIES, KEYS, dtype=dtype, requires_grad=True)},
        {
            "mask": padding[:, None, None, :],
            "is_causal": True,
            "bias": torch.randn(1, KEYS, dtype=dtype, requires_grad=True),
        },
    ]


class Largest(TorchDispatchMode):
    """The number of entries of the largest tensor that operations return."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes():
                self.entries = max(self.entries, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def _angles(x: Array, y: Array) -> Array:
    return np.arccos(np.clip(linalg.svdvals(x.T @ y), -1, 1))


def _cholesky_coordinates(x: Array) -> Array:
    factor = np.linalg.cholesky(x)
    return np.tril(factor, -1) + np.diag(np.log(np.diag(factor)))


def _poincare(x: Array, y: Array, c: float = 0.5) -> Array:
    gaps = (1 - c * (x @ x)) * (1 - c * (y @ y))
    return np.arccosh(1 + 2 * c * ((x - y) @ (x - y)) / gaps) / np.sqrt(c)


def _minkowski(x: Array, y: Array) -> Array:
    return -x[0] * y[0] + x[1:] @ y[1:]


def _bures(x: Array, y: Array) -> Array:
    root = linalg.sqrtm(x)
    return np.sqrt(np.trace(x + y - 2 * linalg.sqrtm(root @ y @ root).real))


SQUARED = SquaredDistance()
CHORDAL = ChordalSquaredDistance()

CLOSED_FORMS: list[tuple[Manifold, tuple[int, ...], Score, Callable[[Array, Array], Array]]] = [
    (Euclidean(2), (2, 3), SQUARED, lambda x, y: -np.square(x - y).sum()),
    (Euclidean(1), (3,), Distance(), lambda x, y: -linalg.norm(x - y)),
    (Sphere(), (4,), SQUARED, lambda x, y: -(np.arccos(x @ y) ** 2)),
    (Sphere(), (4,), InverseLogDistance(), lambda x, y: 1 / (1 + np.log(1 + np.arccos(x @ y)))),
    (PoincareBall(0.5), (3,), SQUARED, lambda x, y: -(_poincare(x, y) ** 2)),
    (PoincareBall(0.5), (3,), CHORDAL, lambda x, y: -8 * np.sinh(_poincare(x, y) / np.sqrt(8)) ** 2),
    (Lorentz(2.0), (4,), SQUARED, lambda x, y: -2 * np.arccosh(-_minkowski(x, y) / 2) ** 2),
    (Lorentz(2.0), (4,), CHORDAL, lambda x, y: 4 + 2 * _minkowski(x, y)),
    (Grassmann(), (5, 2), SQUARED, lambda x, y: -np.square(_angles(x, y)).sum()),
    (Grassmann(), (5, 2), CHORDAL, lambda x, y: -np.square(x @ x.T - y @ y.T).sum() / 2),
    (Stiefel(), (4, 2), CHORDAL, lambda x, y: -np.square(x - y).sum()),
    (LogEuclideanSPD(), (3, 3), SQUARED, lambda x, y: -np.square(linalg.logm(x) - linalg.logm(y)).sum()),
    (
        LogCholeskySPD(),
        (3, 3),
        SQUARED,
        lambda x, y: -np.square(_cholesky_coordinates(x) - _cholesky_coordinates(y)).sum(),
    ),
    (
        AffineInvariantSPD(),
        (3, 3),
        SQUARED,
        lambda x, y: -np.square(np.log(linalg.eigvalsh(x, y))).sum(),
    ),
    (BuresWassersteinSPD(), (3, 3), Distance(), lambda x, y: -_bures(x, y)),
]
"""Scores of one query and one key, written out."""
