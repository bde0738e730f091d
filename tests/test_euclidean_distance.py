"""Euclidean distances of all pairs against mpmath and torch's differences."""

import mpmath
import pytest
import torch
from torch import Tensor

from geowarp.manifolds.linalg.euclidean_distance import pairwise_euclidean_distance

DTYPES = [torch.float32, torch.float64]


def differences(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4])
def test_close_pairs_far_from_the_origin_are_exact_to_rounding(
    dtype: torch.dtype, offset: float, gap: float
) -> None:
    x = offset + torch.randn(12, 6, dtype=dtype)
    y = x[:5] + gap * torch.randn(5, 6, dtype=dtype)
    distances = pairwise_euclidean_distance(x, y)
    for i in range(12):
        for j in range(5):
            rows = zip(x[i].tolist(), y[j].tolist(), strict=True)
            with mpmath.workdps(40):
                exact = mpmath.norm([mpmath.mpf(a) - mpmath.mpf(b) for a, b in rows])
            assert abs(distances[i, j].item() - exact) <= 60 * torch.finfo(dtype).eps * exact


@pytest.mark.parametrize(("batch", "other"), [((), ()), ((3,), ()), ((2, 1), (3,)), ((0,), (1,))])
@pytest.mark.parametrize(("n", "m", "k"), [(5, 4, 3), (0, 4, 3), (5, 0, 3), (5, 4, 1), (1, 1, 3)])
def test_values_and_gradients_of_batches_are_those_of_differences(
    batch: tuple[int, ...], other: tuple[int, ...], n: int, m: int, k: int
) -> None:
    x = torch.randn(*batch, n, k, dtype=torch.float64)
    y = torch.randn(*other, m, k, dtype=torch.float64)
    if n > 1 and m > 1 and not (batch or other):
        y[0], y[1] = x[0], x[1] + 1e-6
    x, y = x.requires_grad_(), y.requires_grad_()
    actual, expected = pairwise_euclidean_distance(x, y), differences(x, y)
    torch.testing.assert_close(actual, expected, rtol=1e-13, atol=0)
    weight = torch.randn_like(expected)
    for one, two in zip(
        torch.autograd.grad((weight * actual).sum(), (x, y)),
        torch.autograd.grad((weight * expected).sum(), (x, y)),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_one_set_has_zeros_on_the_diagonal_with_zero_gradients() -> None:
    x = (100 + torch.randn(20, 5)).requires_grad_()
    distances = pairwise_euclidean_distance(x, x)
    assert distances.diagonal().abs().max() == 0
    (gradient,) = torch.autograd.grad(distances.diagonal().sum(), x)
    assert gradient.abs().max() == 0


def test_rows_that_are_not_finite_spoil_only_their_own_distances() -> None:
    x = torch.randn(4, 3)
    y = x.clone()
    y[2, 1] = torch.nan
    finite = pairwise_euclidean_distance(x, y[[0, 1, 3]])
    assert finite.isfinite().all()
    assert pairwise_euclidean_distance(x, y)[:, 2].isnan().all()
    assert pairwise_euclidean_distance(y, y)[2, 2].isnan()


def test_it_compiles_to_one_graph() -> None:
    x, y = torch.randn(4, 3), torch.randn(5, 3)
    torch.compiler.reset()
    compiled = torch.compile(pairwise_euclidean_distance, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, y), pairwise_euclidean_distance(x, y))
