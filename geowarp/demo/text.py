"""The text to learn: Python's own standard library, or a file, as bytes in two parts."""

import hashlib
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import GeowarpError

__all__ = ["Text", "read_file", "read_standard_library", "sample_batch", "validation_windows"]

LIMIT = 8_000_000
_APART = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass(frozen=True)
class Text:
    """Bytes to learn from, and bytes to be judged on.

    Args:
        source: what was read, for people.
        train: bytes ``(T,)``, uint8.
        validation: bytes ``(V,)``, uint8.
    """

    source: str
    train: Tensor
    validation: Tensor

    @property
    def sha256(self) -> str:
        """The digest of both parts in turn."""
        digest = hashlib.sha256(self.train.numpy().tobytes())
        digest.update(self.validation.numpy().tobytes())
        return digest.hexdigest()

    def require(self, length: int) -> None:
        """Raise GeowarpError where a part is shorter than a window of ``length`` bytes."""
        for part, size in (("training", len(self.train)), ("validation", len(self.validation))):
            if size < length:
                raise GeowarpError(
                    f"the {part} part of {self.source} has {size} bytes, fewer than one context of {length}; "
                    "give a longer text"
                )


def read_standard_library(limit: int = LIMIT) -> Text:
    """Return sources of the running Python's standard library, without tests and installed packages.

    Files come in the order of the sha256 of their relative names, up to ``limit`` bytes in all; every tenth
    is for validation. The text depends on the version of Python only.

    Raises:
        GeowarpError: where this Python has no sources on disk.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    count = size = 0
    for _, path in sorted(_sources(root)):
        content = path.read_bytes()
        if size + len(content) > limit:
            break
        count, size = count + 1, size + len(content)
        parts[count % 10 == 0].append(content)
    if not all(parts):
        raise GeowarpError(f"no Python sources in {root}; name a text with --text PATH")
    source = f"{count} files of the standard library ({root})"
    return Text(source, *(_tensor(b"".join(part)) for part in parts))


def read_file(path: Path, limit: int = LIMIT) -> Text:
    """Return the first ``limit`` bytes of a file: nine tenths to learn from, the last tenth for validation.

    Raises:
        GeowarpError: where the file cannot be read, with the reason.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit)
    except OSError as error:
        raise GeowarpError(f"cannot read {path}: {error.strerror}") from error
    cut = len(content) - len(content) // 10
    return Text(str(path), _tensor(content[:cut]), _tensor(content[cut:]))


def sample_batch(data: Tensor, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Return ``(batch, length)`` token indices: windows of ``data`` at random places.

    Example:
        >>> batch = sample_batch(torch.arange(100), 2, 5, torch.Generator())
        >>> (batch.diff() == 1).all()
        tensor(True)
    """
    start = torch.randint(len(data) - length + 1, (batch, 1), generator=generator)
    return data[start + torch.arange(length)].long()


def validation_windows(data: Tensor, count: int, length: int) -> Tensor:
    """Return up to ``count`` windows of ``data``, evenly spaced and without overlap, ``(windows, length)``.

    Example:
        >>> validation_windows(torch.arange(11), 3, 2)
        tensor([[ 0,  1],
                [ 4,  5],
                [ 9, 10]])
    """
    count = min(count, len(data) // length)
    start = torch.arange(count) * (len(data) - length) // max(count - 1, 1)
    return data[start[:, None] + torch.arange(length)].long()


def _sources(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _APART]
        for path in (
            Path(folder, name)
            for name in names
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ):
            if path.is_file() and not path.is_symlink():
                yield hashlib.sha256(path.relative_to(root).as_posix().encode()).hexdigest(), path


def _tensor(content: bytes) -> Tensor:
    return (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if content
        else torch.empty(0, dtype=torch.uint8)
    )
