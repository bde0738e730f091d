"""The affine-invariant mean against mpmath, pyRiemann and closed forms, hard and easy problems at once."""

import itertools
from typing import Any

import mpmath
import pytest
import torch
from jacobians import assert_jacobian
from pyriemann.geometry.mean import mean_riemann
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds.karcher import karcher_mean
from geowarp.manifolds.spd import AffineInvariantSPD
from geowarp.manifolds.spd.affine_invariant_mean import affine_invariant_mean

SPD = AffineInvariantSPD()


def spread(*shape: int, by: float, condition: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return ``C exp(S) Cᵀ`` with normal S of standard deviation ``by`` around a C Cᵀ of this condition."""
    n = shape[-1]
    noise = torch.randn(*shape, n, dtype=dtype)
    frame = torch.linalg.qr(torch.randn(n, n, dtype=dtype))[0]
    values, vectors = torch.linalg.eigh(by * (noise + noise.mT) / (2 * n) ** 0.5)
    inner = (vectors * values.exp()[..., None, :]) @ vectors.mT
    root = (frame * torch.logspace(0, 0.5, n, base=condition, dtype=dtype)) @ frame.mT
    x: Tensor = root @ inner @ root.mT
    return 0.5 * (x + x.mT)


def function(matrix: Any, of: Any) -> Any:
    values, vectors = mpmath.eigsy(matrix)
    return vectors * mpmath.diag([of(value) for value in values]) * vectors.T


def exact(matrix: Tensor) -> Any:
    result = mpmath.matrix(matrix.tolist())
    return (result + result.T) / 2


def exact_distance(a: Any, b: Any) -> float:
    inverse = mpmath.cholesky(a) ** -1
    values = mpmath.eigsy(inverse * b * inverse.T, eigvals_only=True)
    return float(mpmath.sqrt(sum(mpmath.log(value) ** 2 for value in values)))


def exact_mean(points: list[Any], weights: list[Any], start: Any) -> Any:
    """Return the mean to 20 digits, by the steps of Bini and Iannazzo, which are safe however far it is."""
    mean = start
    for _ in range(400):
        factor = mpmath.cholesky(mean)
        inverse = factor**-1
        logs = [function(inverse * x * inverse.T, mpmath.log) for x in points]
        direction = sum((w * log for w, log in zip(weights, logs, strict=True)), mpmath.zeros(mean.rows))
        if mpmath.norm(direction) < mpmath.mpf(10) ** -20:
            break
        bound = mpmath.mpf(0)
        for w, log in zip(weights, logs, strict=True):
            values = mpmath.eigsy(log, eigvals_only=True)
            half = (max(values) - min(values)) / 2
            bound += w * half * mpmath.coth(half)
        mean = factor * function(2 / (1 + bound) * direction, mpmath.exp) * factor.T
        mean = (mean + mean.T) / 2
    return mean


@pytest.mark.parametrize(
    ("shape", "by", "condition", "error"),
    [
        ((6, 4), 0.3, 10.0, 1e-14),
        ((6, 4), 1.0, 1e2, 1e-13),
        ((4, 3), 3.0, 1e4, 1e-9),
        ((3, 3), 5.0, 1e6, 1e-4),
    ],
)
def test_mean_equals_that_of_mpmath(
    shape: tuple[int, int], by: float, condition: float, error: float
) -> None:
    x = spread(*shape, by=by, condition=condition)
    weights = torch.rand(shape[0], dtype=torch.float64)
    result = SPD.solve_mean(x, weights)
    with mpmath.workdps(50):
        exact_weights = [mpmath.mpf(w) for w in weights.tolist()]
        normalized = [w / sum(exact_weights) for w in exact_weights]
        expected = exact_mean([exact(p) for p in x], normalized, exact(result.mean))
        assert exact_distance(expected, exact(result.mean)) <= error
    assert bool(result.converged)
    assert int(result.iterations) <= 15


@pytest.mark.parametrize("by", [0.1, 0.5, 1.0])
def test_mean_equals_that_of_pyriemann(by: float) -> None:
    x, weights = spread(30, 8, by=by, condition=100.0), torch.rand(30, dtype=torch.float64)
    expected = torch.from_numpy(
        mean_riemann(x.numpy(), sample_weight=weights.numpy(), tol=1e-12, maxiter=200)
    )
    assert float(SPD.dist(SPD.mean(x, weights), expected)) < 1e-11


def test_mean_equals_that_of_gradient_descent() -> None:
    x = spread(2, 7, 4, by=0.7, condition=10.0)
    generic, own = karcher_mean(SPD, x), SPD.solve_mean(x)
    torch.testing.assert_close(own.mean, generic.mean, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(own.radius, generic.radius)
    assert bool(own.unique.all())
    assert bool((own.residual <= 1e-12).all())
    assert bool((own.iterations < generic.iterations).all())


def test_mean_of_two_is_their_geometric_mean() -> None:
    x = spread(3, 2, 5, by=1.5, condition=1e3)
    torch.testing.assert_close(SPD.mean(x), SPD.geodesic(0.5, x[:, 0], x[:, 1]))
    weights = torch.tensor([0.75, 0.25], dtype=torch.float64)
    torch.testing.assert_close(SPD.mean(x, weights), SPD.geodesic(0.25, x[:, 0], x[:, 1]))


def test_mean_of_commuting_matrices_is_that_of_logarithms() -> None:
    diagonal = torch.rand(7, 4, dtype=torch.float64) * 10 + 1e-3
    expected = diagonal.log().mean(0).exp().diag()
    torch.testing.assert_close(SPD.mean(diagonal.diag_embed()), expected)


def test_mean_is_equivariant_under_congruence_and_inversion() -> None:
    x, g = spread(6, 4, by=1.0), torch.randn(4, 4, dtype=torch.float64)
    mean = SPD.mean(x)
    torch.testing.assert_close(SPD.mean(g @ x @ g.mT), g @ mean @ g.mT)
    torch.testing.assert_close(SPD.mean(x.inverse()), mean.inverse())


def test_one_point_is_its_mean() -> None:
    x = spread(1, 4, by=2.0)
    torch.testing.assert_close(SPD.mean(x), x[0])
    torch.testing.assert_close(SPD.mean(x.expand(5, 4, 4)), x[0])


def test_a_batch_of_easy_and_hard_problems_is_the_loop() -> None:
    kinds = [(0.01, 1.0), (0.3, 10.0), (1.0, 1e3), (3.0, 1e4), (2.0, 1e6), (0.0, 1.0)]
    x = torch.stack([spread(8, 4, by=by, condition=condition) for by, condition in kinds])
    weights = torch.rand(8, dtype=torch.float64)
    together = SPD.solve_mean(x, weights)
    assert bool(together.converged.all())
    for i, (by, _) in enumerate(kinds):
        alone = SPD.solve_mean(x[i], weights)
        tolerance = 1e-12 if by <= 1 else 1e-8
        assert float(SPD.dist(together.mean[i], alone.mean)) <= tolerance
        assert abs(int(together.iterations[i]) - int(alone.iterations)) <= 1  # the sums differ by rounding


def test_batched_weights_on_the_same_points() -> None:
    x, weights = spread(2, 1, 6, 3, by=0.8), torch.rand(2, 4, 6, dtype=torch.float64)
    means = SPD.mean(x, weights)
    assert means.shape == (2, 4, 3, 3)
    for i, j in itertools.product(range(2), range(4)):
        torch.testing.assert_close(means[i, j], SPD.mean(x[i, 0], weights[i, j]))


def test_points_of_weight_zero_do_not_count() -> None:
    x = spread(5, 3, by=1.0)
    weights = torch.tensor([1.0, 2.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    result = SPD.solve_mean(x, weights)
    few = SPD.solve_mean(x[weights > 0], weights[weights > 0])
    torch.testing.assert_close(result.mean, few.mean)
    torch.testing.assert_close(result.radius, few.radius)


def test_float32_means_are_right_to_their_rounding() -> None:
    x = spread(3, 9, 5, by=1.0, condition=1e4).float()
    mean = SPD.mean(x)
    assert mean.dtype == torch.float32
    expected = SPD.mean(x.double())
    error = torch.linalg.matrix_norm(mean - expected) / torch.linalg.matrix_norm(expected)
    assert bool((error < 1e-7).all())


def test_gradients_through_points_and_weights() -> None:
    x, weights = spread(2, 4, 3, by=0.8), 0.2 + torch.rand(2, 4, dtype=torch.float64)

    def mean(points: Tensor, masses: Tensor) -> Tensor:
        return SPD.mean(0.5 * (points + points.mT), masses)

    assert_jacobian(mean, x.requires_grad_(), weights.requires_grad_())


def test_gradients_through_batched_weights_and_repeated_eigenvalues() -> None:
    x = torch.stack([2 * torch.eye(3, dtype=torch.float64), *spread(2, 3, by=0.5)])
    weights = 0.2 + torch.rand(2, 3, dtype=torch.float64)

    def mean(points: Tensor, masses: Tensor) -> Tensor:
        return SPD.mean(0.5 * (points + points.mT).unsqueeze(-4), masses)

    assert_jacobian(mean, x.requires_grad_(), weights.requires_grad_())
    equal = (3 * torch.eye(3, dtype=torch.float64)).expand(2, 3, 3).clone().requires_grad_()
    assert_jacobian(lambda points: SPD.mean(0.5 * (points + points.mT)), equal)


def test_gradients_are_those_of_generic_implicit_differentiation() -> None:
    x, cotangent = (
        spread(5, 4, by=1.0, condition=10.0).requires_grad_(),
        torch.randn(4, 4, dtype=torch.float64),
    )
    (own,) = torch.autograd.grad((SPD.mean(x) * cotangent).sum(), x)
    (generic,) = torch.autograd.grad((karcher_mean(SPD, x).mean * cotangent).sum(), x)
    torch.testing.assert_close(own, 0.5 * (generic + generic.mT), rtol=1e-9, atol=1e-9)


def test_a_search_without_steps_says_that_it_did_not_converge() -> None:
    x, weights = spread(2, 5, 3, by=1.0), torch.full((5,), 0.2, dtype=torch.float64)
    with pytest.warns(NumericalWarning, match="2 of 2 means did not converge"):
        result = affine_invariant_mean(x, weights, max_iterations=0)
    assert not bool(result.converged.any())
    assert bool((result.residual > 1e-3).all())


def test_search_where_values_may_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.stack([spread(6, 4, by=by, condition=100.0) for by in (0.01, 0.5, 2.0)])
    expected = SPD.solve_mean(x)
    monkeypatch.setattr("geowarp.manifolds.spd.affine_invariant_mean.is_concrete", lambda *_: False)
    result = SPD.solve_mean(x)
    torch.testing.assert_close(result.mean, expected.mean)
    assert bool(result.converged.all())
    assert bool((result.residual < 1e-11).all())


def test_empty_batches() -> None:
    assert SPD.mean(torch.zeros(0, 4, 3, 3)).shape == (0, 3, 3)
    assert SPD.mean(torch.zeros(2, 0, 4, 3, 3), torch.ones(4)).shape == (2, 0, 3, 3)


def test_errors_of_points_and_weights() -> None:
    x = spread(2, 4, 3, by=0.5)
    with pytest.raises(GeowarpError, match="none may be negative"):
        SPD.mean(x, torch.tensor([1.0, -1.0, 1.0, 1.0]))
    x[1, 2] = -torch.eye(3)
    with pytest.raises(NotOnManifoldError, match=r"matrix \[1, 2\] of \(2, 4\).*-1.0e\+00"):
        SPD.mean(x)
