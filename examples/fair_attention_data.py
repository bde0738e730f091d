"""Words and their vectors for ``fair_attention.py``: lists, and a slice of GloVe that is beside this file.

The sets of WEAT-2 and WEAT-7 are those of Caliskan, Bryson, Narayanan, Semantics derived automatically from
language corpora contain human-like biases, Science 356 (2017).
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geowarp import GeowarpError


def listed(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


SLICE = Path(__file__).resolve().parent / "data" / "glove_6b_50d.npz"
FREQUENT = 5000
"""How many of the most frequent words are in the slice, beside the lists."""

GROUPS: dict[str, list[str]] = {
    "male": listed("male man boy brother he him his son"),
    "female": listed("female woman girl sister she her hers daughter"),
}
"""The attributes of WEAT-7."""
HELD_OUT: dict[str, list[str]] = {
    "male": listed("father uncle husband king prince grandfather nephew boyfriend dad gentleman"),
    "female": listed("mother aunt wife queen princess grandmother niece girlfriend mom lady"),
}
"""Words of a gender that nothing is fitted to."""
WEAT_7 = {
    "math": listed("math algebra geometry calculus equations computation numbers addition"),
    "arts": listed("poetry art dance literature novel symphony drama sculpture"),
}
WEAT_2 = {
    "instruments": listed(
        """
        bagpipe cello guitar lute trombone banjo clarinet harmonica mandolin trumpet bassoon drum harp oboe
        tuba bell fiddle harpsichord piano viola bongo flute horn saxophone violin
        """
    ),
    "weapons": listed(
        """
        arrow club gun missile spear axe dagger harpoon pistol sword blade dynamite hatchet rifle tank bomb
        firearm knife shotgun teargas cannon grenade mace slingshot whip
        """
    ),
    "pleasant": listed(
        """
        caress freedom health love peace cheer friend heaven loyal pleasure diamond gentle honest lucky
        rainbow diploma gift honor miracle sunrise family happy laughter paradise vacation
        """
    ),
    "unpleasant": listed(
        """
        abuse crash filth murder sickness accident death grief poison stink assault disaster hatred pollute
        tragedy divorce jail poverty ugly cancer kill rotten vomit agony prison
        """
    ),
}
PROFESSIONS = listed(
    """
    accountant administrator ambassador analyst anthropologist archaeologist architect artist astronaut
    astronomer athlete attorney author baker banker barber bartender biologist bookkeeper broker butcher
    captain carpenter cashier chef chemist choreographer clerk coach comedian composer conductor
    consultant counselor critic curator dancer dean dentist designer detective diplomat director doctor
    driver economist editor educator electrician engineer entrepreneur farmer filmmaker firefighter
    gardener geologist guitarist hairdresser historian housekeeper illustrator inspector instructor
    inventor investigator janitor jeweler journalist judge lawyer lecturer librarian magician manager
    mathematician mechanic miner minister musician nanny neurologist novelist nurse painter paralegal
    pathologist pediatrician pharmacist philosopher photographer physician physicist pianist pilot
    planner plumber poet politician professor programmer prosecutor psychiatrist psychologist publicist
    receptionist reporter researcher sailor scientist sculptor secretary singer sociologist soldier
    stylist surgeon surveyor tailor teacher technician therapist trader translator tutor typist
    veterinarian violinist warden welder writer
    """
)
GENDERED = listed(
    """
    men women boys girls brothers sisters sons daughters husbands wives fathers mothers kings queens
    himself herself guy guys gal lad males females gentlemen ladies grandson granddaughter grandma
    grandpa grandparents actor actress waiter waitress businessman businesswoman chairman chairwoman
    spokesman spokeswoman congressman congresswoman policeman fireman salesman sportsman statesman
    craftsman cameraman nobleman serviceman freshman goddess heroine hero duke duchess baron baroness
    lord sir mr. mrs. ms. miss monk nun nuns bishop priest pope widow widower bride groom maternity
    maternal paternal pregnant pregnancy motherhood fatherhood fiancee fiance mistress maid housewife
    dude bachelor bull cow stallion beard masculine feminine feminist lesbian gay womb vagina penis
    prostate ovarian mama papa daddy mommy stepmother stepfather godfather emperor empress prince sultan
    sheikh ballerina schoolgirl schoolboy fraternity sorority
    """
)
"""More words that are of a gender by definition; not among the neutral ones."""


@dataclass(frozen=True)
class Vectors:
    """Words and their unit vectors.

    Args:
        words: the most frequent ones first.
        rows: ``(words, 50)``, float64.
    """

    words: Sequence[str]
    rows: Tensor

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The row of each word."""
        return {word: row for row, word in enumerate(self.words)}

    def of(self, words: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Return the vectors of words, or other rows in the same order."""
        missing = [word for word in words if word not in self.places]
        if missing:
            raise GeowarpError(f"no vectors of: {', '.join(missing)}")
        return (self.rows if rows is None else rows)[[self.places[word] for word in words]]

    @cached_property
    def neutral(self) -> Tensor:
        """The rows of frequent words that no list says to be of a gender."""
        lists = [GENDERED, *GROUPS.values(), *HELD_OUT.values()]
        excluded = {word for words in lists for word in words}
        frequent = self.words[:FREQUENT]
        return torch.tensor(
            [row for row, word in enumerate(frequent) if word.isalpha() and word not in excluded]
        )


def needed() -> list[str]:
    """Return all words of the lists that are measured, each once."""
    sets = [*GROUPS.values(), *HELD_OUT.values(), *WEAT_7.values(), *WEAT_2.values(), PROFESSIONS]
    return list(dict.fromkeys(word for words in sets for word in words))


def load(path: Path = SLICE) -> Vectors:
    """Return the vectors of the slice, divided by their norms."""
    try:
        with np.load(path) as file:
            words, rows = unpack(file["words"]), file["vectors"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise GeowarpError(f"{path} is no slice; write it with fair_attention_slice.py") from error
    return Vectors(words, torch.nn.functional.normalize(torch.from_numpy(rows.astype(np.float64)), dim=-1))


def pack(words: Sequence[str]) -> NDArray[np.uint8]:
    """Return words as one line of bytes each."""
    return np.frombuffer("\n".join(words).encode(), dtype=np.uint8)


def unpack(data: NDArray[np.uint8]) -> list[str]:
    """Return the words of ``pack``."""
    return data.tobytes().decode().split("\n")


def similarities(path: Path, vectors: Vectors) -> tuple[Tensor, Tensor]:
    """Return pairs of rows ``(n, 2)`` and their scores by people ``(n,)``, of a file of three columns.

    Columns are separated by tabs: a word, a word, a score, such as those of SimLex-999 or MEN. Pairs with a
    word that has no vector are left out.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        pairs = [(one, two, float(score)) for one, two, score in (line.split("\t") for line in lines)]
    except (OSError, ValueError) as error:
        raise GeowarpError(f"--similarities {path}: no lines of a word, a word and a score") from error
    known = [
        (vectors.places[one], vectors.places[two], score)
        for one, two, score in pairs
        if one in vectors.places and two in vectors.places
    ]
    if len(known) < 2:
        raise GeowarpError(f"--similarities {path}: {len(known)} of {len(pairs)} pairs have vectors")
    table = torch.tensor(known, dtype=torch.float64)
    return table[:, :2].long(), table[:, 2]
