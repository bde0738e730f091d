"""Functions of symmetric matrices: divided differences against mpmath, derivatives against autograd."""

import itertools
from typing import Any

import mpmath
import pytest
import torch
from jacobians import assert_jacobian, assert_second_derivatives
from torch import Tensor
from torch.autograd import gradcheck

from geowarp.errors import UnavailableError
from geowarp.manifolds.linalg.eigenfunction import frechet_derivative, symmetric_function
from geowarp.manifolds.linalg.lyapunov import lyapunov
from geowarp.manifolds.linalg.spectral import Power, exp, inverse, inverse_sqrt, log, log1p, sqrt
from geowarp.manifolds.linalg.threads import over_threads
from geowarp.manifolds.linalg.trigonometric import cos_sqrt

EXPONENTS = (-2.5, -1.0, -0.3, 0.01, 0.3, 0.5, 0.51, 0.7, 0.99, 1.001, 1.5, 1.99, 2.0, 2.01, 3.0, 5.0)
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "log": (log, mpmath.log),
    "exp": (exp, mpmath.exp),
    "sqrt": (sqrt, mpmath.sqrt),
    "inverse_sqrt": (inverse_sqrt, lambda x: 1 / mpmath.sqrt(x)),
    "inverse": (inverse, lambda x: 1 / x),
} | {f"power {p}": (Power(p), lambda x, p=p: mpmath.power(x, p)) for p in EXPONENTS}
NAMED = pytest.mark.parametrize("name", FUNCTIONS)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def spd(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(*shape, shape[-1], dtype=dtype)
    return x @ x.mT + 0.3 * torch.eye(shape[-1], dtype=dtype)


def symmetric(*shape: int) -> Tensor:
    x = torch.randn(*shape, shape[-1], dtype=torch.float64)
    return x + x.mT


def triples(name: str, dtype: torch.dtype) -> Tensor:
    """Return arguments with gaps from 1e-17 to 1e8 of them, and equal ones, in every order."""
    rows = []
    for power in range(-17, 9):
        start, first, second = torch.rand(3, dtype=torch.float64).tolist()
        if name == "exp":
            gap = 10.0 ** min(power, 1.3)
            a = 40 * start - 20
            b, c = a + gap * first, a + gap * second
        else:
            a = 10 ** (6 * start - 3) if power < 3 else 10 ** (-start - 2)
            b, c = a * (1 + 10.0**power * first), a * (1 + 10.0**power * second)
        rows += [(a, b, c), (a, a, b), (b, a, b), (c, b, a), (a, a, a)]
    return torch.tensor(rows, dtype=torch.float64).to(dtype)


def exact(function: Any, *arguments: Any) -> Any:
    """Return the divided difference at arguments moved apart by 1e-40 of them."""
    if len(arguments) == 1:
        return function(arguments[0])
    first, last = exact(function, *arguments[:-1]), exact(function, *arguments[1:])
    return (last - first) / (arguments[-1] - arguments[0])


def apart(row: list[float]) -> list[Any]:
    return [
        mpmath.mpf(value) * (1 + mpmath.mpf(10) ** -40 * (i + 1)) + mpmath.mpf(10) ** -60 * i
        for i, value in enumerate(sorted(row))
    ]


@NAMED
@DTYPES
def test_divided_differences_to_some_rounding_units_at_every_gap(name: str, dtype: torch.dtype) -> None:
    function, reference = FUNCTIONS[name]
    points = triples(name, dtype)
    first = function.divided_difference(points[:, 0], points[:, 1])
    second = function.second_divided_difference(*points.unbind(-1))
    with mpmath.workdps(150):
        for row, one, two in zip(points.tolist(), first.tolist(), second.tolist(), strict=True):
            expected = exact(reference, *apart(row[:2])), exact(reference, *apart(row))
            for value, right in zip((one, two), expected, strict=True):
                assert abs(value - right) <= 16 * torch.finfo(dtype).eps * abs(right), (row, value, right)


def test_exponential_quotients_are_finite_where_the_exponential_is() -> None:
    a, b = torch.tensor([88.0, 88.0, -1e4]), torch.tensor([88.5, -1e4, -2e4])
    assert exp.divided_difference(a, b).isfinite().all()
    assert exp.second_divided_difference(a, a, b).isfinite().all()
    assert not (a + b).exp()[0].isfinite()


def test_logarithm_of_ratios_that_overflow() -> None:
    low, high = torch.tensor(1e-30), torch.tensor(1e30)
    expected = 60 * mpmath.log(10) / 1e30
    assert float(log.divided_difference(low, high)) == pytest.approx(float(expected), rel=1e-6)


def test_quotients_of_log1p_are_those_of_the_logarithm() -> None:
    a, b, c = torch.tensor([1e-7, -0.9, 3.0]), torch.tensor([-1e-7, -0.9, 1e5]), torch.tensor([0.0, 2.0, 1.0])
    torch.testing.assert_close(log1p(a), (1 + a.double()).log().float())
    torch.testing.assert_close(log1p.divided_difference(a, b), log.divided_difference(1 + a, 1 + b))
    expected = log.second_divided_difference(1 + a, 1 + b, 1 + c)
    torch.testing.assert_close(log1p.second_divided_difference(a, b, c), expected)


def test_powers_without_curvature() -> None:
    a, b, c = torch.tensor([0.5, 1.0, 1e5]), torch.tensor([0.5, 2.0, 1e-5]), torch.tensor([0.5, 3.0, 1.0])
    for exponent in (0.0, 1.0):
        assert torch.equal(Power(exponent).second_divided_difference(a, b, c), torch.zeros(3))
        assert torch.equal(Power(exponent).divided_difference(a, b), torch.full((3,), exponent))


@NAMED
def test_gradients_of_first_and_second_order(name: str) -> None:
    function, _ = FUNCTIONS[name]
    a = spd(2, 3).requires_grad_()

    def of_symmetric(x: Tensor) -> Tensor:
        return symmetric_function(0.5 * (x + x.mT), function)

    assert_jacobian(of_symmetric, a)
    assert_second_derivatives(of_symmetric, a)


@NAMED
def test_gradients_of_first_and_second_order_at_repeated_eigenvalues(name: str) -> None:
    function, _ = FUNCTIONS[name]
    frame = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    values = torch.tensor([[1.5, 1.5, 1.5], [0.7, 0.7, 2.0]], dtype=torch.float64)
    a = (frame * values[:, None, :] @ frame.mT).requires_grad_()

    def of_symmetric(x: Tensor) -> Tensor:
        return symmetric_function(0.5 * (x + x.mT), function)

    assert_jacobian(of_symmetric, a)
    assert_second_derivatives(of_symmetric, a)


@DTYPES
def test_gradient_of_the_logarithm_at_twice_the_identity_is_half(dtype: torch.dtype) -> None:
    x = (2 * torch.eye(4, dtype=dtype)).requires_grad_()
    v = torch.randn(4, 4, dtype=dtype)
    v = v + v.mT
    (gradient,) = torch.autograd.grad((symmetric_function(x, log) * v).sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, v / 2, rtol=1e-6, atol=1e-6)
    (second,) = torch.autograd.grad((gradient * v).sum(), x)
    torch.testing.assert_close(second, -v @ v / 4, rtol=1e-5, atol=1e-5)


@NAMED
def test_frechet_derivative_is_the_derivative(name: str) -> None:
    function, _ = FUNCTIONS[name]
    a, v = spd(2, 3), symmetric(2, 3)
    _, derivative = torch.autograd.functional.jvp(lambda x: symmetric_function(x, function), a, v)
    torch.testing.assert_close(frechet_derivative(a, v, function), derivative)


@NAMED
def test_frechet_derivative_has_gradients(name: str) -> None:
    function, _ = FUNCTIONS[name]
    a, v = spd(2, 3).requires_grad_(), symmetric(2, 3).requires_grad_()

    def derivative(x: Tensor, y: Tensor) -> Tensor:
        return frechet_derivative(0.5 * (x + x.mT), 0.5 * (y + y.mT), function)

    assert_jacobian(derivative, a, v)
    equal = (2 * torch.eye(3, dtype=torch.float64)).repeat(2, 1, 1).requires_grad_()
    assert_jacobian(derivative, equal, v)


def test_frechet_derivative_broadcasts() -> None:
    a, v = spd(3), symmetric(5, 3).requires_grad_()
    result = frechet_derivative(a, v, log)
    assert result.shape == (5, 3, 3)
    torch.testing.assert_close(result[2], frechet_derivative(a, v[2], log))


def test_a_function_without_second_differences_says_so() -> None:
    a = spd(3).requires_grad_()
    (gradient,) = torch.autograd.grad(symmetric_function(a, cos_sqrt).sum(), a, create_graph=True)
    with pytest.raises(UnavailableError, match="second_divided_difference"):
        gradient.sum().backward()


def test_lyapunov_solves_its_equation() -> None:
    p, v = spd(5, 1, 4), symmetric(2, 4)
    x = lyapunov(p, v)
    assert x.shape == (5, 2, 4, 4)
    torch.testing.assert_close(p @ x + x @ p, v.expand(5, 2, 4, 4))


def test_lyapunov_has_gradients_of_first_and_second_order() -> None:
    p, v = spd(2, 3).requires_grad_(), torch.randn(2, 3, 3, dtype=torch.float64).requires_grad_()

    def solve(x: Tensor, y: Tensor) -> Tensor:
        return lyapunov(0.5 * (x + x.mT), y)

    assert_jacobian(solve, p, v)
    assert_second_derivatives(solve, p, v)
    assert gradcheck(solve, (torch.eye(3, dtype=torch.float64).requires_grad_(), v))


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3, 3), (0, 0)])
def test_empty_batches_and_empty_matrices(shape: tuple[int, ...]) -> None:
    a = torch.zeros(shape, dtype=torch.float64)
    assert symmetric_function(a, log).shape == shape
    assert frechet_derivative(a, a, log).shape == shape
    assert lyapunov(a, a).shape == shape


