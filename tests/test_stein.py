"""The Stein divergence and its mean: against mpmath, pyRiemann, closed forms and a fixed-point iteration."""

from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from jacobians import assert_jacobian, assert_second_derivatives
from pyriemann.geometry.distance import distance_logdet
from pyriemann.geometry.mean import mean_logdet
from torch import Tensor

from geowarp import metrics
from geowarp.errors import GeowarpError, NonFiniteError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds.spd import AffineInvariantSPD, stein_divergence, stein_divergence_pairwise, stein_mean

MODULES = "geowarp.manifolds.spd"


def spd(*shape: int, by: float = 1.0, condition: float = 1.0) -> Tensor:
    """Return ``C exp(S) Cᵀ`` with normal S of standard deviation ``by`` around a C Cᵀ of this condition."""
    n = shape[-1]
    noise = torch.randn(*shape, n, dtype=torch.float64)
    values, vectors = torch.linalg.eigh(by * (noise + noise.mT) / (2 * n) ** 0.5)
    frame = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0]
    root = frame * torch.logspace(0, 0.5, n, base=condition, dtype=torch.float64) @ frame.mT
    x: Tensor = root @ (vectors * values.exp()[..., None, :]) @ vectors.mT @ root.mT
    return symmetrized(x)


def symmetrized(x: Tensor) -> Tensor:
    return 0.5 * (x + x.mT)


def exact(x: Tensor, y: Tensor) -> Any:
    with mpmath.workdps(60):
        a, b = (mpmath.matrix(matrix.double().tolist()) for matrix in (x, y))
        middle = mpmath.log(mpmath.det((a + b) / 2))
        return middle - (mpmath.log(mpmath.det(a)) + mpmath.log(mpmath.det(b))) / 2


def relative_error(x: Tensor, y: Tensor) -> float:
    expected = exact(x, y)
    return float(abs(float(stein_divergence(x, y)) - expected) / expected)


@pytest.mark.parametrize("by", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("condition", [1.0, 1e3])
def test_divergence_equals_that_of_mpmath(by: float, condition: float) -> None:
    for x, y in spd(4, 2, 5, by=by, condition=condition):
        assert relative_error(x, y) <= 1e-13 * condition**0.5
        assert relative_error(x.float(), y.float()) <= 1e-7


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-6, 1e-10])
def test_divergence_of_close_matrices(gap: float) -> None:
    x, direction = spd(5, condition=10.0), spd(5)
    assert relative_error(x, x + gap * direction) <= 1e-13


def test_divergence_is_a_sum_over_eigenvalues() -> None:
    x, y = spd(4), spd(4)
    logarithms = torch.linalg.eigvals(torch.linalg.solve(x, y)).real.log()
    torch.testing.assert_close(stein_divergence(x, y), (logarithms / 2).cosh().log().sum())
    small = x + 1e-4 * y
    eighth = AffineInvariantSPD().dist2(x, small) / 8
    torch.testing.assert_close(stein_divergence(x, small), eighth, rtol=1e-3, atol=0)


def test_divergence_is_invariant_and_its_root_a_metric() -> None:
    x, g = spd(6, 4), torch.randn(4, 4, dtype=torch.float64)
    table = stein_divergence_pairwise(x)
    torch.testing.assert_close(stein_divergence_pairwise(g @ x @ g.mT), table)
    torch.testing.assert_close(stein_divergence_pairwise(x.inverse()), table)
    root = table.sqrt()
    assert bool((root[:, None, :] <= root[:, :, None] + root[None] + 1e-12).all())


def test_divergence_equals_that_of_pyriemann() -> None:
    x, y = spd(7, 5), spd(7, 5)
    expected = torch.from_numpy(distance_logdet(x.numpy(), y.numpy()))
    torch.testing.assert_close(stein_divergence(x, y).sqrt(), expected)


