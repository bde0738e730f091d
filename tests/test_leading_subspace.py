"""Spans of leading eigenvectors and singular vectors, Q factors, and the gradients of both."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy
import torch
from jacobians import assert_jacobian
from subspace_cases import largest_tensor, orthogonal, projector, subspaces
from torch import Tensor

from geowarp.errors import UnavailableError
from geowarp.manifolds.linalg import leading_subspace
from geowarp.manifolds.linalg.leading_subspace import leading_eigenvectors, leading_left_singular_vectors
from geowarp.manifolds.linalg.qr_factor import qr_factor

SHAPES = [(6, 4, 2), (4, 6, 2), (5, 5, 3), (6, 4, 4), (4, 6, 4), (6, 3, 1)]
SIDES = pytest.mark.parametrize(("n", "m", "k"), SHAPES)


@pytest.fixture(params=["svd", "gram"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take float64 also through the Gram matrix, as float32 goes, so that its derivatives can be checked."""
    if request.param == "gram":
        monkeypatch.setattr(leading_subspace, "_by_svd", leading_subspace._by_gram)
    return str(request.param)


def with_spectrum(n: int, m: int, values: list[float]) -> Tensor:
    """Return a random ``n x m`` matrix with these singular values."""
    s = torch.tensor(values, dtype=torch.float64)
    return (subspaces(n, len(values)) * s) @ subspaces(m, len(values)).mT


# --- values ---


@SIDES
def test_singular_vectors_are_those_of_scipy(way: str, n: int, m: int, k: int) -> None:
    x = torch.randn(2, 3, n, m, dtype=torch.float64)
    space = leading_left_singular_vectors(x, k)
    for index in np.ndindex(2, 3):
        u, s, _ = scipy.linalg.svd(x[index].numpy())
        following = [*s, 0.0][k]
        torch.testing.assert_close(projector(space.basis[index]), torch.tensor(u[:, :k] @ u[:, :k].T))
        torch.testing.assert_close(space.values[index], torch.tensor(s[:k]))
        expected = np.inf if k == n else s[k - 1] - following
        assert space.gap[index].item() == pytest.approx(expected, rel=1e-9)
    assert (space.basis.amax(-2) >= -space.basis.amin(-2)).all()


@pytest.mark.parametrize(("n", "k"), [(5, 2), (5, 5), (1, 1)])
def test_eigenvectors_are_those_of_scipy(n: int, k: int) -> None:
    matrix = torch.randn(3, n, n, dtype=torch.float64)
    space = leading_eigenvectors(matrix, k)
    for index in range(3):
        symmetric = 0.5 * (matrix[index] + matrix[index].mT)
        values, vectors = scipy.linalg.eigh(symmetric.numpy())
        top = vectors[:, ::-1][:, :k]
        torch.testing.assert_close(projector(space.basis[index]), torch.tensor(top @ top.T))
        torch.testing.assert_close(space.values[index], torch.tensor(values[::-1][:k].copy()))


@pytest.mark.parametrize("shape", [(60, 8), (8, 60)])
def test_small_singular_values_in_float32(shape: tuple[int, int]) -> None:
    """The Gram matrix in float32 would lose what is below 3e-4 of the largest value: here 1e-5 is exact."""
    x = with_spectrum(*shape, [1, 1e-2, 1e-4, 1e-5, 1e-6]).float()
    space = leading_left_singular_vectors(x, 4)
    u, s, _ = torch.linalg.svd(x.double())
    torch.testing.assert_close(space.values.double(), s[:4], rtol=1e-6, atol=0)
    torch.testing.assert_close(projector(space.basis.double()), projector(u[:, :4]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_the_scale_of_the_data_does_not_matter(scale: float) -> None:
    x = torch.randn(7, 4).requires_grad_()
    large = (scale * x.detach()).requires_grad_()
    cotangent = torch.randn(7, 2)
    bases = [leading_left_singular_vectors(y, 2).basis for y in (x, large)]
    torch.testing.assert_close(*bases)
    at_x, at_large = (torch.autograd.grad(b, y, cotangent)[0] for b, y in zip(bases, (x, large), strict=True))
    torch.testing.assert_close(at_large.double() * scale, at_x.double(), rtol=1e-4, atol=1e-5)


def test_vectors_beyond_the_rank_complete_the_basis(way: str) -> None:
    for shape in [(7, 5), (5, 7)]:
        x = with_spectrum(*shape, [3, 1]).requires_grad_()
        basis = leading_left_singular_vectors(x, 4).basis
        torch.testing.assert_close(basis.mT @ basis, torch.eye(4, dtype=torch.float64))
        torch.testing.assert_close(basis @ (basis.mT @ x), x)
        (gradient,) = torch.autograd.grad(basis, x, torch.randn_like(basis))
        assert gradient.abs().max() < 1e3


# --- gradients of the span ---


@SIDES
def test_gradient_of_singular_vectors(way: str, n: int, m: int, k: int) -> None:
    x = torch.randn(n, m, dtype=torch.float64, requires_grad=True)
    assert_jacobian(lambda x: projector(leading_left_singular_vectors(x, k).basis), x)


@pytest.mark.parametrize(("n", "k"), [(5, 2), (4, 4), (3, 1)])
def test_gradient_of_eigenvectors_at_any_matrix(n: int, k: int) -> None:
    matrix = torch.randn(n, n, dtype=torch.float64, requires_grad=True)
    assert_jacobian(lambda a: projector(leading_eigenvectors(a, k).basis), matrix)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (4, 6)])
