"""Problems of ``maths.py`` with symmetric positive definite matrices, in float64."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
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
    pyriemann,
    relative_error,
)

from geowarp.manifolds import AffineInvariantSPD, LogCholeskySPD, LogEuclideanSPD, Manifold
from geowarp.metrics import frechet_mean, pairwise_distance

import geoopt  # isort: skip  (geowarp first: it silences geoopt's import)


def spd(count: tuple[int, ...], n: int, spread: float) -> torch.Tensor:
    """Return matrices ``C exp(spread S_i) C`` with Gaussian symmetric S_i, around a C of condition 100."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(*count, n, n, dtype=torch.float64, generator=generator)
    values, vectors = torch.linalg.eigh(spread * (noise + noise.mT) / (2 * n) ** 0.5)
    scale = torch.logspace(-0.5, 0.5, n, dtype=torch.float64)
    half = scale[:, None] * vectors * (0.5 * values).exp()[..., None, :]
    points: torch.Tensor = half @ half.mT
    return points


def _exact_affine_invariant(x: torch.Tensor, y: torch.Tensor) -> Any:
    with mpmath.workdps(40):
        whiten = mpmath.inverse(mpmath.cholesky(exact_matrix(x)))
        values = mpmath.eigsy(whiten * exact_matrix(y) * whiten.T, eigvals_only=True)
        return mpmath.sqrt(mpmath.fsum(mpmath.log(value) ** 2 for value in values))


def _exact_log_euclidean(x: torch.Tensor, y: torch.Tensor) -> Any:
    def logarithm(matrix: torch.Tensor) -> Any:
        values, vectors = mpmath.eigsy(exact_matrix(matrix))
        return vectors * mpmath.diag([mpmath.log(value) for value in values]) * vectors.T

    with mpmath.workdps(40):
        return mpmath.mnorm(logarithm(x) - logarithm(y), "f")


def _exact_log_cholesky(x: torch.Tensor, y: torch.Tensor) -> Any:
    with mpmath.workdps(40):
        a, b = mpmath.cholesky(exact_matrix(x)), mpmath.cholesky(exact_matrix(y))
        difference = a - b
        for i in range(a.rows):
            difference[i, i] = mpmath.log(a[i, i]) - mpmath.log(b[i, i])
        return mpmath.mnorm(difference, "f")


def affine_invariant_rowwise(device: torch.device, small: bool) -> Problem:
    """Return distances of 200 pairs of 22 x 22 matrices."""
    x = spd((2, 5 if small else 200), 22, 0.5).to(device)
    a, b = as_numpy(x[0]), as_numpy(x[1])
    manifold, peer = AffineInvariantSPD(), geoopt.SymmetricPositiveDefinite()
    rivals = {"geowarp": Rival(lambda: manifold.dist(x[0], x[1]))}
    rivals |= {"geoopt": Rival(lambda: peer.dist(x[0], x[1]))}
    rivals |= pyriemann(
        {
            "pyRiemann numpy": lambda m: Rival(lambda: m.distance.distance_riemann(a, b)),
            "pyRiemann torch": lambda m: Rival(lambda: m.distance.distance_riemann(x[0], x[1])),
        }
    )
    rivals |= geomstats({"geomstats": lambda: _geomstats_rowwise(a, b)})
    exact = {j: _exact_affine_invariant(x[0, j], x[1, j]) for j in SAMPLE[:1] if not small}
    return Problem(
        rivals, lambda r: max((abs(float(r[j] / e - 1)) for j, e in exact.items()), default=float("nan"))
    )


def _geomstats_rowwise(a: Array, b: Array) -> Rival:
    metric = optional("geomstats.geometry.spd_matrices").SPDMatrices(22).metric
    return Rival(lambda: metric.dist(a, b))


def _spd_pairwise(
    manifold: Manifold,
    names: tuple[str, str | None, str | None],
    exact: Callable[[torch.Tensor, torch.Tensor], Any],
    device: torch.device,
    small: bool,
) -> Problem:
    """Return all distances of 200 matrices of 22 x 22; ``names`` are the metrics of the peers."""
    theirs, geoopts, metric = names
    count = 5 if small else 200
    rows = 2 if small else 20
    x = spd((count,), 22, 0.5).to(device)
    a = as_numpy(x)
    rivals = {"geowarp": Rival(lambda: pairwise_distance(manifold, x))}
    if geoopts is not None:
        peer = geoopt.SymmetricPositiveDefinite(geoopts)
        rivals["geoopt"] = Rival(lambda: peer.dist(x[:rows, None], x[None]), count / rows)
    rivals |= pyriemann(
        {
            "pyRiemann numpy": lambda m: Rival(lambda: m.distance.pairwise_distance(a, metric=theirs)),
            "pyRiemann torch": lambda m: Rival(lambda: m.distance.pairwise_distance(x, metric=theirs)),
        }
    )
    if metric is not None:
        rivals |= geomstats({"geomstats": lambda: _geomstats_pairwise(a, metric, rows)})
    return Problem(rivals, lambda r: relative_error(r, lambda j: exact(x[0], x[j])))