def test_pairwise_divergences_are_those_of_pairs() -> None:
    x, y = spd(2, 1, 4, 3), spd(3, 5, 3)
    pairs = stein_divergence(x[..., :, None, :, :], y[..., None, :, :, :])
    torch.testing.assert_close(stein_divergence_pairwise(x, y), pairs)
    same = stein_divergence_pairwise(x)
    torch.testing.assert_close(same, stein_divergence_pairwise(x, x.clone()), rtol=1e-12, atol=1e-15)
    assert torch.equal(same, same.mT)
    assert stein_divergence_pairwise(x[:, :, :0], y).shape == (2, 3, 0, 5)
    assert stein_divergence(x[:0], x[:0]).shape == (0, 1, 4)


def test_gradients_of_first_and_second_order() -> None:
    x, y = spd(2, 3).requires_grad_(), spd(2, 3).requires_grad_()

    def divergence(a: Tensor, b: Tensor) -> Tensor:
        value: Tensor = stein_divergence(symmetrized(a), symmetrized(b))
        return value

    def table(a: Tensor) -> Tensor:
        value: Tensor = stein_divergence_pairwise(symmetrized(a))
        return value

    equal = x.detach().clone().requires_grad_()
    for pair in ((x, y), (x, equal)):
        assert_jacobian(divergence, *pair)
        assert_second_derivatives(divergence, *pair)
    assert_jacobian(table, x)
    assert_second_derivatives(table, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_at_twice_the_identity_and_at_coincidence(dtype: torch.dtype) -> None:
    x = (2 * torch.eye(3, dtype=dtype)).requires_grad_()
    stein_divergence(x, torch.eye(3, dtype=dtype)).backward()
    torch.testing.assert_close(x.grad, torch.eye(3, dtype=dtype) / 12)
    y = spd(3, 4).to(dtype).requires_grad_()
    value = stein_divergence(y, y.detach())
    assert torch.equal(value, torch.zeros(3, dtype=dtype))
    assert torch.equal(torch.autograd.grad(value.sum(), y)[0], torch.zeros_like(y))


def fixed_point(x: Tensor, weights: Tensor) -> Tensor:
    mean = (weights[:, None, None] * x).sum(0)
    for _ in range(3000):
        mean = torch.linalg.inv((weights[:, None, None] * torch.linalg.inv(0.5 * (mean + x))).sum(0))
    return mean


@pytest.mark.parametrize(("by", "condition"), [(0.1, 1.0), (1.0, 1e2), (3.0, 1e3), (5.0, 1.0)])
def test_mean_is_the_fixed_point(by: float, condition: float) -> None:
    x, weights = spd(8, 4, by=by, condition=condition), torch.rand(8, dtype=torch.float64)
    expected = fixed_point(x, weights / weights.sum())
    distance = AffineInvariantSPD().dist(stein_mean(x, weights), expected)
    assert float(distance) <= (1e-11 if by <= 1 else 1e-7)


def test_mean_equals_that_of_pyriemann() -> None:
    x, weights = spd(20, 6), torch.rand(20, dtype=torch.float64)
    expected = torch.from_numpy(mean_logdet(x.numpy(), sample_weight=weights.numpy(), tol=1e-12, maxiter=500))
    torch.testing.assert_close(stein_mean(x, weights), expected, rtol=1e-9, atol=1e-9)


def test_mean_of_two_is_their_geometric_mean() -> None:
    x = spd(3, 2, 4, by=2.0)
    torch.testing.assert_close(stein_mean(x), AffineInvariantSPD().geodesic(0.5, x[:, 0], x[:, 1]))


def test_a_batch_of_easy_and_hard_problems_is_the_loop() -> None:
    x = torch.stack(
        [spd(6, 4, by=by, condition=c) for by, c in ((0.0, 1.0), (0.1, 1.0), (1.0, 1e2), (3.0, 1e3))]
    )
    weights = torch.rand(4, 6, dtype=torch.float64)
    loop = torch.stack([stein_mean(points, masses) for points, masses in zip(x, weights, strict=True)])
    torch.testing.assert_close(stein_mean(x, weights), loop, rtol=1e-9, atol=1e-9)
    one, sets = stein_mean(x[:, None], weights), stein_mean(x[2], weights)
    assert one.shape == (4, 4, 4, 4)
    torch.testing.assert_close(one[2], sets)


def test_gradients_of_means_through_points_and_weights() -> None:
    x, weights = spd(2, 4, 3).requires_grad_(), (0.2 + torch.rand(2, 4, dtype=torch.float64)).requires_grad_()

    def mean(points: Tensor, masses: Tensor) -> Tensor:
        value: Tensor = stein_mean(symmetrized(points), masses)
        return value

    assert_jacobian(mean, x, weights)
    equal = (2 * torch.eye(3, dtype=torch.float64)).expand(3, 3, 3).clone().requires_grad_()
    assert_jacobian(lambda points: stein_mean(symmetrized(points)), equal)


def test_results_where_values_may_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    x = spd(5, 4)
    x[1] = x[0] * (1 + 1e-6)
    expected = stein_divergence_pairwise(x), stein_divergence(x[:2], x[1]), stein_mean(x)
    for module in ("stein", "stein_barycentre", "pair_function", "points"):
        monkeypatch.setattr(f"{MODULES}.{module}.is_concrete", lambda *_: False)
    results = stein_divergence_pairwise(x), stein_divergence(x[:2], x[1]), stein_mean(x)
    torch.testing.assert_close(results, expected, rtol=1e-12, atol=0)


def test_dtypes_are_kept_and_precision_is_not_lost() -> None:
    x = spd(4, 3, by=1.0, condition=1e4)
    assert stein_mean(x.float()).dtype == torch.float32
    torch.testing.assert_close(
        stein_mean(x.float()), stein_mean(x.float().double()).float(), rtol=1e-6, atol=0
    )
    y = spd(4, 3, by=0.5).bfloat16()
    assert stein_divergence(y, y[0]).dtype == torch.bfloat16
    assert stein_mean(torch.zeros(0, 3, 2, 2)).shape == (0, 2, 2)


def test_compiled_divergence_is_the_same() -> None:
    x, y = spd(3, 4), spd(3, 4)
    compiled = torch.compile(stein_divergence, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, y), stein_divergence(x, y))


