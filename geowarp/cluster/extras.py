"""The packages of the extra ``cluster``, imported where they are used."""

import importlib
from types import ModuleType

from ..errors import GeowarpError

__all__ = ["MissingExtraError", "import_extra"]

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


class MissingExtraError(GeowarpError, ImportError):
    """A package of the extra ``cluster`` is not installed."""


def import_extra(module: str, needed_by: str) -> ModuleType:
    """Return a module of the extra ``cluster``.

    Raises:
        MissingExtraError: where it is not installed, with how to install it.

    Example:
        >>> import_extra("sklearn", "geowarp.cluster").__name__
        'sklearn'
        >>> import_extra("no_such_package", "save")
        Traceback (most recent call last):
            ...
        geowarp.cluster.extras.MissingExtraError: save needs no_such_package: pip install 'geowarp[cluster]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name != package:
            raise
        name = _DISTRIBUTIONS.get(package, package)
        raise MissingExtraError(f"{needed_by} needs {name}: pip install 'geowarp[cluster]'") from error