def _geomstats_pairwise(a: Array, metric: str, rows: int) -> Rival:
    module = optional("geomstats.geometry.spd_matrices")
    space = module.SPDMatrices(22, equip=False)
    space.equip_with_metric(getattr(module, metric))
    return Rival(lambda: space.metric.dist(a[:rows, None], a[None]), len(a) / rows)


def affine_invariant_pairwise(device: torch.device, small: bool) -> Problem:
    """Return affine-invariant distances."""
    names = ("riemann", "AIM", "SPDAffineMetric")
    return _spd_pairwise(AffineInvariantSPD(), names, _exact_affine_invariant, device, small)


def log_euclidean_pairwise(device: torch.device, small: bool) -> Problem:
    """Return log-Euclidean distances."""
    names = ("logeuclid", "LEM", "SPDLogEuclideanMetric")
    return _spd_pairwise(LogEuclideanSPD(), names, _exact_log_euclidean, device, small)


def log_cholesky_pairwise(device: torch.device, small: bool) -> Problem:
    """Return log-Cholesky distances, which geoopt and geomstats have not."""
    names = ("logchol", None, None)
    return _spd_pairwise(LogCholeskySPD(), names, _exact_log_cholesky, device, small)


def _spd_gradient(x: Array, mean: Array) -> float:
    """Return the largest norm of ``Σ w log(M^{-1/2} X_i M^{-1/2})`` of a batch of means."""
    values, vectors = np.linalg.eigh(mean)
    root = (vectors / np.sqrt(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    inner, frames = np.linalg.eigh(root[..., None, :, :] @ x @ root[..., None, :, :])
    logs = (frames * np.log(inner)[..., None, :]) @ np.swapaxes(frames, -1, -2)
    return float(np.linalg.norm(logs.mean(-3), axis=(-2, -1)).max())


def _spd_mean(x: torch.Tensor) -> Problem:
    a = as_numpy(x)
    manifold = AffineInvariantSPD()
    rivals = {"geowarp": Rival(lambda: frechet_mean(manifold, x))}
    rivals |= pyriemann(
        {
            "pyRiemann numpy": lambda m: Rival(lambda: m.mean.mean_riemann(a)),
            "pyRiemann torch": lambda m: Rival(lambda: m.mean.mean_riemann(x)),
        }
    )
    rivals |= geomstats({"geomstats": lambda: _geomstats_mean(a.reshape(-1, *a.shape[-3:]))})
    return Problem(rivals, lambda r: _spd_gradient(a if r.shape[:-2] == a.shape[:-3] else a[: len(r)], r))


def _geomstats_mean(a: Array) -> Rival:
    space = optional("geomstats.geometry.spd_matrices").SPDMatrices(22)
    frechet = optional("geomstats.learning.frechet_mean").FrechetMean

    def run() -> Array:
        means = np.stack([frechet(space).fit(points).estimate_ for points in a[:4]])
        return means[0] if len(a) == 1 else means

    return Rival(run, max(1.0, len(a) / 4))


def karcher_mean_spd(device: torch.device, small: bool) -> Problem:
    """Return the Karcher mean of 1000 matrices of 22 x 22."""
    return _spd_mean(spd((10 if small else 1000,), 22, 0.5).to(device))


def karcher_means_spd(device: torch.device, small: bool) -> Problem:
    """Return the Karcher means of 64 sets of 50 matrices of 22 x 22."""
    return _spd_mean(spd((2 if small else 64, 50), 22, 0.5).to(device))


PROBLEMS: dict[str, Callable[[torch.device, bool], Problem]] = {
    "affine-invariant distance, 200 x (22 x 22)": affine_invariant_rowwise,
    "affine-invariant pairwise, 200 x (22 x 22)": affine_invariant_pairwise,
    "Karcher mean, 1000 x (22 x 22)": karcher_mean_spd,
    "Karcher means, 64 x [50 x (22 x 22)]": karcher_means_spd,
    "log-Euclidean pairwise, 200 x (22 x 22)": log_euclidean_pairwise,
    "log-Cholesky pairwise, 200 x (22 x 22)": log_cholesky_pairwise,
}
