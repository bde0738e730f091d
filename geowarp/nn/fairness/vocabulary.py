"""Words as places of a vocabulary."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["Places", "Vocabulary", "Words", "read_vocabulary"]

Vocabulary = Sequence[str] | Mapping[str, int]
"""The words in the order of their embeddings, or the place of each word."""

Words = Sequence[str] | Sequence[int] | Tensor | np.ndarray[Any, Any]
"""Words of a vocabulary, or places in it."""

_LENGTHS = 2
_NAMED = 20


class Places:
    """Finds words, of which there are ``size`` with or without a vocabulary.

    Example:
        >>> places = read_vocabulary(["nurse", "doctor"], 2)
        >>> places.find({"targets": ["doctor"]})
        {'targets': [1]}
    """

    def __init__(self, size: int, places: Mapping[str, int] | None) -> None:
        self.size, self.places = size, places

    def find(self, words: Mapping[str, Words]) -> dict[str, list[int]]:
        """Return the places of lists of words, or of places, by name.

        Raises:
            GeowarpError: for words without a vocabulary, words that are not in it (all are named, each with
                the nearest spellings), and places that there are none of.

        Example:
            >>> read_vocabulary(["nurse", "doctor"], 2).find({"targets": ["nurce"]})
            Traceback (most recent call last):
            geowarp.errors.GeowarpError: debias: 1 word is not in the vocabulary: 'nurce' of targets ...
        """
        plain = {name: self._plain(name, given) for name, given in words.items()}
        missing = [
            f"{word!r} of {name}{self._nearest(word)}"
            for name, given in plain.items()
            for word in given
            if isinstance(word, str) and word not in self._known(name)
        ]
        if missing:
            count = f"{len(missing)} word is" if len(missing) == 1 else f"{len(missing)} words are"
            named = ", ".join(missing[:_NAMED]) + (", ..." if len(missing) > _NAMED else "")
            it = "it" if len(missing) == 1 else "them"
            raise GeowarpError(
                f"debias: {count} not in the vocabulary: {named}; leave {it} out, or spell {it} as the "
                "vocabulary does"
            )
        return {
            name: [self._known(name)[word] if isinstance(word, str) else word for word in given]
            for name, given in plain.items()
        }

    def name(self, place: int) -> str:
        """Return how a message calls what is at a place.

        Example:
            >>> read_vocabulary(["nurse"], 1).name(0), read_vocabulary(None, 1).name(0)
            ("'nurse'", 'place 0')
        """
        words = [word for word, other in (self.places or {}).items() if other == place]
        return repr(words[0]) if words else f"place {place}"

    def _plain(self, name: str, given: Any) -> list[str | int]:
        if isinstance(given, str):
            raise GeowarpError(
                f"debias: {name} is the string {given!r}; it must be a list of words or places"
            )
        words = given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given)
        for word in words:
            if isinstance(word, str):
                continue
            if isinstance(word, bool) or not isinstance(word, int | np.integer):
                raise GeowarpError(f"debias: {name} has {word!r}, which is neither a word nor a place")
            if not 0 <= word < self.size:
                raise GeowarpError(
                    f"debias: {name} has the place {word}; {self.size} embeddings have 0 to {self.size - 1}"
                )
        return [word if isinstance(word, str) else int(word) for word in words]

    def _known(self, name: str) -> Mapping[str, int]:
        if self.places is None:
            raise GeowarpError(
                f"debias: {name} has words and there is no vocabulary; pass the words of all embeddings as "
                "vocabulary, or places in place of words"
            )
        return self.places

    def _nearest(self, word: str) -> str:
        """Return the nearest spellings, of words of about that length with that first letter."""
        near = [
            known
            for known in self.places or ()
            if abs(len(known) - len(word)) <= _LENGTHS and known[:1].lower() == word[:1].lower()
        ]
        found = difflib.get_close_matches(word, near, n=3)
        return f" (nearest: {', '.join(map(repr, found))})" if found else ""


def read_vocabulary(vocabulary: Vocabulary | None, size: int) -> Places:
    """Return the places of the words of so many embeddings.

    Raises:
        GeowarpError: for a vocabulary of another size, or a place that there is none of.

    Example:
        >>> read_vocabulary(["nurse", "doctor"], 3)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: debias: the vocabulary has 2 words for 3 embeddings
    """
    if vocabulary is None:
        return Places(size, None)
    if isinstance(vocabulary, Mapping):
        for word, place in vocabulary.items():
            if not 0 <= place < size:
                raise GeowarpError(f"debias: the vocabulary has {word!r} at {place}, of {size} embeddings")
        return Places(size, vocabulary)
    if len(vocabulary) != size:
        raise GeowarpError(f"debias: the vocabulary has {len(vocabulary)} words for {size} embeddings")
    places: dict[str, int] = {}
    for place, word in enumerate(vocabulary):
        places.setdefault(word, place)
    return Places(size, places)
