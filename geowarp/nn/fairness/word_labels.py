"""Which tokens of a text are words of a group, by the numbers that a tokenizer gives them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import GeowarpError

__all__ = ["WordLabels"]

_SPACE = ("Ġ", "▁")  # that tokens of byte-level and of unigram tokenizers begin with, where a word does


class WordLabels:
    """The group of each token, −1 for none: a token counts where it is a whole word of a group.

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
        self._groups = torch.full((len(tokenizer),), -1)
        for number, (name, words) in enumerate(self.words.items()):
            for token in {token for word in words for token in _tokens(tokenizer, word)}:
                if self._groups[token] >= 0:
                    word = tokenizer.convert_ids_to_tokens(token)
                    other = self.names[int(self._groups[token])]
                    raise GeowarpError(f"fair_transformer: {word!r} is in the groups {other!r} and {name!r}")
                self._groups[token] = number
        self._continues = _continuations(tokenizer)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the groups of tokens ``(..., N)``."""
        if self._groups.device != tokens.device:
            self._groups, self._continues = (x.to(tokens.device) for x in (self._groups, self._continues))
        labels, follows = self._groups[tokens], torch.zeros_like(tokens, dtype=torch.bool)
        follows[..., :-1] = self._continues[tokens[..., 1:]]
        return labels.masked_fill(follows, -1)


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


def _continuations(tokenizer: Any) -> Tensor:
    """Return, for each token, whether it goes on with the word of the token before it."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special = set(tokenizer.all_special_tokens)
    by_space = any(token is not None and token.startswith(_SPACE) for token in tokens)
    goes_on: Callable[[str], bool] = (
        (lambda token: token[:1].isalnum()) if by_space else (lambda token: token.startswith("##"))
    )
    return torch.tensor([token is not None and token not in special and goes_on(token) for token in tokens])
