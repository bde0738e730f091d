"""Attention that is fair to groups of words: measures of bias before and after, and a picture of the metric.

python examples/fair_attention.py [--alpha 0.1 0.25 1] [--mode softmax] [--tau 0.5] [--output PICTURE]

Professions attend to eight male and eight female words by ``exp(−d²/τ)``. Vectors are those of GloVe, 50
dimensions, divided by their norms; a slice of them is beside this file. The methods are: the direction of
gender projected away; hard debiasing, which also puts the two words of each pair equally far from all neutral
ones; the metric stretched by a linear potential, along the direction of gender, which makes the bias worse;
and by parity potentials of the groups, for the mean squared distance and for the mass of attention.

Prints, of each method:

- attention gap: the mean difference of the attention to male and to female words;
- ECT: the rank correlation of the similarities of professions to both groups;
- WEAT-7: the gap of mathematics and arts between the same groups, on the scale of cosines;
- WEAT-2: that of instruments and weapons between pleasant and unpleasant words, which should stay;
- held out: the attention gap to ten male and ten female words that nothing is fitted to. To a potential they
  are neutral words, unless they are labelled: then it is told the gender of each, and no other value changes;
- meaning: the rank correlation with similarities before, over random pairs of frequent neutral words; with
  ``--similarities``, of a file of pairs of words with scores by people, the correlation with those;
- linear, Gaussian, k-means: how well a probe tells the neutral words that were most male from those that were
  most female, by the points that distances are between; 0.5 is chance.

The picture shows the metric that is made from the words "she" and "he" alone. It is symmetric about the line
through both, so the plane of the place along that line and the distance from it holds all words with their
true distances to the two, and the geodesics to them. Attention goes by chords, which have parity; geodesics
are longer, and do not. Needs the extra ``examples``.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import fair_attention_picture as picture
import torch
from fair_attention_data import GROUPS, HELD_OUT, PROFESSIONS, WEAT_2, WEAT_7, Vectors, load, similarities
from fair_attention_methods import MODES, SPACE, Method, chords, gender_direction, methods, parity
from torch import Tensor
from tqdm import tqdm

from geowarp import GeowarpError
from geowarp.manifolds import FairnessWarped
from geowarp.metrics import attention_gap, ect, probe_leakage, semantic_preservation, weat
from geowarp.nn import WarpedScore, manifold_attention

NO_ERASURE = (
    "Parity is no erasure: vectors stay as they are, probes find in them what they found before, and "
    "gendered\nwords that are in no group keep their gap unless they are labelled."
)
PROBED = 300
"""How many neutral words of each gender the probes tell apart."""


# Measures


class Measures(NamedTuple):
    """A row of the table."""

    attention_gap: float
    ect: float
    weat_7: float
    weat_2: float
    held_out: float
    labelled: float | None
    meaning: float
    linear: float
    gaussian: float
    k_means: float


COLUMNS = {
    "attention gap": 4,
    "ECT": 3,
    "WEAT-7": 4,
    "WEAT-2": 4,
    "held out": 3,
    "labelled": 3,
    "meaning": 3,
    "linear": 3,
    "Gaussian": 3,
    "k-means": 3,
}
"""Titles of the table, and how many digits are printed."""


@dataclass(frozen=True)
class Measured:
    """What all methods are measured by.

    Args:
        vectors: before anything is done.
        tau: the temperature of attention.
        pairs: rows of words ``(n, 2)``.
        scores: how similar the words of a pair are.
    """

    vectors: Vectors
    tau: float
    pairs: Tensor
    scores: Tensor

    def __call__(self, method: Method) -> Measures:
        """Measure a method."""
        distance = chords(method.metric)
        professions, *groups = (self._of(words, method) for words in (PROFESSIONS, *GROUPS.values()))
        probes = probe_leakage(method.points[self.extreme], [0] * PROBED + [1] * PROBED)
        return Measures(
            attention_gap(professions, groups, self.tau, distance=distance).mean,
            ect(professions, groups, distance=distance),
            self._weat(method, [*WEAT_7.values(), *GROUPS.values()]),
            self._weat(method, [*WEAT_2.values()]),
            self._held_out(method, method.metric),
            None if method.labelled is None else self._held_out(method, method.labelled),
            semantic_preservation(method.rows, self.pairs, self.scores, distance=distance),
            *probes[:3],
        )

    @property
    def extreme(self) -> Tensor:
        """The rows of the neutral words that are most female, then of those that are most male."""
        neutral = self.vectors.neutral
        order = (self.vectors.rows[neutral] @ gender_direction(self.vectors)).argsort()
        return neutral[torch.cat([order[:PROBED], order[-PROBED:]])]

    def _of(self, words: Sequence[str], method: Method) -> Tensor:
        return self.vectors.of(words, method.rows)

    def _weat(self, method: Method, sets: Sequence[Sequence[str]]) -> float:
        points = [self._of(words, method) for words in sets]
        return weat(*points, distance=chords(method.metric), permutations=1).gap

    def _held_out(self, method: Method, metric: FairnessWarped | None) -> float:
        professions, *groups = (self._of(words, method) for words in (PROFESSIONS, *HELD_OUT.values()))
        return attention_gap(professions, groups, self.tau, distance=chords(metric)).mean


def neutral_pairs(vectors: Vectors, number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return random pairs of different neutral words ``(n, 2)``, and their cosines."""
    neutral = vectors.neutral
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(len(neutral), (number,), generator=generator)
    step = torch.randint(1, len(neutral), (number,), generator=generator)
    pairs = neutral[torch.stack([first, (first + step) % len(neutral)], -1)]
    return pairs, (vectors.rows[pairs[:, 0]] * vectors.rows[pairs[:, 1]]).sum(-1)


