"""Bytes from a model, as text while they come."""

import codecs
from collections.abc import Iterable, Iterator

from torch import Tensor

__all__ = ["decode_stream", "print_stream"]


def decode_stream(tokens: Iterable[Tensor]) -> Iterator[str]:
    """Yield the text of UTF-8 bytes, each character as soon as its last byte is there.

    What is no UTF-8, and what a terminal would obey instead of showing it, becomes ``�``.

    Args:
        tokens: one byte each.

    Example:
        >>> list(decode_stream(torch.tensor([72, 195, 169, 27])))
        ['H', 'é', '�']
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        yield from _printable(decoder.decode(bytes([int(token)])))
    yield from _printable(decoder.decode(b"", final=True))


def print_stream(tokens: Iterable[Tensor]) -> str:
    """Print the text of UTF-8 bytes while they come, and return it."""
    shown = []
    for character in decode_stream(tokens):
        print(character, end="", flush=True)
        shown.append(character)
    return "".join(shown)


def _printable(text: str) -> Iterator[str]:
    return (c if c.isprintable() or c in "\n\t" else "�" for c in text)
