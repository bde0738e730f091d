"""Attention by distance: geowarp against N × N pairs by geoopt's distances, and against dot products.

python benchmarks/attention.py [--device cuda] [--sizes 256 1024 4096 16384] [--rounds 9] [--only TEXT]
                               [--results FILE]

N queries and as many keys, batch 1, 4 heads, float32; linear values have dimension 32. ``pairs`` is the
attention written with one distance per pair, whose points broadcast, then a softmax and a product: with
geoopt's ``dist`` or, for the projection metric of Grassmann and log-Cholesky, which geoopt lacks, with the
formula in torch. Where there are more than 2^19 pairs of a head it is measured on some of the queries, as
``rows`` says: the time is that of one row, which has what is done once per key, and that of the others scaled
up; the memory is scaled up. ``sdpa 40`` is torch's ``scaled_dot_product_attention`` with heads of dimension
40, which is what ours has after padding, and so the floor. ``sdpa 32`` has the values' own.

Ratios are to geowarp; above 1: the rival takes longer. ``error`` is the largest difference of the output from
``pairs`` in float64, on its first rows. ``peak MB`` is what one call adds at its highest, in a process of its
own. The more tokens, the fewer rounds, but three at least.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import harness
import memory
import torch
from attention_families import FAMILIES, HEADS, VALUES, Family
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import geowarp

OURS, PAIRS, ONE = "geowarp", "pairs", "pairs, one row"
SIZES = (256, 1024, 4096, 16384)
MOST_PAIRS = 2**19
COLUMNS = ["family", "n", "pass", "rival", "ms", "ratio", "rows", "error", "peak MB"]
SUMMARY = ["family", "n", "pass", "ms", "pairs / ours", "ours / sdpa", "MB"]
Call = Callable[[], Any]


def rows_of(n: int) -> int:
    """Return of how many queries ``pairs`` is measured."""
    return max(1, min(n, MOST_PAIRS // n))


def call_of(family: Family, rival: str, n: int, device: torch.device, backward: bool) -> Call:
    """Return a call of a rival, forward alone or with its gradients."""
    if rival.startswith("sdpa"):
        shape = (1, HEADS, n, int(rival.split()[1]))
        generator = torch.Generator().manual_seed(0)
        tensors = [torch.randn(shape, generator=generator).to(device) for _ in range(3)]
        return _run(scaled_dot_product_attention, tensors, backward)
    q, k, v = family.tokens(n, device, torch.float32)
    if rival == OURS:
        return _run(family.ours, [q, k, v], backward)
    rows = 1 if rival == ONE else rows_of(n)
    return _run(family.pairwise, [q[:, :, :rows].clone(), k, v], backward)


def _run(attend: Callable[..., Tensor], tensors: list[Tensor], backward: bool) -> Call:
    if not backward:
        return torch.no_grad()(lambda: attend(*tensors))
    leaves = [tensor.requires_grad_() for tensor in tensors]
    q, _, v = tensors
    cotangent = torch.randn_like(v[:, :, :1]).expand(*q.shape[:3], *v.shape[3:]).contiguous()
    return lambda: torch.autograd.grad(attend(*leaves), leaves, cotangent)


def rivals_of(family: Family) -> list[str]:
    """Return the names of what is measured, the first one ours."""
    heads = sorted({VALUES, family.head}, reverse=True)
    return [OURS, PAIRS, ONE, *(f"sdpa {head}" for head in heads)]


def whole(one: float, some: float, rows: int, n: int) -> float:
    """Return the time for ``n`` rows by those for one and for ``rows`` of them, and at least the latter."""
    return max(some, one + (some - one) * (n - 1) / (rows - 1)) if 1 < rows < n else some * n / rows


def rounds_of(most: int, n: int) -> int:
    """Return how many rounds to take, fewer beyond 4096 tokens, three at least where there are so many."""
    return min(most, max(3, most * 4096 // n))


def error(family: Family, n: int, device: torch.device) -> float:
    """Return the largest difference of our output from the pairwise one in float64."""
    q, k, v = family.tokens(n, device, torch.float32)
    rows = slice(min(rows_of(n), 32))
    with torch.no_grad():
        exact = family.pairwise(q[:, :, rows].double(), k.double(), v.double())
        return float((family.ours(q, k, v)[:, :, rows] - exact).abs().max())


def measure(name: str, n: int, backward: bool, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Return one row per rival."""
    family, rows = FAMILIES[name], rows_of(n)
    calls = {rival: call_of(family, rival, n, device, backward) for rival in rivals_of(family)}
    seconds, ratios = harness.interleaved(calls, device, rounds_of(rounds, n))
    for found in (seconds, ratios):
        found[PAIRS] = whole(found.pop(ONE), found[PAIRS], rows, n)
    base = {"family": name, "n": n, "pass": "forward, backward" if backward else "forward"}
    return [
        {
            **base,
            "rival": f"{PAIRS}, {family.source}" if rival == PAIRS else rival,
            "ms": 1e3 * seconds[rival],
            "ratio": ratios[rival],
            "rows": f"{rows} of {n}" if rival == PAIRS and rows < n else None,
            "error": error(family, n, device) if rival == OURS and not backward else None,
            "peak MB": _peaks(name, n, device).get(_key(rival, backward)),
        }
        for rival in seconds
    ]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times faster than ``pairs`` ours is, and how many times the floor it takes."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        line = {name: row[name] for name in ("family", "n", "pass")}
        line = found.setdefault(tuple(map(str, line.values())), line)
        if row["rival"] == OURS:
            line |= {"ms": row["ms"], "MB": row["peak MB"]}
        elif row["rival"].startswith(PAIRS):
            line["pairs / ours"] = row["ratio"]
        elif row["rival"] == f"sdpa {FAMILIES[row['family']].head}":
            line["ours / sdpa"] = 1 / row["ratio"]
    return list(found.values())


@cache
def _peaks(name: str, n: int, device: torch.device) -> dict[str, float | None]:
    """Return what ``peaks`` does, of a process of its own; nothing where that fails."""
    options = ("--device", str(device), "--peaks", name, str(n))
    child = subprocess.run(
        [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=False
    )
    found: dict[str, float | None] = json.loads(child.stdout) if child.returncode == 0 else {}
    return found


def peaks(name: str, n: int, device: torch.device) -> dict[str, float | None]:
    """Return how many megabytes one call of each rival adds at its highest, after a call on few tokens."""
    family = FAMILIES[name]
    found: dict[str, float | None] = {}
    for backward in (False, True):
        for rival in set(rivals_of(family)) - {ONE}:
            call_of(family, rival, 16, device, backward)()
            megabytes = memory.peak_megabytes(call_of(family, rival, n, device, backward), device)
            part = rows_of(n) / n if rival == PAIRS else 1
            found[_key(rival, backward)] = megabytes and megabytes / part
    return found


def _key(rival: str, backward: bool) -> str:
    return f"{rival}, backward" if backward else rival


def main() -> None:
    """Measure all families and sizes, print the table and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--peaks", nargs=2, metavar=("FAMILY", "N"), help="print the memory of calls")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.peaks:
        name, n = arguments.peaks
        print(json.dumps(peaks(name, int(n), device)))
        return
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
    print(harness.table(summary(rows), SUMMARY))
    if (not arguments.only and arguments.sizes == list(SIZES)) or arguments.results:
        print("written:", harness.write("attention", device, rows, arguments.results))


if __name__ == "__main__":
    main()
