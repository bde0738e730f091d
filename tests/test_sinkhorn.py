"""Sinkhorn's scaling against a long plain iteration, scipy, mpmath and closed forms; projections of sums."""

import math

import mpmath
import numpy as np
import pytest
import torch
from jacobians import assert_jacobian, assert_second_derivatives
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geowarp.manifolds.linalg.sinkhorn import sinkhorn, smallest_entry, zero_marginals

DTYPES = [torch.float32, torch.float64]
BATCHES: list[tuple[int, ...]] = [(), (3,), (0,), (2, 3)]


def sums(matrix: Tensor) -> Tensor:
    return torch.cat([matrix.sum(-1), matrix.sum(-2)], -1)


def plain(logits: Tensor, sweeps: int) -> Tensor:
    for _ in range(sweeps):
        logits = logits - logits.logsumexp(-1, keepdim=True)
        logits = logits - logits.logsumexp(-2, keepdim=True)
    scaled: Tensor = logits.exp()
    return scaled


def doubly_stochastic(kind: str, n: int, dtype: torch.dtype) -> Tensor:
    half = torch.full((n // 2, n // 2), 1 / (n // 2), dtype=dtype)
    matrices: dict[str, Tensor] = {
        "generic": sinkhorn(torch.randn(n, n, dtype=dtype)),
        "wide": sinkhorn(6 * torch.randn(n, n, dtype=dtype)),
        "permutation": torch.eye(n, dtype=dtype).roll(1, 0),
        "blocks": torch.block_diag(half, half),
    }
    return matrices[kind].clamp_min(smallest_entry(matrices["generic"]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_scaling_is_that_of_a_long_plain_iteration(
    dtype: torch.dtype, batch: tuple[int, ...], n: int
) -> None:
    logits = torch.randn(*batch, n, n, dtype=dtype)
    scaled, eps = sinkhorn(logits), torch.finfo(dtype).eps
    assert scaled.shape == logits.shape
    assert scaled.dtype == dtype
    torch.testing.assert_close(scaled, plain(logits.double(), 2000).to(dtype), rtol=30 * eps, atol=0)
    torch.testing.assert_close(sums(scaled), torch.ones(*batch, 2 * n, dtype=dtype), rtol=4 * eps, atol=0)


def test_two_by_two_in_closed_form() -> None:
    for corner in (-40.0, -1.0, 0.0, 1e-9, 2.5, 40.0):
        with mpmath.workdps(50):
            expected = [float(1 / (1 + mpmath.exp(sign * mpmath.mpf(corner) / 2))) for sign in (-1, 1)]
        scaled = sinkhorn(torch.tensor([[corner, 0.0], [0.0, 0.0]], dtype=torch.float64))
        torch.testing.assert_close(
            scaled[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-15
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_matrices_are_doubly_stochastic_too(dtype: torch.dtype) -> None:
    """Plain iterations need up to e^100 sweeps for these, and never converge in floating point."""
    n = 12
    index = torch.arange(n, dtype=dtype)
    below = (index[:, None] > index).to(dtype)
    hard = {
        "triangle": -100 * below,
        "bands": -100 * (index[:, None] - index).abs(),
        "row": 100 * (index[:, None] == 0).expand(n, n).to(dtype),
        "spread": 200 * torch.randn(n, n, dtype=dtype),
        "assignment": 1000 * torch.randn(n, n, dtype=dtype),
    }
    scaled = sinkhorn(torch.stack(list(hard.values())))
    assert bool((scaled >= (1 - 1e-4) * smallest_entry(scaled)).all())
    ones = torch.ones(len(hard), 2 * n, dtype=dtype)
    torch.testing.assert_close(sums(scaled), ones, rtol=8 * torch.finfo(dtype).eps, atol=0)
    for logits, matrix in zip(hard.values(), scaled, strict=True):
        bound = 8 * torch.finfo(dtype).eps * float(logits.max() - logits.min())  # rounding of L + f + g
        exact = sinkhorn(logits.double())
        assert departure(logits.double(), exact) < 1e-11
        torch.testing.assert_close(matrix.double(), exact, rtol=0, atol=bound)


def departure(logits: Tensor, matrix: Tensor) -> float:
    """Return how far the matrix is from ``diag(a) exp(L) diag(b)``, its least entries left out."""
    n, seen = len(matrix), (matrix > 1e-7).flatten()
    eye, ones = torch.eye(n, dtype=matrix.dtype), torch.ones(n, 1, dtype=matrix.dtype)
    columns = torch.cat([torch.kron(eye, ones), torch.kron(ones, eye)], 1)[seen]
    weight, target = matrix.flatten()[seen, None], (matrix.log() - logits).flatten()[seen, None]
    solution = torch.linalg.lstsq(weight * columns, weight * target, driver="gelsd").solution
    return float((weight * (target - columns @ solution)).abs().max())


def test_sharp_logits_give_the_best_assignment() -> None:
    logits = torch.randn(20, 9, 9, dtype=torch.float64)
    scaled = sinkhorn(2000 * logits)
    for matrix, weights in zip(scaled, logits, strict=True):
        best = weights[linear_sum_assignment(weights.numpy(), maximize=True)].sum()
        value = (matrix * weights).sum()
        assert best - 9 * math.log(9) / 2000 <= value <= best + 1e-9  # the entropy is at most n log n


def test_mixed_problems_do_not_disturb_each_other() -> None:
    logits = torch.randn(6, 4, 4, dtype=torch.float64) * torch.tensor([0.1, 1, 5, 20, 50, 200])[:, None, None]
    together, alone = sinkhorn(logits), torch.stack([sinkhorn(one) for one in logits])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-11)


def test_gradients_are_derivatives_twice() -> None:
    for scale in (0.0, 1.0, 6.0):
        logits = (scale * torch.randn(2, 3, 3, dtype=torch.float64)).requires_grad_()
        assert_jacobian(sinkhorn, logits)
        assert_second_derivatives(sinkhorn, logits)
    x = torch.rand(2, 3, 3, dtype=torch.float64).add(0.1).requires_grad_()
    w = torch.randn(4, 1, 3, 3, dtype=torch.float64, requires_grad=True)

    def broadcast(a: Tensor, b: Tensor) -> Tensor:
        return zero_marginals(a.unsqueeze(-4), b)

    assert_jacobian(broadcast, x, w)
    assert_second_derivatives(broadcast, x, w)


def test_gradient_is_that_of_the_unrolled_iteration() -> None:
    logits = torch.randn(5, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 4, 4, dtype=torch.float64)
    (implicit,) = torch.autograd.grad((weights * sinkhorn(logits)).sum(), logits)
    (unrolled,) = torch.autograd.grad((weights * plain(logits, 300)).sum(), logits)
    torch.testing.assert_close(implicit, unrolled, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["generic", "wide", "permutation", "blocks"])
@pytest.mark.parametrize("n", [2, 6, 30])
def test_projection_is_exact_in_the_interior_and_at_the_boundary(
    kind: str, n: int, dtype: torch.dtype
) -> None:
    x, w = doubly_stochastic(kind, n, dtype), torch.randn(7, n, n, dtype=dtype)
    once, eps = zero_marginals(x, w), torch.finfo(dtype).eps
    torch.testing.assert_close(sums(once), torch.zeros(7, 2 * n, dtype=dtype), rtol=0, atol=8 * n * eps)
    torch.testing.assert_close(zero_marginals(x, once), once, rtol=0, atol=8 * n * eps)
    potentials = (w - once).double() / x.double()
    corner = potentials[..., :1, :] + potentials[..., :, :1] - potentials[..., :1, :1]
    largest = potentials.abs().max()
    torch.testing.assert_close(potentials, corner, rtol=0, atol=float(100 * eps * largest / x.min()))


def test_projection_is_that_of_least_squares() -> None:
    n = 5
    x, w = sinkhorn(torch.randn(n, n, dtype=torch.float64)), torch.randn(n, n, dtype=torch.float64)
    eye, ones = np.eye(n), np.ones((n, 1))
    columns = np.hstack([np.kron(eye, ones), np.kron(ones, eye)])
    root = np.sqrt(x.numpy()).reshape(-1, 1)
    target = w.numpy().reshape(-1, 1) / root
    solution, *_ = np.linalg.lstsq(root * columns, target, rcond=None)
    expected = (target - root * (columns @ solution)) * root
    np.testing.assert_allclose(zero_marginals(x, w).numpy(), expected.reshape(n, n), atol=1e-13)


def test_compiles_to_one_graph_with_gradients() -> None:
    torch.compiler.reset()
    logits = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 4, 4, dtype=torch.float64)
    compiled = torch.compile(sinkhorn, fullgraph=True, backend="eager")
    gradients = [torch.autograd.grad((weights * f(logits)).sum(), logits)[0] for f in (compiled, sinkhorn)]
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(compiled(logits), sinkhorn(logits))


def test_not_a_number_stays_not_a_number() -> None:
    logits = torch.zeros(2, 3, 3)
    logits[0, 0, 0] = torch.nan
    scaled = sinkhorn(logits)
    assert bool(scaled[0].isnan().any())
    torch.testing.assert_close(scaled[1], torch.full((3, 3), 1 / 3))
