"""Imports geoopt quietly, and its optimisers and samplers only when they are used.

``geoopt.optim`` imports ``scipy.optimize``; ``LazyLoader`` puts that off until an attribute is asked for.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_LAZY = ("geoopt.optim", "geoopt.samplers")


class _LazyFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _LAZY:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def _import_geoopt() -> ModuleType:
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".torch\.jit\.\w+. is deprecated", DeprecationWarning)
            return importlib.import_module("geoopt")
    finally:
        sys.meta_path.remove(finder)


_import_geoopt()
import geoopt as geoopt  # noqa: E402
