"""Sets of images of one class, as matrices whose columns are mixed by a random rotation."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Images(NamedTuple):
    """Pixels from 0 to 1, ``(N, n)``, and labels, ``(N,)``."""

    pixels: Tensor
    labels: Tensor

    def part(self, which: Tensor) -> "Images":
        """Return some of the images."""
        return Images(self.pixels[which], self.labels[which])


class Split(NamedTuple):
    """Images to train with, and others to test with."""

    train: Images
    test: Images


class Sets(NamedTuple):
    """Data matrices ``(B, n, m)`` and the labels ``(B,)`` of their sets."""

    plain: Tensor
    """The columns are images."""
    mixed: Tensor
    """Each set times a random orthogonal matrix from the right."""
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """A source of images, and how they make sets.

    Args:
        name: for the table.
        split: returns the images for a seed.
        size: m, images of a set.
        per_class: training sets of a class.
        width: of the maps of GrNet.
        stiefel_rate: the learning rate of these maps.
        leave_out: networks that are too large for it.
    """

    name: str
    split: Callable[[int], Split]
    size: int
    per_class: int
    width: int
    stiefel_rate: float
    leave_out: tuple[str, ...] = ()


def digits(seed: int) -> Split:
    """Return scikit-learn's digits, half of them to train with."""
    from sklearn.datasets import load_digits

    loaded: Any = load_digits()
    images = Images(torch.from_numpy(loaded.data / 16), torch.from_numpy(loaded.target))
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(seed))
    half = len(order) // 2
    return Split(images.part(order[:half]), images.part(order[half:]))


def read_idx(path: Path) -> Tensor:
    """Return the array of unsigned bytes of a gzipped idx file."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    return torch.from_numpy(values.reshape(shape).copy())


def fashion(directory: Path, count: int, seed: int) -> Split:
    """Return ``count`` training images of Fashion-MNIST, drawn by seed, and its test images."""
    train, test = (
        Images(
            read_idx(directory / f"{name}-images-idx3-ubyte.gz").flatten(1).double() / 255,
            read_idx(directory / f"{name}-labels-idx1-ubyte.gz").long(),
        )
        for name in ("train", "t10k")
    )
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(seed))
    return Split(train.part(order[:count]), test)


def make_sets(images: Images, per_class: int, size: int, generator: torch.Generator) -> Sets:
    """Return ``per_class`` sets of every class, each of ``size`` different images drawn from it."""
    columns, labels = [], []
    for label in images.labels.unique():
        members = (images.labels == label).nonzero().squeeze(-1)
        for _ in range(per_class):
            chosen = members[torch.randperm(len(members), generator=generator)[:size]]
            columns.append(images.pixels[chosen].mT)
            labels.append(label)
    plain = torch.stack(columns)
    return Sets(plain, mix(plain, generator), torch.stack(labels))


def mix(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return each ``X (..., n, m)`` times an orthogonal matrix, uniformly distributed."""
    m = x.shape[-1]
    normal = torch.randn(*x.shape[:-2], m, m, generator=generator, dtype=x.dtype)
    q, r = torch.linalg.qr(normal)
    turn: Tensor = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return x @ turn
