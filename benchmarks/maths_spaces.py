"""Problems of ``maths.py`` with subspaces and hyperbolic points, in float64."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pymanopt
import torch
from maths_problem import (
    SAMPLE,
    Array,
    Problem,
    Rival,
    as_numpy,
    exact_matrix,
    geomstats,
    optional,
    relative_error,
)
from pymanopt.manifolds import Grassmann as PymanoptGrassmann

from geowarp.manifolds import Grassmann, PoincareBall
from geowarp.metrics import Chordal, frechet_mean, pairwise_distance

import geoopt  # isort: skip  (geowarp first: it silences geoopt's import)


def _subspaces(count: int, radius: float | None, device: torch.device) -> torch.Tensor:
    """Return subspaces of R^100 of dimension 5, uniform or near one of them."""
    torch.manual_seed(0)
    manifold = Grassmann()
    if radius is None:
        return manifold.random(count, 100, 5, dtype=torch.float64).detach().to(device)
    centre = manifold.random(100, 5, dtype=torch.float64).detach()
    tangent = manifold.proju(centre, torch.randn(count, 100, 5, dtype=torch.float64))
    moved: torch.Tensor = manifold.expmap(
        centre, radius * tangent / manifold.norm(centre, tangent)[:, None, None]
    )
    return moved.to(device)


def _exact_angles(x: torch.Tensor, y: torch.Tensor) -> list[Any]:
    """Return the sines of the principal angles of the spans, whose bases are orthonormal up to rounding."""
    a, b = exact_matrix(x), exact_matrix(y)
    a, b = (m * mpmath.inverse(mpmath.cholesky(m.T * m)).T for m in (a, b))
    gram = a.T * b
    values = mpmath.eigsy(mpmath.eye(gram.rows) - gram.T * gram, eigvals_only=True)
    return [mpmath.sqrt(value) for value in values]


def _exact_arc_length(x: torch.Tensor, y: torch.Tensor) -> Any:
    with mpmath.workdps(40):
        return mpmath.sqrt(mpmath.fsum(mpmath.asin(s) ** 2 for s in _exact_angles(x, y)))


def _exact_chordal(x: torch.Tensor, y: torch.Tensor) -> Any:
    with mpmath.workdps(40):
        return mpmath.sqrt(mpmath.fsum(s**2 for s in _exact_angles(x, y)))


def grassmann_pairwise(device: torch.device, small: bool) -> Problem:
    """Return all geodesic distances of 500 subspaces, dimension 5 in 100."""
    count = 5 if small else 500
    x = _subspaces(count, None, device)
    a, peer, rows = as_numpy(x), PymanoptGrassmann(100, 5), 1 if small else 2

    def loop() -> Array:
        return np.array([[peer.dist(p, q) for q in a] for p in a[:rows]])

    rivals = {"geowarp": Rival(lambda: pairwise_distance(Grassmann(), x))}
    rivals |= {"pymanopt": Rival(loop, count / rows)}
    rivals |= geomstats({"geomstats": lambda: _geomstats_grassmann(a, 3)})
    return Problem(
        rivals, lambda r: relative_error(np.atleast_2d(r), lambda j: _exact_arc_length(x[0], x[j]))
    )


def _geomstats_grassmann(a: Array, count: int) -> Rival:
    metric = optional("geomstats.geometry.grassmannian").Grassmannian(100, 5).metric
    projectors = a @ np.swapaxes(a, -1, -2)

    def run() -> Array:
        row = np.full(len(a), np.nan)
        row[list(SAMPLE)] = [metric.dist(projectors[0], projectors[j]) / 2**0.5 for j in SAMPLE]
        return row if len(a) > max(SAMPLE) else row[: len(a)]

    return Rival(run, len(a) ** 2 / count)


def chordal_pairwise(device: torch.device, small: bool) -> Problem:
    """Return all chordal distances of the same subspaces, the second of which is close to the first.

    The rivals are what one writes oneself: differences of projectors, and ``k − ‖xᵀy‖²``.
    """
    x = _subspaces(6 if small else 500, None, device)
    x[1] = Grassmann().projx(x[0] + 1e-6 * torch.randn_like(x[0]))

    def projectors() -> torch.Tensor:
        flat = (x @ x.mT).flatten(-2)
        return torch.cdist(flat, flat) / 2**0.5

    def numpy_gram() -> Array:
        a = as_numpy(x)
        flat = np.moveaxis(a, 1, 2).reshape(-1, a.shape[1])
        gram = (flat @ flat.T).reshape(len(a), 5, len(a), 5)
        return np.sqrt(np.maximum(5 - np.einsum("ikjl,ikjl->ij", gram, gram), 0))

    rivals = {
        "geowarp": Rival(lambda: pairwise_distance(Grassmann(), x, distance=Chordal())),
        "torch projectors": Rival(projectors),
        "numpy Gram": Rival(numpy_gram),
    }
    return Problem(rivals, lambda r: relative_error(r, lambda j: _exact_chordal(x[0], x[j])))


def karcher_mean_grassmann(device: torch.device, small: bool) -> Problem:
    """Return the Karcher mean of 200 subspaces within π/4 of one."""
    x = _subspaces(5 if small else 200, 0.75, device)
    a = as_numpy(x)
    rivals = {"geowarp": Rival(lambda: frechet_mean(Grassmann(), x))}
    rivals |= {"pymanopt": Rival(lambda: _pymanopt_mean(a))}
    rivals |= geomstats({"geomstats": lambda: _geomstats_subspace_mean(a)})

    def error(result: Array) -> float:
        centre = torch.as_tensor(result)
        return float(Grassmann().logmap(centre, x.cpu()).mean(0).norm())

    return Problem(rivals, error)


def _pymanopt_mean(a: Array) -> Array:
    manifold = PymanoptGrassmann(100, 5)

    @pymanopt.function.numpy(manifold)  # type: ignore[untyped-decorator]
    def cost(y: Array) -> float:
        angles = np.arccos(np.minimum(np.linalg.svd(np.swapaxes(a, -1, -2) @ y, compute_uv=False), 1))
        return float(0.5 * (angles**2).sum(-1).mean())

    @pymanopt.function.numpy(manifold)  # type: ignore[untyped-decorator]
    def gradient(y: Array) -> Array:
        u, s, vt = np.linalg.svd(np.swapaxes(a, -1, -2) @ y)
        weight = np.arccos(np.minimum(s, 1)) / np.sqrt(np.maximum(1 - s**2, 1e-300))
        return -(a @ (u * weight[..., None, :]) @ vt).mean(0)

    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=gradient)
    optimizer = pymanopt.optimizers.ConjugateGradient(verbosity=0, min_gradient_norm=1e-8)
    return optimizer.run(problem, initial_point=a[0]).point


def _geomstats_subspace_mean(a: Array) -> Rival:
    space = optional("geomstats.geometry.grassmannian").Grassmannian(100, 5)
    frechet = optional("geomstats.learning.frechet_mean").FrechetMean
    projectors = a @ np.swapaxes(a, -1, -2)

    def run() -> Array:
        _, vectors = np.linalg.eigh(frechet(space).fit(projectors).estimate_)
        return vectors[:, -5:]

    return Rival(run)


def poincare_pairwise(device: torch.device, small: bool) -> Problem:
    """Return all distances of 2000 points of the Poincaré ball in 10 dimensions."""
    count = 10 if small else 2000
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(
        torch.randn(count, 10, dtype=torch.float64, generator=generator)
    )
    x = (direction * 0.95 * torch.rand(count, 1, dtype=torch.float64, generator=generator)).to(device)
    rows = 5 if small else 500
    peer, a = geoopt.PoincareBall().double(), as_numpy(x)
    rivals = {"geowarp": Rival(lambda: pairwise_distance(PoincareBall(), x))}
    rivals |= {"geoopt": Rival(lambda: peer.dist(x[:rows, None], x[None]), count / rows)}
    rivals |= geomstats({"geomstats": lambda: _geomstats_poincare(a, 100)})

    def exact(j: int) -> Any:
        with mpmath.workdps(40):
            p, q = exact_matrix(x[:1]), exact_matrix(x[j : j + 1])
            squares = [mpmath.fsum(v**2 for v in m) for m in (p, q, p - q)]
            return 2 * mpmath.asinh(mpmath.sqrt(squares[2] / ((1 - squares[0]) * (1 - squares[1]))))

    return Problem(rivals, lambda r: relative_error(r, exact))


def _geomstats_poincare(a: Array, rows: int) -> Rival:
    metric = optional("geomstats.geometry.poincare_ball").PoincareBall(10).metric
    return Rival(lambda: metric.dist(a[:rows, None], a[None]), len(a) / min(rows, len(a)))


PROBLEMS: dict[str, Callable[[torch.device, bool], Problem]] = {
    "Grassmann pairwise by angles, 500 x (100, 5)": grassmann_pairwise,
    "Grassmann pairwise chordal, 500 x (100, 5)": chordal_pairwise,
    "Karcher mean of subspaces, 200 x (100, 5)": karcher_mean_grassmann,
    "Poincaré pairwise, 2000 x 2000, d = 10": poincare_pairwise,
}
