"""BDH: geowarp against the equations of the official implementation, interleaved in one process.

python benchmarks/bdh.py [--device cuda] [--rounds 7] [--part training ...] [--out FILE] [--quick]

training: forward, cross-entropy and backward of one sequence of T bytes, at d = 128, n = 4096, h = 4 and the
official 6 layers, float32, dropout 0.1; ``peak MB`` is what a step adds at its highest, in a process of its
own. decoding: 512 bytes after a prompt of 1024; the official form, which computes the prefix again for each
byte, is timed at five lengths and integrated; ``same tokens`` counts how many of the first eight likeliest
ones are those of the official form. position: the time per byte of 512 and 2048 bytes after that prompt,
medians of the first and last tenth, with all rows, with active rows only or, by default, with what is
cheaper, for the initial weights and for weights with as few active neurons as the paper reports. throughput:
tokens per second at the official size, on a GPU only. Ratios are to the first row of the group; above 1: the
rival takes more. The longer a call, the fewer its rounds: one of T = 8192, three of 2048 bytes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bdh_decoding
import bdh_throughput
import bdh_training
import harness
import torch

import geowarp

Part = Callable[[torch.device, int, bool], list[dict[str, Any]]]
PARTS: dict[str, tuple[Part, list[str]]] = {
    "training": (bdh_training.measure, bdh_training.COLUMNS),
    "decoding": (bdh_decoding.against_recomputation, bdh_decoding.DECODING_COLUMNS),
    "position": (bdh_decoding.against_position, bdh_decoding.POSITION_COLUMNS),
    "throughput": (bdh_throughput.measure, bdh_throughput.COLUMNS),
}


def main() -> None:
    """Measure the parts, print their tables and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all runs")
    parser.add_argument("--peak", nargs=2, metavar=("RIVAL", "T"), help="print the memory of one step")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.peak:
        name, length = arguments.peak
        print(bdh_training.peak(name, int(length), device, arguments.quick))
        return
    print(f"geowarp {geowarp.__version__}: {harness.environment(device)}")
    rows: list[dict[str, Any]] = []
    whole = not arguments.quick and list(arguments.part) == list(PARTS)
    for part in arguments.part:
        measure, columns = PARTS[part]
        new = measure(device, arguments.rounds, arguments.quick)
        print(f"\n{part}\n{harness.table(new, columns)}", flush=True)
        rows += new
        if whole or arguments.out:
            print("written:", harness.write("bdh", device, rows, arguments.out))


if __name__ == "__main__":
    main()
