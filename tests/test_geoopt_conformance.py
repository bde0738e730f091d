"""geoopt's manifolds under the same checks: each known failure is a strict one.

``docs/geoopt_conformance.md`` is the list. ``python tests/test_geoopt_conformance.py`` writes it anew.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from geoopt_cases import ABSENT, CASES, KNOWN, Known

from geowarp.errors import ConformanceError
from geowarp.manifolds.checks import CHECKS, run_check
from geowarp.manifolds.checks.suite import Check

DOCUMENT = Path(__file__).parent.parent / "docs" / "geoopt_conformance.md"
RAISED = (ConformanceError, RuntimeError, TypeError)
HEADER = """# Where geoopt's manifolds depart from the conformance suite

geowarp's manifolds must pass every check of `geowarp.manifolds.checks`. The same checks, run on the manifolds
of geoopt 0.5.1 (float64, two small points), fail as listed here. The list is the table of strict expected
failures in `tests/geoopt_cases.py`: a test fails when geoopt mends an entry, or when this page and the table
differ. It is meant for those who mix both libraries, and as a list of what could be mended upstream.

"""


def known(check: Check, name: str) -> list[Known]:
    return [entry for entry in KNOWN if entry.check == check.__name__ and name in entry.manifolds]


def document() -> str:
    rows = [f"| `{k.check}` | {', '.join(k.manifolds)} | {k.reason} |" for k in KNOWN]
    absent = [f"| `{check}` | {', '.join(names)} |" for check, names in ABSENT.items()]
    failures = "\n".join(["| Check | Manifolds | What is wrong |", "|---|---|---|", *rows])
    missing = "\n".join(["| Check | Manifolds |", "|---|---|", *absent])
    return f"{HEADER}## Failures\n\n{failures}\n\n## Checks for which there is no operation\n\n{missing}\n"


def parameters() -> Iterator[Any]:
    for name, case in CASES.items():
        for check in filter(case.claims.include, CHECKS):
            if name in ABSENT.get(check.__name__, ()):
                continue
            marks = [
                pytest.mark.xfail(strict=True, reason=k.reason, raises=RAISED) for k in known(check, name)
            ]
            yield pytest.param(check, name, id=f"{name}-{check.__name__}", marks=marks)


@pytest.mark.filterwarnings("ignore::UserWarning:geoopt", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("check", "name"), list(parameters()))
def test_conformance(check: Check, name: str) -> None:
    case = CASES[name]
    run_check(check, case.make(), case.points(2), case.claims)


@pytest.mark.filterwarnings("ignore::UserWarning:geoopt", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_absent_operations(name: str) -> None:
    case = CASES[name]
    for check in CHECKS:
        if name in ABSENT.get(check.__name__, ()):
            with pytest.raises(NotImplementedError):
                run_check(check, case.make(), case.points(2), case.claims)


def test_the_table_names_checks_and_manifolds_once() -> None:
    names = {check.__name__ for check in CHECKS}
    pairs = [(entry.check, name) for entry in KNOWN for name in entry.manifolds]
    pairs += [(check, name) for check, manifolds in ABSENT.items() for name in manifolds]
    assert len(pairs) == len(set(pairs))
    assert {check for check, _ in pairs} <= names
    assert {name for _, name in pairs} <= set(CASES)


def test_the_document_is_the_table() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
