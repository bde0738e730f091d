"""Attention by the chord distance of a warped manifold, against plain dot products of 64 dimensions.

python benchmarks/warped_attention.py [--device cuda] [--sizes 1024 4096] [--rounds 15] [--only TEXT]
                                    [--results FILE]

N queries and as many keys, batch 1, 4 heads, float32; points have d = 64 coordinates, the potential has K = 1
value and 16 members, 8 of each of two groups, and values have 64 entries. ``sdpa 64`` is torch's
``scaled_dot_product_attention`` with heads of dimension 64, which knows nothing of distances. ``chord`` is
``manifold_attention`` with ``WarpedScore``: the potential of all queries and keys, the vectors, and one
fused kernel on them, which are padded to ``head`` dimensions. ``base`` is the same without the potential.
``sdpa head`` is the kernel alone with heads of that dimension. Ratios are to ``sdpa 64``; above 1: slower.
``error`` is the largest difference from the softmax of explicit distances in float64, on 32 rows.

Of definite matrices, with 10 x 10 entries and 55 coordinates, the logarithms are most of the work: they are
a part of ``SPD(10), log-Euclidean``, and of ``coordinates of SPD(10)`` none, whose points are coordinates
already, as those of a layer that computes them once are.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import geowarp
from geowarp.manifolds import Euclidean, LogEuclideanSPD, Lorentz, Manifold, PoincareBall
from geowarp.nn import (
    ChordalSquaredDistance,
    ParityPotential,
    Score,
    SquaredDistance,
    WarpedScore,
    manifold_attention,
)

HEADS, WIDTH, MEMBERS, ALPHA = 4, 64, 8, 0.25
COLUMNS = ["family", "n", "pass", "rival", "head", "ms", "ratio", "error"]
PLAIN, CHORD, BASE, KERNEL = "sdpa 64", "chord", "base", "sdpa head"
Call = Callable[[], Any]


@dataclass(frozen=True)
class Family:
    """A manifold, the shape of a point, a score and a temperature of the size of the squared distances."""

    manifold: Manifold
    point: tuple[int, ...]
    score: Score = field(default_factory=SquaredDistance)
    tau: float = 32.0

    def tokens(self, n: int, device: torch.device) -> tuple[WarpedScore, list[Tensor]]:
        """Return the score of a potential, and q, k ``(1, heads, n, *point)`` and v ``(1, heads, n, 64)``."""
        generator = torch.Generator().manual_seed(0)

        def points(*batch: int) -> Tensor:
            drawn = self.manifold.random(*batch, *self.point, generator=generator)
            return drawn.as_subclass(Tensor).detach().to(device)

        groups = {name: points(MEMBERS) for name in ("she", "he")}
        potential = ParityPotential(groups, self.manifold, ALPHA, score=self.score)
        v = torch.randn(1, HEADS, n, WIDTH, generator=generator).to(device)
        return WarpedScore(potential, score=self.score), [points(1, HEADS, n), points(1, HEADS, n), v]


FAMILIES = {
    "Euclidean(64)": Family(Euclidean(1), (64,)),
    "Lorentz(64), Lorentzian": Family(Lorentz(), (65,), ChordalSquaredDistance(), 8.0),
    "ball(64), Lorentzian": Family(PoincareBall(), (64,), ChordalSquaredDistance(), 8.0),
    "coordinates of SPD(10)": Family(Euclidean(1), (55,)),
    "SPD(10), log-Euclidean": Family(LogEuclideanSPD(), (10, 10)),
}


def rivals(family: Family, n: int, device: torch.device, backward: bool) -> dict[str, Call]:
    """Return a call of each rival, forward alone or with its gradients."""
    score, (q, k, v) = family.tokens(n, device)
    plain = [torch.randn_like(v) for _ in range(3)]
    wide = [torch.randn(*v.shape[:-1], head(family, KERNEL), device=device) for _ in range(3)]

    def attend(score: Score) -> Callable[..., Tensor]:
        return lambda q, k, v: manifold_attention(q, k, v, family.manifold, family.tau, score=score)

    return {
        PLAIN: _run(scaled_dot_product_attention, plain, backward),
        CHORD: _run(attend(score), [q, k, v], backward),
        BASE: _run(attend(family.score), [q, k, v], backward),
        KERNEL: _run(scaled_dot_product_attention, wide, backward),
    }


def _run(attend: Callable[..., Tensor], tensors: list[Tensor], backward: bool) -> Call:
    if not backward:
        return torch.no_grad()(lambda: attend(*tensors))
    leaves = [tensor.requires_grad_() for tensor in tensors]
    cotangent = torch.randn_like(tensors[-1])
    return lambda: torch.autograd.grad(attend(*leaves), leaves, cotangent)


def error(family: Family, n: int, device: torch.device) -> float:
    """Return the largest difference from explicit distances in float64."""
    score, (q, k, v) = family.tokens(n, device)
    with torch.no_grad():
        found = manifold_attention(q, k, v, family.manifold, family.tau, score=score)[:, :, :32]
        exact = score.double().logits(family.manifold, q[:, :, :32].double(), k.double()) / family.tau
        return float((found - exact.softmax(-1) @ v.double()).abs().max())


def head(family: Family, rival: str) -> int:
    """Return the dimension of the heads of the kernel."""
    if rival == PLAIN:
        return WIDTH
    score, (q, k, _) = family.tokens(2, torch.device("cpu"))
    features = (family.score if rival == BASE else score).features(family.manifold, q, k)
    assert features is not None
    return -(-max(WIDTH, features[0].shape[-1]) // 8) * 8


def measure(name: str, n: int, backward: bool, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Return one row per rival."""
    family = FAMILIES[name]
    seconds, ratios = harness.interleaved(rivals(family, n, device, backward), device, rounds)
    return [
        {
            "family": name,
            "n": n,
            "pass": "forward, backward" if backward else "forward",
            "rival": rival,
            "head": head(family, rival),
            "ms": 1e3 * seconds[rival],
            "ratio": ratios[rival],
            "error": error(family, n, device) if rival == CHORD and not backward else None,
        }
        for rival in seconds
    ]


def main() -> None:
    """Measure all families and sizes, print the table and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    cases = [
        (name, n, backward)
        for n in arguments.sizes
        for name in FAMILIES
        if arguments.only in name
        for backward in (False, True)
    ]
    rows = [
        row
        for name, n, backward in harness.progress(cases)
        for row in measure(name, n, backward, device, arguments.rounds)
    ]
    print(f"geowarp {geowarp.__version__}: {harness.environment(device)}")
    print(harness.table(rows, COLUMNS))
    if not arguments.only or arguments.results:
        print("written:", harness.write("warped_attention", device, rows, arguments.results))


if __name__ == "__main__":
    main()
