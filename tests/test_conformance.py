"""Every manifold of geowarp has every property of the public conformance suite."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from manifold_cases import CASES, Case

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
KINDS: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    f"{name}-{str(dtype).removeprefix('torch.')}": (batch, dtype)
    for name, batch in {"point": (), "batch": (3,), "empty": (0,)}.items()
    for dtype in (torch.float32, torch.float64)
}
PAIR: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"pair": ((2,), torch.float64)}
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def applies(check: Check, case: Case) -> bool:
    return case.claims.include(check) and (check in RETRACTION or not case.variant)


def parameters(kinds: Mapping[str, tuple[tuple[int, ...], torch.dtype]], once: bool) -> list[Any]:
    """Return checks with the cases to which they apply, and kinds of points."""
    return [
        pytest.param(check, case, *kinds[kind], id=f"{case.name}-{check.__name__}-{kind}")
        for case, check, kind in itertools.product(CASES, CHECKS, kinds)
        if (check in ONCE) == once and applies(check, case)
    ]


def conform(check: Check, case: Case, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    if check.__name__ in case.absent:
        with pytest.raises(NotImplementedError):
            run_check(check, case.make(), case.points(*batch, dtype=dtype), case.claims)
    else:
        run_check(check, case.make(), case.points(*batch, dtype=dtype), case.claims)


@pytest.mark.parametrize(("check", "case", "batch", "dtype"), parameters(KINDS, once=False))
def test_every_kind_of_batch(check: Check, case: Case, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    conform(check, case, batch, dtype)


@pytest.mark.parametrize(("check", "case", "batch", "dtype"), parameters(PAIR, once=True))
def test_once(check: Check, case: Case, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    conform(check, case, batch, dtype)


@by_case
def test_equality_of_constructions(case: Case) -> None:
    others = [other.make() for other in CASES if other.make() != case.make()]
    assert len(others) >= len(CASES) - 5
    for other in others:
        x = case.points(dtype=torch.float64)
        check_equality(case.make(), x, twin=case.make(), different=other)