def many_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setattr("geowarp.manifolds.linalg.threads._WORK", 1)


@pytest.mark.parametrize("count", [2, 3])
def test_over_threads_is_the_plain_call(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    many_threads(count, monkeypatch)
    a = symmetric(50, 11, 16).mT.requires_grad_()
    values, vectors = over_threads(torch.linalg.eigh, a.detach())
    torch.testing.assert_close(values, torch.linalg.eigvalsh(a.detach()))
    torch.testing.assert_close((vectors * values[..., None, :]) @ vectors.mT, a.detach())
    x = torch.randn(600, 16, 20, dtype=torch.float64)
    torch.testing.assert_close(over_threads(torch.linalg.svdvals, x), torch.linalg.svdvals(x))
    with torch.inference_mode():
        torch.testing.assert_close(over_threads(torch.linalg.eigvalsh, a.detach()), values)
    assert torch.autograd.grad(over_threads(torch.linalg.eigvalsh, a).sum(), a)[0].isfinite().all()


def test_over_threads_records_no_gradient_and_passes_errors_on(monkeypatch: pytest.MonkeyPatch) -> None:
    many_threads(2, monkeypatch)
    a = torch.zeros(2000, 16, 16)

    def mode(x: Tensor) -> Tensor:
        return torch.full(x.shape[:-2], float(torch.is_grad_enabled()))

    assert over_threads(mode, a).sum() == 0
    with pytest.raises(RuntimeError, match="not positive-definite"):
        over_threads(torch.linalg.cholesky, a)


def test_matrices_large_and_small_give_the_same_with_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    a = spd(4100, 8)
    alone = symmetric_function(a, log)
    many_threads(2, monkeypatch)
    torch.testing.assert_close(symmetric_function(a, log), alone)
    for i, j in itertools.product((0, 4099), (0, 1)):
        torch.testing.assert_close(alone[i, j], symmetric_function(a[i], log)[j])