def table(results: dict[str, Measures]) -> str:
    """Return one line per method."""
    width = max(map(len, results))
    sizes = [max(len(title), 6) + 2 for title in COLUMNS]
    titles = [f"{title:>{size}s}" for title, size in zip(COLUMNS, sizes, strict=True)]
    lines = [" " * width + "".join(titles)]
    for name, row in results.items():
        cells = (
            f"{_number(value, digits):>{size}s}"
            for value, digits, size in zip(row, COLUMNS.values(), sizes, strict=True)
        )
        lines.append(f"{name:{width}s}" + "".join(cells))
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


# Attention


def attention_to_groups(
    vectors: Vectors, words: Sequence[str], tau: float, score: WarpedScore | None
) -> Tensor:
    """Return how much attention words pay to each group, ``(words, groups)``: one fused call."""
    members = [vectors.of(group) for group in GROUPS.values()]
    owner = torch.eye(len(members), dtype=torch.float64)
    values = owner.repeat_interleave(torch.tensor([len(group) for group in members]), 0)
    keys = torch.cat(members)
    if score is None:
        return manifold_attention(vectors.of(words), keys, values, SPACE, tau)
    return manifold_attention(vectors.of(words), keys, values, SPACE, tau, score=score)


# The command line


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--alpha", type=float, nargs="+", default=[0.1, 0.25, 1.0], help="of parity; the first is drawn"
    )
    parser.add_argument("--mode", choices=MODES, default="softmax", help="of the parity that is drawn")
    parser.add_argument("--tau", type=float, default=0.5, help="the temperature of attention")
    parser.add_argument("--pairs", type=int, default=10_000, help="of neutral words")
    parser.add_argument(
        "--similarities", type=Path, metavar="FILE", help="pairs with scores, instead of them"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the pairs")
    parser.add_argument("--output", type=Path, default=Path("fair_attention.png"))
    arguments = parser.parse_args(argv)
    arguments.alpha = list(dict.fromkeys(arguments.alpha))
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be run."""
    for alpha in arguments.alpha:
        if not 0 < alpha < float("inf"):
            raise GeowarpError(f"--alpha {alpha} must be positive")
    if not 0 < arguments.tau < float("inf"):
        raise GeowarpError(f"--tau {arguments.tau} must be positive")
    if arguments.pairs < 2:
        raise GeowarpError(f"--pairs {arguments.pairs} must be at least 2")
    picture.check(arguments.output)


@torch.no_grad()
def compare(arguments: argparse.Namespace) -> None:
    """Measure all methods, print the table, and draw the metric of one."""
    check(arguments)
    vectors, tau, alpha = load(), arguments.tau, arguments.alpha[0]
    if arguments.similarities:
        pairs, scores = similarities(arguments.similarities, vectors)
    else:
        pairs, scores = neutral_pairs(vectors, arguments.pairs, arguments.seed)
    measured = Measured(vectors, tau, pairs, scores)
    results = {}
    for method in (bar := tqdm(list(methods(vectors, arguments.alpha, tau)), leave=False)):
        bar.set_postfix_str(method.name)
        results[method.name] = measured(method)
    print(f"\n{table(results)}\n")
    print(NO_ERASURE)
    score = WarpedScore(parity(vectors, alpha, arguments.mode, tau))
    before, after = (attention_to_groups(vectors, picture.SHOWN, tau, used)[:, 0] for used in (None, score))
    caption = f"Parity ({arguments.mode}), α = {alpha:g}, τ = {tau:g}"
    figure = picture.figure_of(picture.Section.about(vectors, alpha), before, after, caption)
    picture.save(figure, arguments.output)
    print(f"drawn: {arguments.output}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    try:
        compare(parse(argv))
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
