"""Which tokens of a text are words of a group, by the numbers that a tokenizer gives them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["WordLabels"]

_PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))  # bytes that byte-level tokens show as such
_OTHERS = (byte for byte in range(256) if byte not in _PRINTED)
_BYTES = {**{chr(n): n for n in _PRINTED}, **{chr(256 + n): byte for n, byte in enumerate(_OTHERS)}}


class WordLabels:
    """The group of each token, −1 for none: a token counts where it is a whole word of a group.

    A word ends where the text goes on with no letter or digit, be the tokens pieces ("##s"), bytes ("Ġshe")
    or unigrams ("▁she").

    Args:
        tokenizer: of Hugging Face transformers.
        groups: words by name of a group. As a tokenizer writes them after a space or with a capital letter,
            they count, too.

    Raises:
        GeowarpError: for fewer than two groups, an empty one, a word that is not one token of the vocabulary,
            which is named with its pieces, and a word of two groups.

    Example:
        >>> WordLabels(None, {"she": ["she", "her"]})
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: fair_transformer: groups = ['she']; parity needs two or more
    """

    def __init__(self, tokenizer: Any, groups: Mapping[str, Sequence[str]]) -> None:
        if len(groups) < 2:
            raise GeowarpError(f"fair_transformer: groups = {list(groups)}; parity needs two or more")
        self.names = tuple(groups)
        self.words = {name: _words(name, words) for name, words in groups.items()}
        self._groups = torch.full((max(tokenizer.get_vocab().values()) + 1,), -1)
        for number, (name, words) in enumerate(self.words.items()):
            for token in {token for word in words for token in _tokens(tokenizer, word)}:
                if self._groups[token] >= 0:
                    word = tokenizer.convert_ids_to_tokens(token)
                    other = self.names[int(self._groups[token])]
                    raise GeowarpError(f"fair_transformer: {word!r} is in the groups {other!r} and {name!r}")
                self._groups[token] = number
        self._begins, self._ends = _edges(tokenizer, self._groups.shape[0])

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the groups of tokens ``(..., N)``."""
        if self._groups.device != tokens.device:
            tables = (self._groups, self._begins, self._ends)
            self._groups, self._begins, self._ends = (table.to(tokens.device) for table in tables)
        joined = self._ends[tokens[..., :-1]] & self._begins[tokens[..., 1:]]
        part = torch.zeros_like(tokens, dtype=torch.bool)
        part[..., :-1] |= joined
        part[..., 1:] |= joined
        return self._groups[tokens].masked_fill(part, -1)


def _words(name: str, words: Sequence[str]) -> tuple[str, ...]:
    found = (words,) if isinstance(words, str) else tuple(words)
    if not found:
        raise GeowarpError(f"fair_transformer: the group {name!r} has no word")
    return found


def _tokens(tokenizer: Any, word: str) -> set[int]:
    """Return the tokens that are the word, of which there is one at least."""

    def pieces(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    plain = [pieces(word), pieces(f" {word}")]
    capital = word[:1].upper() + word[1:]
    all_ways = [*plain, pieces(capital), pieces(f" {capital}")]
    known = [[token for token in way if token != tokenizer.unk_token_id] for way in all_ways]
    if not any(len(way) == 1 for way in known[:2]):
        raise GeowarpError(
            f"fair_transformer: {word!r} is {tokenizer.convert_ids_to_tokens(plain[0])} for this tokenizer; "
            "words of groups are single tokens of its vocabulary, so leave it out or take another"
        )
    return {way[0] for way, same in zip(known, all_ways, strict=True) if len(way) == len(same) == 1}


def _edges(tokenizer: Any, size: int) -> tuple[Tensor, Tensor]:
    """Return whether each token begins, and whether it ends, with a letter or digit, as within a word."""
    tokens = [token or "" for token in tokenizer.convert_ids_to_tokens(list(range(size)))]
    special = set(tokenizer.all_special_tokens)
    mark = max(_READERS, key=lambda mark: sum(token.startswith(mark) for token in tokens))
    texts = ["" if token in special else _READERS[mark](token) for token in tokens]
    return torch.tensor([t[:1].isalnum() for t in texts]), torch.tensor([t[-1:].isalnum() for t in texts])


def _of_pieces(token: str) -> str:
    return token[2:] if token.startswith("##") else f" {token}"


def _of_unigrams(token: str) -> str:
    return token.replace("▁", " ")


def _of_bytes(token: str) -> str:
    if not all(character in _BYTES for character in token):
        return token  # added as it is
    return bytes(_BYTES[character] for character in token).decode(errors="replace")


_READERS: dict[str, Callable[[str], str]] = {"##": _of_pieces, "▁": _of_unigrams, "Ġ": _of_bytes}
"""The text of a token, with a space where a word begins, by what most tokens of a tokenizer begin with."""
