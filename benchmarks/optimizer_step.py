"""One optimiser step: geowarp against geoopt and against torch's AdamW and SGD, interleaved in one process.

python benchmarks/optimizer_step.py [--device cuda] [--rounds 15] [--out FILE]

The parameters are separate tensors, so that geowarp's copies to and from the stacked batch are included.
geoopt has no Grassmann manifold; there torch is the only rival. Ratios above 1: the rival takes longer.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import torch

import geowarp
from geowarp import ManifoldParameter
from geowarp.manifolds import Grassmann, Manifold, Sphere, Stiefel
from geowarp.optim import RiemannianAdam, RiemannianSGD

import geoopt  # isort: skip  (geowarp first: it silences geoopt's import)

SHAPES = [(64, (256, 32)), (8, (1024, 64)), (1, (4096, 128)), (1000, (16, 4))]
WORKLOADS: list[tuple[Manifold, int, tuple[int, ...]]] = [
    *((Stiefel(), count, shape) for count, shape in SHAPES),
    *((Grassmann(), count, shape) for count, shape in SHAPES),
    (Sphere(), 500, (64,)),
]
PEERS: dict[str, dict[str, Callable[[], Any]]] = {
    "Stiefel": {"geoopt": geoopt.EuclideanStiefel, "geoopt default": geoopt.CanonicalStiefel},
    "Grassmann": {},
    "Sphere": {"geoopt": geoopt.Sphere},
}


def with_gradients(parameters: list[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """Give every parameter a random gradient."""
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def rivals(
    kind: str, manifold: Manifold, count: int, shape: tuple[int, ...], device: torch.device
) -> dict[str, Callable[[], Any]]:
    """Return the step functions to be timed, all on points that start at the same place."""
    start = [manifold.random(*shape, device=device).detach().clone() for _ in range(count)]
    ours: Any = {"Adam": RiemannianAdam, "SGD": RiemannianSGD}[kind]
    theirs: Any = {"Adam": geoopt.optim.RiemannianAdam, "SGD": geoopt.optim.RiemannianSGD}[kind]
    flat: Any = {"Adam": torch.optim.AdamW, "SGD": torch.optim.SGD}[kind]
    options = {"lr": 1e-3} | ({"momentum": 0.9} if kind == "SGD" else {})

    def constrained(make: Callable[[torch.Tensor], torch.nn.Parameter]) -> list[torch.nn.Parameter]:
        return with_gradients([make(x.clone()) for x in start])

    steps = {"geowarp": ours(constrained(lambda x: ManifoldParameter(x, manifold=manifold)), **options).step}
    for name, peer in PEERS[manifold.name].items():
        space = peer()
        points = constrained(lambda x, space=space: geoopt.ManifoldParameter(x, manifold=space))  # type: ignore[misc]
        steps[name] = theirs(points, **options).step
    for name, extra in (("torch foreach", {"foreach": True}), ("torch fused", {"fused": True})):
        steps[name] = flat(constrained(torch.nn.Parameter), **options, **extra).step
    return steps


def measure(
    kind: str, manifold: Manifold, count: int, shape: tuple[int, ...], device: torch.device, rounds: int
) -> dict[str, Any]:
    """Return one row: milliseconds of every rival, and its ratio to geowarp."""
    seconds, ratios = harness.interleaved(rivals(kind, manifold, count, shape, device), device, rounds)
    size = " x ".join(map(str, shape))
    row: dict[str, Any] = {"optimizer": kind, "manifold": manifold.name, "points": f"{count} x ({size})"}
    row |= {f"{name} ms": 1e3 * s for name, s in seconds.items()}
    return row | {f"{name} / geowarp": ratio for name, ratio in ratios.items() if name != "geowarp"}


def main() -> None:
    """Measure all workloads, print the table of ratios and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    work = [(kind, load) for kind in ("Adam", "SGD") for load in WORKLOADS]
    rows = [
        measure(kind, manifold, count, shape, device, arguments.rounds)
        for kind, (manifold, count, shape) in harness.progress(work)
    ]
    names = ["geoopt", "geoopt default", "torch foreach", "torch fused"]
    columns = ["optimizer", "manifold", "points", "geowarp ms", *(f"{name} / geowarp" for name in names)]
    print(f"geowarp {geowarp.__version__}: {harness.environment(device)}")
    print(harness.table(rows, columns))
    print("written:", harness.write("optimizer_step", device, rows, arguments.out))


if __name__ == "__main__":
    main()
