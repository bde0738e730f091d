"""Distances and means: geowarp against pyRiemann, geoopt, geomstats and pymanopt, interleaved in one process.

python benchmarks/maths.py [--device cuda] [--rounds 9] [--only TEXT] [--out FILE]

Everything is float64. Ratios above 1: the rival takes longer. A rival that is too slow for the whole problem
does a part of it, and its time is scaled up. ``error`` is the largest relative error of a sample of distances
against mpmath at 40 digits, or for a mean m the norm of ``Σ w log_m(x_i)``, which is 0 at the mean. ``peak``
is the memory that one call adds at its highest, measured in a process of its own. A peer that does not import
is skipped.
"""

import argparse
from pathlib import Path
from typing import Any

import harness
import maths_spaces
import maths_spd
import memory
import torch
from maths_problem import Problem, as_numpy, quiet

import geowarp

PROBLEMS = {**maths_spd.PROBLEMS, **maths_spaces.PROBLEMS}


def measure(name: str, device: torch.device, rounds: int) -> list[dict[str, Any]]:
    """Return one row per rival of a problem."""
    problem = PROBLEMS[name](device, False)
    with quiet():
        calls = {rival: entry.run for rival, entry in problem.rivals.items()}
        seconds, ratios = harness.interleaved(calls, device, rounds)
        return [_row(name, problem, rival, seconds, ratios, device) for rival in problem.rivals]


def _row(
    name: str,
    problem: Problem,
    rival: str,
    seconds: dict[str, float],
    ratios: dict[str, float],
    device: torch.device,
) -> dict[str, Any]:
    entry = problem.rivals[rival]
    return {
        "problem": name,
        "rival": rival,
        "ms": 1e3 * seconds[rival] * entry.scale,
        "ratio": ratios[rival] * entry.scale,
        "scaled": entry.scale if entry.scale > 1 else None,
        "error": problem.error(as_numpy(entry.run())),
        "peak MB": _peak_of(name, rival, device),
    }


def _peak_of(name: str, rival: str, device: torch.device) -> float | None:
    return memory.in_new_process(__file__, "--device", str(device), "--peak", name, rival)


def peak(name: str, rival: str, device: torch.device) -> float | None:
    """Return how many megabytes one call adds at its highest, after a call on a small problem."""
    with quiet():
        PROBLEMS[name](device, True).rivals[rival].run()
        return memory.peak_megabytes(PROBLEMS[name](device, False).rivals[rival].run, device)


def main() -> None:
    """Measure all problems, print the table and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=2, metavar=("PROBLEM", "RIVAL"), help="print the memory of one call")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.peak:
        name, rival = arguments.peak
        print(peak(name, rival, device))
        return
    names = [name for name in PROBLEMS if arguments.only in name]
    rows = [row for name in harness.progress(names) for row in measure(name, device, arguments.rounds)]
    print(f"geowarp {geowarp.__version__}: {harness.environment(device)}")
    print(harness.table(rows, ["problem", "rival", "ms", "ratio", "scaled", "error", "peak MB"]))
    if not arguments.only or arguments.out:
        print("written:", harness.write("maths", device, rows, arguments.out))


if __name__ == "__main__":
    main()