def test_equal_values_among_the_leading_ones_do_no_harm(way: str, n: int, m: int) -> None:
    x = with_spectrum(n, m, [2, 2, 2, 1]).requires_grad_()
    assert_jacobian(lambda x: projector(leading_left_singular_vectors(x, 3).basis), x)
    matrix = (x @ x.mT).detach().requires_grad_()
    assert_jacobian(lambda a: projector(leading_eigenvectors(a, 3).basis), matrix)


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (4, 4)])
def test_terms_of_equal_values_across_the_border_are_zero(way: str, shape: tuple[int, int]) -> None:
    """Of the terms ``1 / (λ_i − λ_j)`` the infinite ones are left out, and the others are right."""
    n, values = shape[0], torch.tensor([3.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    x = torch.zeros(shape, dtype=torch.float64)
    x.diagonal().copy_(values)
    x.requires_grad_()
    basis = leading_left_singular_vectors(x, 2).basis
    cotangent = torch.randn_like(basis)
    (gradient,) = torch.autograd.grad(basis, x, cotangent)
    second = int(basis[:, 1].abs().argmax())  # 1 or 2, both right
    squares = torch.cat([values.square(), torch.zeros(n - 4, dtype=torch.float64)])
    expected = torch.zeros_like(x)
    for i, vector in ((0, 0), (1, second)):
        for j in set(range(n)) - {0, 1, 2}:
            weight = cotangent[j, i] * basis[vector, i] / (squares[vector] - squares[j])
            expected[j, vector] += weight * values[vector]
            if j < 4:
                expected[vector, j] += weight * values[j]
    other = 3 - second  # equal to the second: only the first vector turns towards it
    weight = cotangent[other, 0] * basis[0, 0] / (squares[0] - squares[other])
    expected[other, 0] += weight * values[0]
    expected[0, other] += weight * values[other]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gradients_at_multiples_of_the_identity_are_zero(k: int) -> None:
    for function in (leading_eigenvectors, leading_left_singular_vectors):
        x = (2 * torch.eye(3, dtype=torch.float64)).expand(2, 3, 3).clone().requires_grad_()
        basis = function(x, k).basis
        (gradient,) = torch.autograd.grad(basis, x, torch.randn_like(basis))
        assert (gradient == 0).all()


def test_no_tensor_is_larger_than_the_data() -> None:
    def span(x: Tensor) -> Tensor:
        return leading_left_singular_vectors(x, 3).basis

    for dtype in (torch.float32, torch.float64):
        for columns in (4, 6):  # twice the dimension is more than 4
            assert largest_tensor(span, torch.randn(400, columns, dtype=dtype)) == 400 * columns
            assert largest_tensor(span, torch.randn(columns, 400, dtype=dtype)) == 400 * columns
    assert largest_tensor(qr_factor, torch.randn(400, 3)) == 400 * 3


# --- the Q factor ---


def gram_schmidt(columns: mpmath.matrix) -> mpmath.matrix:
    q = columns.copy()
    for j in range(columns.cols):
        column = columns[:, j]
        for i in range(j):
            column -= mpmath.fdot(q[:, i], column) * q[:, i]
        q[:, j] = column / mpmath.norm(column)
    return q


def exact_gradient(x: Tensor, cotangent: Tensor) -> Tensor:
    """Return the gradient of ``⟨G, Q(X)⟩`` by differences in 60 digits."""
    point, weight, step = mpmath.matrix(x.tolist()), cotangent.flatten().tolist(), mpmath.mpf(10) ** -25
    gradient = torch.zeros_like(x)
    for row, column in np.ndindex(*x.shape):
        ends = []
        for shift in (step, -step):
            moved = point.copy()
            moved[row, column] += shift
            ends.append(mpmath.fdot(weight, list(gram_schmidt(moved))))
        gradient[row, column] = float((ends[0] - ends[1]) / (2 * step))
    return gradient


@pytest.mark.parametrize("exponent", [0, 2, 4, 6, 8])
@pytest.mark.parametrize("graded", [False, True], ids=["turned", "graded"])
def test_gradient_of_q_is_right_at_every_conditioning(exponent: int, graded: bool) -> None:
    """Relative errors of the condition number times eps; of eps where the columns are only scaled."""
    x = subspaces(5, 3) * torch.logspace(0, -exponent, 3, dtype=torch.float64)
    x = x if graded else x @ orthogonal(k=3)
    cotangent = torch.randn(5, 3, dtype=torch.float64)
    with mpmath.workdps(60):
        expected = exact_gradient(x, cotangent)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(qr_factor(x), x, cotangent)
    bound = 2e-15 * (1 if graded else 10**exponent)
    assert torch.linalg.norm(gradient - expected) <= bound * torch.linalg.norm(expected)


def test_q_has_a_positive_triangle_and_numpy_agrees() -> None:
    x = torch.randn(4, 2, 6, 3, dtype=torch.float64)
    q = qr_factor(x)
    r = q.mT @ x
    assert (r.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert r.tril(-1).abs().max() < 1e-14
    torch.testing.assert_close(q.abs(), torch.tensor(np.abs(np.linalg.qr(x.numpy())[0])))


@pytest.mark.parametrize(("n", "k"), [(5, 3), (3, 3), (4, 1)])
def test_gradient_of_q(n: int, k: int) -> None:
    assert_jacobian(qr_factor, torch.randn(n, k, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("column", [0, 1, 2])
def test_dependent_columns(column: int) -> None:
    """Q stays orthonormal, and the gradient is finite, where a column is 0 or repeats another one."""
    x = torch.randn(6, 3, dtype=torch.float64)
    for other in (torch.zeros(6, dtype=torch.float64), x[:, column - 1].clone()):
        x[:, column] = other
        y = x.clone().requires_grad_()
        q = qr_factor(y)
        torch.testing.assert_close(q.mT @ q, torch.eye(3, dtype=torch.float64))
        (gradient,) = torch.autograd.grad(q, y, torch.randn_like(q))
        assert gradient.isfinite().all()
        assert (gradient == 0).all(0).sum() == 1


@pytest.mark.parametrize(
    "function",
    [
        qr_factor,
        lambda x: leading_eigenvectors(x, 2).basis,
        lambda x: leading_left_singular_vectors(x, 2).basis,
    ],
    ids=["qr", "eigenvectors", "singular vectors"],
)
def test_a_second_derivative_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    with pytest.raises(UnavailableError, match="only once"):
        gradient.sum().backward()


def test_values_without_a_graph_are_the_same() -> None:
    x = torch.randn(2, 5, 3, requires_grad=True)
    for function in (qr_factor, lambda x: leading_left_singular_vectors(x, 2).basis):
        with torch.inference_mode():
            plain = function(x)
        assert not plain.requires_grad
        torch.testing.assert_close(plain, function(x), rtol=0, atol=0)


def test_parts_by_several_threads_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 8, 6, 4)
    functions: list[Callable[[Tensor], leading_subspace.LeadingSubspace]] = [
        lambda x: leading_left_singular_vectors(x, 2),
        lambda x: leading_eigenvectors(x @ x.mT, 2),
    ]
    whole = [function(x) for function in functions]
    monkeypatch.setattr("geowarp.manifolds.linalg.threads._WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for function, expected in zip(functions, whole, strict=True):
        torch.testing.assert_close(tuple(function(x)), tuple(expected), rtol=0, atol=0)
