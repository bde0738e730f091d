"""The measures of one method: a row of the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from fairness_baselines import principal_differences
from fairness_data import HELD_OUT, Lists, Vectors
from fairness_fields import Embedding
from torch import Tensor

from geowarp.metrics import attention_gap, ect, probe_leakage, semantic_preservation, weat

WEAT = {"WEAT-7": 6, "WEAT-8": 7, "WEAT-2": 1, "WEAT-6": 5}
FEWEST = 5  # words of a set, for a test to mean something
PERMUTATIONS = 15_000  # all partitions of two sets of 8
PROBED = 500  # most biased neutral words of each gender
NEUTRAL = 4  # each how manieth word is kept to learn what is neutral
FITTED = 2000  # most biased neutral words that erasers see
COLUMNS = [
    "vectors",
    "space",
    "method",
    "attention",
    "ECT",
    "r people",
    "held-out",
    "held-out ECT",
    "WEAT-7",
    "WEAT-8",
    "WEAT-6",
    "WEAT-2",
    "WEAT-7 d",
    "WEAT-7 p",
    "SimLex",
    "MEN",
    "WS353",
    "linear",
    "RBF",
    "k-means",
]


@dataclass(frozen=True)
class Words:
    """The rows of vectors that measures and methods are about."""

    vectors: Vectors
    lists: Lists
    tau: float = 0.5

    @cached_property
    def professions(self) -> Tensor:
        """Neutral professions."""
        return self.vectors.places(self.lists.professions)

    @cached_property
    def stereotypes(self) -> Tensor:
        """How male people think each of the professions is."""
        known = self.vectors.known(self.lists.professions)
        return torch.tensor([self.lists.stereotypes[word] for word in known], dtype=torch.float64)

    @cached_property
    def groups(self) -> tuple[Tensor, Tensor]:
        """Male and female terms of WEAT-7, 8 each."""
        test = self.lists.weat[WEAT["WEAT-7"]]
        return self.vectors.places(test["a"]), self.vectors.places(test["b"])

    @cached_property
    def held_out(self) -> tuple[Tensor, Tensor]:
        """Male and female words that no method is fitted to."""
        return self.vectors.places(HELD_OUT[0]), self.vectors.places(HELD_OUT[1])

    @cached_property
    def pairs(self) -> Tensor:
        """Pairs of words to fit to, ``(P, 2)``, male first."""
        return self.vectors.pair_places(self.lists.training_pairs())

    @cached_property
    def gendered(self) -> Tensor:
        """All words that are of a gender by definition, held out ones among them, ``(N,)``."""
        mask = torch.zeros(len(self.vectors.words), dtype=torch.bool)
        for words in (self.lists.specific, *HELD_OUT, *(self.lists.weat[6][side] for side in "ab")):
            mask[self.vectors.places(words)] = True
        return mask

    @cached_property
    def bias(self) -> Tensor:
        """The coordinate of gender of all words before anything is done about it."""
        return self.vectors.rows @ principal_differences(self.vectors.rows, self.pairs, 1)[0]

    @cached_property
    def fitted(self) -> Tensor:
        """The most biased neutral words, which erasers see."""
        size = torch.where(self.gendered, 0.0, self.bias.abs())
        return size.topk(min(FITTED, len(size))).indices

    @cached_property
    def probed(self) -> Tensor:
        """The most biased neutral words, as many of each gender."""
        coordinate = torch.where(self.gendered, 0.0, self.bias)
        number = min(PROBED, len(coordinate) // 4)
        return torch.cat([coordinate.topk(number).indices, (-coordinate).topk(number).indices])

    def reduced(self) -> "Words":
        """Return these words with vectors of those alone that something is done with."""
        judged = [places.known(self.vectors)[0].flatten() for places in self.lists.similarity.values()]
        tested = [self.vectors.places(test[side]) for test in self.lists.weat for side in "xyab"]
        needed = [*judged, *tested, *self.groups, *self.held_out, self.professions, self.pairs.flatten()]
        needed += [self.gendered.nonzero()[:, 0], self.fitted, self.probed]
        return Words(self.vectors.only(torch.cat(needed).unique()), self.lists, self.tau)

    def small(self) -> "Words":
        """Return these words with vectors of professions, gendered words and some neutral ones alone."""
        chosen = self.gendered.clone()
        chosen[::NEUTRAL] = True
        chosen[self.professions] = True
        chosen[self.vectors.pair_places(self.lists.all_pairs())] = True
        return Words(self.vectors.only(chosen.nonzero()[:, 0]), self.lists, self.tau)


def measure(embedding: Embedding, words: Words, *, probes: bool = True) -> dict[str, Any]:
    """Return all numbers about an embedding, by the name of their column."""
    points, distance = embedding.packed, embedding.distance
    targets = points[words.professions]
    sides = [points[side] for side in words.groups]
    held = [points[side] for side in words.held_out]
    gap = attention_gap(targets, sides, words.tau, distance=distance, stereotype=words.stereotypes)
    row = {
        "attention": gap.mean,
        "ECT": ect(targets, sides, distance=distance),
        "r people": gap.correlation,
        "held-out": attention_gap(targets, held, words.tau, distance=distance).mean,
        "held-out ECT": ect(targets, held, distance=distance),
        **_weat(embedding, words),
    }
    for name, judgements in words.lists.similarity.items():
        pairs, scores = judgements.known(words.vectors)
        row[name] = semantic_preservation(points, pairs, scores, distance=distance)
    return row | (_probes(points, words) if probes else {})


def _weat(embedding: Embedding, words: Words) -> dict[str, float]:
    row = {}
    for name, number in WEAT.items():
        test: Mapping[str, Any] = words.lists.weat[number]
        places = [words.vectors.places(test[side]) for side in "xyab"]
        if min(map(len, places)) < FEWEST:
            continue
        sets = [embedding.packed[side] for side in places]
        result = weat(
            *sets,
            distance=embedding.distance,
            permutations=PERMUTATIONS,
            generator=torch.Generator().manual_seed(0),
        )
        row[name] = result.gap
        if name == "WEAT-7":
            row |= {"WEAT-7 d": result.effect_size, "WEAT-7 p": result.p_value}
    return row


def _probes(points: Tensor, words: Words) -> dict[str, float]:
    leakage = probe_leakage(points[words.probed], words.bias[words.probed] > 0)
    return {"linear": leakage.linear, "RBF": leakage.rbf, "k-means": leakage.kmeans}
