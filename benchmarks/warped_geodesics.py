"""Geodesics of a warped metric: one batched search against one quasi-Newton search for each pair.

python benchmarks/warped_geodesics.py [--pairs 1000] [--sample 10] [--rounds 3] [--results FILE]

Pairs of points of a base manifold, under ``g + Σ α db ⊗ db`` with two potentials of a network with one hidden
layer of tanh, in float64. ``solve_geodesic`` is one call for all pairs. It computes discrete geodesics of 4,
8, 16 and 32 segments, and extrapolates. Its rivals minimise the energy of 32 segments of this metric, from
the geodesic of the base on, one pair after another: torch's L-BFGS with its line search of strong Wolfe
conditions, and scipy's, both to a tolerance of 1e-7 of the gradient. They are timed on a few pairs, in
turns with the batch; one thread each, as more of them slow scipy down. ``us per pair`` is the median, and
``ratio`` how many times longer than the batch.

``error`` is the median and ``largest`` the largest relative difference from geodesics of 256 segments.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from geowarp.manifolds import Euclidean, FairnessWarped, Manifold, PoincareBall

SEGMENTS, DIMENSIONS = 32, 10
COLUMNS = ["base", "alpha", "method", "pairs", "us per pair", "ratio", "error", "largest"]
BASES: dict[str, Manifold] = {"Euclidean": Euclidean(1), "Poincaré ball": PoincareBall()}


def potential() -> nn.Module:
    """Return the network, of K = 2 values."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(DIMENSIONS, 16), nn.Tanh(), nn.Linear(16, 2))
    return net.double().requires_grad_(False)


def pairs(base: Manifold, count: int) -> tuple[Tensor, Tensor]:
    """Return so many pairs of points, at a distance of some units."""
    generator = torch.Generator().manual_seed(0)
    tangent = torch.randn(2, count, DIMENSIONS, dtype=torch.float64, generator=generator)
    if isinstance(base, PoincareBall):
        tangent = base.expmap0(0.35 * tangent)
    return tangent[0], tangent[1]


def energy_of(warped: FairnessWarped, x: Tensor, y: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return the discrete energy ``N Σ l_i²`` as a function of the inner points, and those of the start."""
    times = torch.arange(1, SEGMENTS, dtype=torch.float64)[:, None] / SEGMENTS
    start = warped.base.geodesic(times, x, y)

    def energy(inner: Tensor) -> Tensor:
        points = torch.cat([x[None], inner, y[None]])
        squares = warped.dist2(points[:-1], points[1:], mode="chord")
        return SEGMENTS * squares.sum()

    return energy, start.reshape(SEGMENTS - 1, DIMENSIONS)


def by_torch(warped: FairnessWarped, x: Tensor, y: Tensor) -> float:
    """Return the distance of one pair by ``torch.optim.LBFGS``."""
    energy, start = energy_of(warped, x, y)
    inner = start.clone().requires_grad_()
    search = torch.optim.LBFGS([inner], max_iter=500, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        value = energy(inner)
        value.backward()
        return value

    search.step(closure)
    return float(energy(inner.detach()).sqrt())


def by_scipy(warped: FairnessWarped, x: Tensor, y: Tensor) -> float:
    """Return the distance of one pair by scipy's L-BFGS-B."""
    energy, start = energy_of(warped, x, y)

    def value(flat: Any) -> tuple[float, Any]:
        inner = torch.as_tensor(flat).reshape(start.shape).requires_grad_()
        total = energy(inner)
        (gradient,) = torch.autograd.grad(total, inner)
        return total.item(), gradient.numpy().ravel()

    options = {"gtol": 1e-7, "ftol": 1e-15, "maxiter": 500}
    found = scipy.optimize.minimize(
        value, start.numpy().ravel(), jac=True, method="L-BFGS-B", options=options
    )
    return float(np.sqrt(found.fun))


def measure(name: str, alpha: float, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of one base and one α."""
    base, field = BASES[name], potential()
    warped = FairnessWarped(base, field, alpha, segments=SEGMENTS)
    x, y = pairs(base, arguments.pairs)
    count = min(arguments.sample, arguments.pairs)
    exact = FairnessWarped(base, field, alpha, segments=256).dist(x[:count], y[:count])

    def one_by_one(solve: Callable[[FairnessWarped, Tensor, Tensor], float]) -> Tensor:
        return torch.tensor([solve(warped, x[i], y[i]) for i in range(count)], dtype=torch.float64)

    rivals: dict[str, Callable[[], Tensor]] = {
        "solve_geodesic": lambda: warped.solve_geodesic(x, y).distance,
        "torch LBFGS": lambda: one_by_one(by_torch),
        "scipy L-BFGS-B": lambda: one_by_one(by_scipy),
    }
    seconds, _ = harness.interleaved(rivals, torch.device("cpu"), arguments.rounds, turn=0.0)
    rows = []
    each = {rival: time / (len(x) if rival == "solve_geodesic" else count) for rival, time in seconds.items()}
    for rival, run in rivals.items():
        errors = (run()[:count] / exact - 1).abs()
        rows.append(
            {
                "base": name,
                "alpha": alpha,
                "method": rival,
                "pairs": len(x) if rival == "solve_geodesic" else count,
                "us per pair": 1e6 * each[rival],
                "ratio": each[rival] / each["solve_geodesic"],
                "error": errors.median().item(),
                "largest": errors.max().item(),
            }
        )
    return rows


def main() -> None:
    """Measure, print the table and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--sample", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, alpha in harness.progress([(name, alpha) for name in BASES for alpha in (1.0, 10.0)]):
        rows.extend(measure(name, alpha, arguments))
    print(harness.table(rows, COLUMNS))
    print(harness.write("warped_geodesics", torch.device("cpu"), rows, arguments.results))


if __name__ == "__main__":
    main()
