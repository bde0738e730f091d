"""Candidate formulas against exact values by mpmath, and what geowarp ships.

python benchmarks/accuracy [--topic NAME ...] [--samples 40] [--out FILE] [--markdown FILE]

Per topic a table: the largest relative error of every candidate over random inputs, and the median in
brackets. The last column calls geowarp. All topics take about two minutes on one thread.
"""

import argparse
from pathlib import Path

import harness
import torch
from tqdm import tqdm

import geowarp

from .report import flat, markdown, summary, table
from .topic import DIGITS, measure
from .topics import TOPICS

__all__ = ["main"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topic", nargs="+", choices=[topic.name for topic in TOPICS])
    parser.add_argument("--samples", type=int, default=40, help="random inputs per row")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the README here")
    return parser.parse_args()


def main() -> None:
    """Measure the topics, print their tables and write the result file."""
    arguments = _arguments()
    topics = [topic for topic in TOPICS if arguments.topic is None or topic.name in arguments.topic]
    rows = []
    for topic in (bar := tqdm(topics, leave=False)):
        part = measure(topic, arguments.samples)
        rows += part
        bar.write(f"\n{topic.title}\n{table(part)}")
    print("\n" + summary(topics, rows))
    device = torch.device("cpu")
    print(f"geowarp {geowarp.__version__}: {harness.environment(device)}")
    print("written:", harness.write("accuracy", device, [flat(row) for row in rows], arguments.out))
    if arguments.markdown:
        arguments.markdown.write_text(markdown(topics, rows, DIGITS), encoding="utf-8")
