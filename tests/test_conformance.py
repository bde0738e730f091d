"""Every manifold of geowarp has every property of the public conformance suite."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from manifold_cases import CASES, Case

from geowarp.errors import ConformanceError
from geowarp.manifolds import checks
from geowarp.manifolds.checks import CHECKS, check_equality, run_check
from geowarp.manifolds.checks.suite import Check

# What makes its own batches or dtypes, or is slow.
ONCE = {
    checks.check_autocast,
    checks.check_broadcasting,
    checks.check_compile,
    checks.check_empty_batch,
    checks.check_equality,
    checks.check_gradients,
    checks.check_gradients_at_coincidence,
    checks.check_half_precision,
    checks.check_inputs_unchanged,
    checks.check_random_generator,
}
RETRACTION = ONCE | {
    checks.check_contiguous,
    checks.check_dtype,
    checks.check_optimizers,
    checks.check_retraction_lands,
    checks.check_retraction_order,
    checks.check_shapes,
    checks.check_strided_inputs,
    checks.check_transport_with_step,
}
Kinds = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
KINDS: Kinds = {
    f"{name}-{str(dtype).removeprefix('torch.')}": (batch, dtype)
    for name, batch in {"point": (), "batch": (3,), "empty": (0,)}.items()
    for dtype in (torch.float32, torch.float64)
}
PAIR: Kinds = {"pair": ((2,), torch.float64)}


def applies(check: Check, case: Case) -> bool:
    return case.claims.include(check) and (check in RETRACTION or not case.variant)


def parameters(once: bool) -> list[Any]:
    """Return checks with the cases to which they apply."""
    return [
        pytest.param(check, case, id=f"{case.name}-{check.__name__}")
        for case, check in itertools.product(CASES, CHECKS)
        if (check in ONCE) == once and applies(check, case)
    ]


def conform(check: Check, case: Case, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.default_generator.manual_seed(0)
    if check.__name__ in case.absent:
        with pytest.raises(NotImplementedError):
            run_check(check, case.make(), case.points(*batch, dtype=dtype), case.claims)
    else:
        run_check(check, case.make(), case.points(*batch, dtype=dtype), case.claims)


def failures(check: Check, case: Case, kinds: Kinds) -> Iterator[str]:
    """Yield every kind of points for which the check fails, and how."""
    for kind, (batch, dtype) in kinds.items():
        try:
            conform(check, case, batch, dtype)
        except ConformanceError as error:
            yield f"{kind}: {error}"


# One test of all kinds: a test of each would be ten thousand.
@pytest.mark.parametrize(("check", "case"), parameters(once=False))
def test_every_kind_of_batch(check: Check, case: Case) -> None:
    assert list(failures(check, case, KINDS)) == []


@pytest.mark.parametrize(("check", "case"), parameters(once=True))
def test_once(check: Check, case: Case) -> None:
    assert list(failures(check, case, PAIR)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equality_of_constructions(case: Case) -> None:
    manifold, twin = case.make(), case.make()
    others = [other for other in (one.make() for one in CASES) if other != manifold]
    assert len(others) >= len(CASES) - 5
    x = case.points(dtype=torch.float64)
    for other in others:
        check_equality(manifold, x, twin=twin, different=other)
