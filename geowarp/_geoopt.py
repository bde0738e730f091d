"""Imports geoopt quietly, and its optimisers and samplers only when they are used.

``geoopt.optim`` imports ``scipy.optimize``; here that waits until one of its names is asked for. The
standard ``LazyLoader`` would not do: it loads at any attribute, and ``inspect.getmodule`` asks all modules
for their file.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_DEFERRED = ("geoopt.optim", "geoopt.samplers")
_lock = threading.RLock()


class _DeferredModule(ModuleType):
    """A module that is executed when a name that it does not have yet is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with _lock:
            if type(self) is _DeferredModule:
                self.__class__ = ModuleType  # type: ignore[assignment]
                loader = self.__loader__
                assert isinstance(loader, _DeferredLoader)
                loader.original.exec_module(self)
        return getattr(self, name)


class _DeferredLoader(importlib.abc.Loader):
    def __init__(self, original: importlib.abc.Loader) -> None:
        self.original = original

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _DeferredModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Wait: ``_DeferredModule`` executes itself."""


class _DeferredFinder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _DEFERRED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferredLoader(spec.loader)
        return spec


def _import_geoopt() -> ModuleType:
    finder = _DeferredFinder()
    sys.meta_path.insert(0, finder)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".torch\.jit\.\w+. is deprecated", DeprecationWarning)
            return importlib.import_module("geoopt")
    finally:
        sys.meta_path.remove(finder)


_import_geoopt()
import geoopt as geoopt  # noqa: E402
