"""Packages of an extra, imported where they are used."""

import importlib
from types import ModuleType

from .errors import GeowarpError

__all__ = ["MissingExtraError", "import_extra"]

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


class MissingExtraError(GeowarpError, ImportError):
    """A package of an extra is not installed."""


def import_extra(module: str, extra: str, needed_by: str) -> ModuleType:
    """Return a module of a package that is not among the dependencies.

    Args:
        module: with its package, such as ``"sklearn.metrics.cluster"``.
        extra: the one of geowarp that installs it.
        needed_by: what the user called.

    Raises:
        MissingExtraError: where it is not installed, with how to install it.

    Example:
        >>> import_extra("sklearn", "cluster", "geowarp.cluster").__name__
        'sklearn'
        >>> import_extra("no_such_package", "cluster", "save")
        Traceback (most recent call last):
        geowarp._extras.MissingExtraError: save needs no_such_package: pip install 'geowarp[cluster]'
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        raise MissingExtraError(f"{needed_by} needs {name}: pip install 'geowarp[{extra}]'") from error
