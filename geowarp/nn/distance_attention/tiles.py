"""How the pairs of many attention problems are divided into blocks."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Tile", "Tiling"]

_COLUMNS = 128  # keys of a block
_CAUSAL_ROWS = 512  # queries of a block whose upper right half none may look at


class Tile(NamedTuple):
    """Some queries of some problems.

    Example:
        >>> Tile(slice(0, 2), slice(0, 5)).size
        (2, 5)
    """

    problems: slice
    rows: slice

    @property
    def size(self) -> tuple[int, int]:
        """How many problems and queries there are."""
        return self.problems.stop - self.problems.start, self.rows.stop - self.rows.start


class Tiling(NamedTuple):
    """P problems of N queries and M keys, in blocks of about a number of pairs.

    Example:
        >>> tiling = Tiling.of(2, 300, 300, is_causal=True, pairs=1 << 15)
        >>> len(list(tiling.tiles())), len(list(tiling.columns(slice(0, 100))))
        (4, 1)
    """

    problems: int
    queries: int
    keys: int
    is_causal: bool
    each: tuple[int, int, int]
    """Problems, queries and keys of a block."""

    @classmethod
    def of(cls, problems: int, queries: int, keys: int, *, is_causal: bool, pairs: int) -> "Tiling":
        """Return blocks of about so many pairs: 128 keys, then queries, then problems."""
        columns = max(1, min(keys, pairs, _COLUMNS))
        rows = max(1, min(queries, pairs // columns, _CAUSAL_ROWS if is_causal else queries))
        return cls(problems, queries, keys, is_causal, (max(1, pairs // (rows * columns)), rows, columns))

    def tiles(self) -> Iterator[Tile]:
        """Yield the queries of all problems, those of a block at a time."""
        for problems in _parts(0, self.problems, self.each[0]):
            for rows in _parts(0, self.queries, self.each[1]):
                yield Tile(problems, rows)

    def columns(self, rows: slice) -> Iterator[slice]:
        """Yield the keys, those of a block at a time: all blocks with keys that some queries may look at."""
        step = self.each[2]
        stop = -(-rows.stop // step) * step if self.is_causal else self.keys
        return _parts(0, min(self.keys, stop), step)


def _parts(start: int, stop: int, step: int) -> Iterator[slice]:
    for i in range(start, stop, max(1, step)):
        yield slice(i, min(i + step, stop))