def test_errors() -> None:
    x = spd(3, 2)
    with pytest.raises(NotOnManifoldError, match="smallest eigenvalue"):
        stein_divergence(x, -x)
    with pytest.raises(NotOnManifoldError, match=r"matrix \[1\] of \(3,\)"):
        stein_mean(torch.stack([x[0], -x[1], x[2]]))
    with pytest.raises(GeowarpError, match="none may be negative"):
        stein_mean(x, torch.tensor([1.0, -1.0, 1.0]))
    with pytest.warns(NumericalWarning, match="did not converge"):
        stein_mean(x, max_iterations=0)


def test_metrics_take_arrays_and_name_the_matrix() -> None:
    x, weights = spd(2, 5, 3), torch.rand(2, 5, dtype=torch.float64)
    cases = [
        (metrics.stein_divergence(x.numpy(), x[:, :1].numpy()), stein_divergence(x, x[:, :1])),
        (metrics.stein_divergence_pairwise(x.numpy()), stein_divergence_pairwise(x)),
        (
            metrics.stein_divergence_pairwise(x.numpy(), x[:, :2].numpy()),
            stein_divergence_pairwise(x, x[:, :2]),
        ),
        (metrics.stein_mean(x.numpy(), weights.numpy()), stein_mean(x, weights)),
    ]
    for array, tensor in cases:
        assert isinstance(array, np.ndarray)
        torch.testing.assert_close(torch.from_numpy(array), tensor, rtol=1e-13, atol=1e-15)
    bad = x.clone()
    bad[1, 3] = torch.diag(torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64))
    calls: list[Any] = [metrics.stein_mean, metrics.stein_divergence_pairwise]
    for call in (*calls, lambda points: metrics.stein_divergence(points, points)):
        with pytest.raises(NotOnManifoldError, match=r"x\[1, 3\] .*smallest eigenvalue is -5\.0e-01"):
            call(bad)
    bad[0, 1, 2, 2] = torch.nan
    with pytest.raises(NonFiniteError, match=r"x\[0, 1\]"):
        metrics.stein_mean(bad)
    leaf = x.clone().requires_grad_()
    metrics.stein_mean(leaf, weights).sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())
