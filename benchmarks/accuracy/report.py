"""Rows as tables, for the terminal and for the README."""

import math

import harness

from .topic import Row, Topic, ratio_to_best, worst

__all__ = ["flat", "markdown", "summary", "table"]

HEAD = """# Accuracy of the formulas

Written by `python benchmarks/accuracy --markdown benchmarks/accuracy/README.md`, which also prints every
case. The errors of all cases, with the environment, are in `benchmarks/results/accuracy-cpu.json`.

Every number is a relative error, the largest over random samples of all cases. The exact value is computed
with mpmath at {digits} digits, from the exact values of the rounded inputs, so that no error is due to the
rounding of inputs. `inf` is NaN, infinity or a failed factorisation. The columns in bold call geowarp.
"""


def _digits(error: float) -> str:
    return "inf" if math.isinf(error) else f"{error:.1e}".replace("e-0", "e-").replace("e+0", "e")


def _cell(max: float, median: float | None = None) -> str:
    return _digits(max) + ("" if median is None else f" ({_digits(median)})")


def _cells(row: Row) -> dict[str, str]:
    labels = {key: value for key, value in row.items() if key not in ("topic", "errors")}
    return labels | {name: _cell(**errors) for name, errors in row["errors"].items()}


def flat(row: Row) -> Row:
    """Return a row for the result file: three digits, and null for a candidate that failed."""
    labels = {key: value for key, value in row.items() if key != "errors"}
    numbers = {f"{name}, {kind}": e for name, error in row["errors"].items() for kind, e in error.items()}
    return labels | {key: float(f"{e:.2e}") if math.isfinite(e) else None for key, e in numbers.items()}


def table(rows: list[Row]) -> str:
    """Return the rows of one topic as aligned text."""
    cells = [_cells(row) for row in rows]
    return harness.table(cells, list(cells[0]))


def _worst_ratio(topic: Topic, rows: list[Row]) -> float:
    return max(ratio_to_best(topic, row) for row in rows if row["topic"] == topic.name)


def summary(topics: list[Topic], rows: list[Row]) -> str:
    """Return per topic how far the shipped formula is from the best candidate in its worst case."""
    lines: list[Row] = [
        {"topic": topic.title, "shipped / best other": _worst_ratio(topic, rows)} for topic in topics
    ]
    return harness.table(lines, list(lines[0]))


def _markdown_table(header: list[str], lines: list[list[str]]) -> str:
    rule = ["---"] * len(header)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _section(topic: Topic, rows: list[Row]) -> str:
    lines = [_cells(row) for row in worst(row for row in rows if row["topic"] == topic.name)]
    header = [f"**{name}**" if name == topic.shipped else name for name in lines[0]]
    body = _markdown_table(header, [list(line.values()) for line in lines])
    return f"## {topic.title}\n\n{topic.why}\n\n{body}\n"


def markdown(topics: list[Topic], rows: list[Row], digits: int) -> str:
    """Return the README: an overview, then what won and why, with its table, per topic."""
    overview = _markdown_table(
        ["formula", "error of geowarp / least error of the others, worst case"],
        [[topic.title, f"{_worst_ratio(topic, rows):.2g}"] for topic in topics],
    )
    return "\n".join([HEAD.format(digits=digits), overview, "", *(_section(topic, rows) for topic in topics)])
