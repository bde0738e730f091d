"""The public names are a promise: none comes or goes unnoticed, and each is documented and annotated.

``python tests/test_api_surface.py`` writes the list anew, for a change that is meant.
"""

import importlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SURFACE = Path(__file__).parent / "api_surface.json"
PACKAGES = (
    "geowarp",
    "geowarp.manifolds",
    "geowarp.manifolds.checks",
    "geowarp.metrics",
    "geowarp.nn",
    "geowarp.nn.probes",
    "geowarp.cluster",
    "geowarp.optim",
)
UPDATE = "If it is meant, run python tests/test_api_surface.py, commit the list, and say so in CHANGELOG.md."


def surface() -> dict[str, list[str]]:
    """Return the sorted public names of every package that exists."""
    existing = [name for name in PACKAGES if importlib.util.find_spec(name)]
    return {name: sorted(importlib.import_module(name).__all__) for name in existing}


def members(kind: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """Return the public objects of a kind, each under the shortest of its names."""
    found: dict[int, tuple[str, Any]] = {}
    for package, names in surface().items():
        for name in names:
            value = getattr(importlib.import_module(package), name)
            if kind(value):
                found.setdefault(id(value), (f"{package}.{name}", value))
    return list(found.values())


def is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class itself defines, and its constructor."""
    for name, value in vars(kind).items():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            yield name, inspect.unwrap(function)


def unannotated(function: Callable[..., Any]) -> list[str]:
    signature = inspect.signature(function)
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is parameter.empty and parameter.name not in ("self", "cls")
    ]
    return missing + ["return"] * (signature.return_annotation is signature.empty)


FUNCTIONS, CLASSES = members(inspect.isfunction), members(inspect.isclass)


def test_the_public_names_are_those_of_the_list() -> None:
    listed, found = json.loads(SURFACE.read_text(encoding="utf-8")), surface()
    for package in sorted({*listed, *found}):
        gone = sorted(set(listed.get(package, ())) - set(found.get(package, ())))
        come = sorted(set(found.get(package, ())) - set(listed.get(package, ())))
        assert not gone, f"{package} no longer has {gone}, which users may import. {UPDATE}"
        assert not come, f"{package} has {come}, which are not in {SURFACE.name}. {UPDATE}"
    assert listed == found


def test_every_public_name_exists_once() -> None:
    for package in surface():
        module = importlib.import_module(package)
        assert len(set(module.__all__)) == len(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(("name", "value"), FUNCTIONS + CLASSES, ids=[n for n, _ in FUNCTIONS + CLASSES])
def test_docstring_with_an_example(name: str, value: Any) -> None:
    text = value.__doc__
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{value.__name__}("), f"{name} has only the docstring of its fields"
    runs = "Example:\n" in text and ">>> " in text
    assert runs or is_error(value), f"{name} has no Example that runs"


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[n for n, _ in FUNCTIONS])
def test_annotated_functions(name: str, function: Callable[..., Any]) -> None:
    assert not unannotated(inspect.unwrap(function)), f"{name} lacks annotations: {unannotated(function)}"


@pytest.mark.parametrize(("name", "kind"), CLASSES, ids=[n for n, _ in CLASSES])
def test_documented_and_annotated_methods(name: str, kind: type) -> None:
    for method, function in methods(kind):
        if method != "__init__":
            assert inspect.getdoc(getattr(kind, method)), f"{name}.{method} has no docstring"
        if inspect.getmodule(function) is inspect.getmodule(kind):  # a dataclass writes its own constructor
            assert not unannotated(function), f"{name}.{method} lacks annotations: {unannotated(function)}"


if __name__ == "__main__":
    SURFACE.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")
