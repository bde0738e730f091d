"""Layers of subspaces: what they compute, their gradients, and what is easily wrong in them."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jacobians import assert_jacobian
from subspace_cases import Layer, assert_invariant, largest_tensor, projector, subspaces
from torch import Tensor, nn

from geowarp.errors import GeowarpError, NonFiniteError
from geowarp.manifolds.parameter import named_manifolds
from geowarp.metrics import Chordal
from geowarp.nn.subspaces import (
    FullRankMap,
    GramBasis,
    OrthMap,
    ProjectionEmbedding,
    ProjectionMap,
    Projector,
    QRBasis,
    ReOrth,
    SpanMethod,
    SVDBasis,
)

N, K = 6, 3


def data(*batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return data ``(..., 6, 3)`` far from deficient, which are also bases that are not orthonormal."""
    x = subspaces(*batch, N, K) * torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    return (x + 0.1 * torch.randn_like(x)).to(dtype)


def symmetric(*batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return projector(data(*batch)).to(dtype)


# each with its input, and with what is equal for equal subspaces
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[..., Tensor], Layer]] = {
    "svd": (lambda: ProjectionMap(2), data, projector),
    "gram": (lambda: ProjectionMap(2, GramBasis()), data, projector),
    "qr": (lambda: ProjectionMap(method=QRBasis()), data, projector),
    "projector": (lambda: ProjectionMap(2, Projector()), data, lambda p: p),
    "projector of all": (lambda: ProjectionMap(method=Projector()), data, lambda p: p),
    "orth map": (lambda: OrthMap(2), symmetric, projector),
    "re-orth": (ReOrth, data, projector),
    "map": (lambda: FullRankMap(N, 4), data, projector),
    "maps": (lambda: FullRankMap(N, 4, maps=2), lambda *b, **o: data(*b, 2, **o), projector),
    "maps of one": (lambda: FullRankMap(N, 4, maps=2), lambda *b, **o: data(*b, 1, **o), projector),
    "embedding": (ProjectionEmbedding, data, lambda v: v),
}
EACH = pytest.mark.parametrize("name", list(CASES))


def case(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Callable[..., Tensor], Layer]:
    make, inputs, output = CASES[name]
    return make().to(dtype), inputs, output


# --- every layer ---


@EACH
def test_gradients_equal_finite_differences(name: str) -> None:
    layer, inputs, output = case(name)
    assert_jacobian(lambda x: output(layer(x)), inputs().requires_grad_())


@EACH
def test_batches_are_their_members(name: str) -> None:
    layer, inputs, _ = case(name)
    x = inputs(2, 3)
    y = layer(x)
    assert y.is_contiguous()
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(y[i, j], layer(x[i, j]))
    assert layer(x[:0]).shape == (0, *y.shape[1:])
    empty = x[:, :0].requires_grad_()
    layer(empty).sum().backward()
    assert empty.grad is not None
    assert empty.grad.shape == empty.shape


@EACH
def test_input_that_is_not_contiguous(name: str) -> None:
    layer, inputs, _ = case(name)
    x = inputs(2)
    strided = x.mT.contiguous().mT
    assert not strided.is_contiguous()
    torch.testing.assert_close(layer(strided), layer(x))
    before = x.clone()
    layer(x)
    assert (x == before).all()


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes(name: str, dtype: torch.dtype) -> None:
    layer, inputs, output = case(name)
    x = inputs(4).to(dtype).requires_grad_()
    expected = output(layer(x.detach().double()))
    y = layer.to(dtype)(x)
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.2
    torch.testing.assert_close(output(y.double()), expected, atol=tolerance, rtol=tolerance)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()


@EACH
def test_copies_and_states(name: str) -> None:
    layer, inputs, _ = case(name)
    x = inputs(2)
    twin, fresh = copy.deepcopy(layer), case(name)[0]
    fresh.load_state_dict(layer.state_dict())
    for other in (twin, fresh):
        torch.testing.assert_close(other(x), layer(x), rtol=0, atol=0)
        assert repr(other) == repr(layer)
        assert dict(named_manifolds(other)) == dict(named_manifolds(layer))


def test_repr_tells_the_settings() -> None:
    settings = "ProjectionMap(k=3, method=Projector(of=SVDBasis()), allow_deficient=True)"
    assert repr(ProjectionMap(3, Projector(SVDBasis()), allow_deficient=True)) == settings
    assert repr(FullRankMap(5, 4, maps=2)) == "FullRankMap(n_in=5, n_out=4, maps=2)"
    assert repr(OrthMap(2)) == "OrthMap(k=2)"


@EACH
def test_compiles_in_one_graph(name: str) -> None:
    layer, inputs, _ = case(name)
    x = inputs(2).requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    y, expected = compiled(x), layer(x)
    torch.testing.assert_close(y, expected)
    cotangent = torch.randn_like(y)
    gradients = [torch.autograd.grad(value, x, cotangent) for value in (y, expected)]
    torch.testing.assert_close(*gradients)


# --- the basis does not matter ---

OF_BASES: dict[str, tuple[Layer, Layer]] = {
    "svd": (ProjectionMap(2), projector),
    "svd of all": (ProjectionMap(), projector),
    "gram": (ProjectionMap(2, GramBasis()), projector),
    "qr": (ProjectionMap(method=QRBasis()), projector),
    "projector": (ProjectionMap(2, Projector()), lambda p: p),
    "projector of all": (ProjectionMap(method=Projector()), lambda p: p),
    "re-orth": (ReOrth(), projector),
    "map": (nn.Sequential(FullRankMap(N, 4).double(), ReOrth()), projector),
    "maps": (nn.Sequential(nn.Unflatten(-2, (1, N)), FullRankMap(N, 4, 3).double(), ReOrth()), projector),
    "orth map": (lambda u: OrthMap(K)(projector(u)), projector),
    "embedding": (ProjectionEmbedding(), lambda v: v),
}


@pytest.mark.parametrize("name", list(OF_BASES))
@pytest.mark.parametrize("batch", [(), (2, 2)], ids=str)
def test_invariance_under_a_change_of_basis(name: str, batch: tuple[int, ...]) -> None:
    layer, output = OF_BASES[name]
    orthonormal = name in ("embedding", "orth map")
    assert_invariant(layer, subspaces(*batch, N, K) if orthonormal else data(*batch), output)


def test_the_whole_span_is_that_of_any_mixture_of_the_columns() -> None:
    x, mixture = data(), torch.randn(K, K, dtype=torch.float64)
    for method in (SVDBasis(), QRBasis()):
        layer = ProjectionMap(method=method)
        torch.testing.assert_close(projector(layer(x @ mixture)), projector(layer(x)))


# --- no n x n tensor ---

LARGE: dict[str, tuple[Layer, tuple[int, ...], int]] = {
    "svd": (ProjectionMap(3), (400, 20), 400 * 20),
    "svd of wide data": (ProjectionMap(3), (20, 400), 400 * 20),
    "gram": (ProjectionMap(3, GramBasis()), (400, 20), 400 * 20),
    "qr": (ProjectionMap(method=QRBasis()), (400, 3), 400 * 3),
    "re-orth": (ReOrth(), (400, 3), 400 * 3),
    "map": (FullRankMap(400, 5), (50, 400, 3), 50 * 400 * 3),
    "maps": (FullRankMap(400, 30, maps=4), (50, 4, 400, 3), 50 * 4 * 400 * 3),
    "maps of one": (FullRankMap(400, 30, maps=4), (50, 1, 400, 3), 50 * 400 * 3),
    "network": (
        nn.Sequential(ProjectionMap(3), FullRankMap(400, 50), ReOrth(), ProjectionMap(2), ReOrth()),
        (400, 6),
        400 * 50,
    ),
}


@pytest.mark.parametrize("name", list(LARGE))
def test_no_tensor_is_larger_than_input_output_and_weight(name: str) -> None:
    layer, shape, bound = LARGE[name]
    assert 0 < largest_tensor(layer, torch.randn(shape)) <= bound
    assert bound < 400 * 400 * (shape[0] if len(shape) > 2 else 1)


# --- data to subspaces ---


def test_the_published_projector() -> None:
    x = data(4)
    expected = x @ torch.linalg.inv(x.mT @ x) @ x.mT
    torch.testing.assert_close(ProjectionMap(method=Projector())(x), expected)
    for method in (SVDBasis(), QRBasis()):
        torch.testing.assert_close(projector(ProjectionMap(method=method)(x)), expected)
        torch.testing.assert_close(ProjectionMap(method=Projector(method))(x), expected)


@pytest.mark.parametrize(
    "method", [SVDBasis(), GramBasis(), QRBasis(), Projector(), Projector(SVDBasis())], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deficient_data(method: SpanMethod, dtype: torch.dtype) -> None:
    """An error with the rank, or a subspace that contains the data and has a finite gradient."""
    x = (subspaces(2, 7, 2) @ torch.randn(2, 2, 4, dtype=torch.float64)).to(dtype)
    with pytest.raises(GeowarpError, match=r"rank of the data is 2, below k = 4; take k=2, or allow_def"):
        ProjectionMap(method=method)(x)
    y = x.clone().requires_grad_()
    result = ProjectionMap(method=method, allow_deficient=True)(y)
    p = result if isinstance(method, Projector) else projector(result)
    torch.testing.assert_close(p @ x, x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(p.diagonal(dim1=-2, dim2=-1).sum(-1), torch.full((2,), 4.0, dtype=dtype))
    again = ProjectionMap(method=method, allow_deficient=True)(x)
    torch.testing.assert_close(again, result, rtol=0, atol=0)
    result.square().sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("ratio", [1e-3, 1e-6, 1e-10, 1e-13])
def test_small_singular_values_are_no_deficiency(ratio: float) -> None:
    """In float64 down to ``max(n, m) eps = 1.6e-15``: well below what a Gram matrix can tell."""
    x = (subspaces(7, 2) * torch.tensor([1.0, ratio], dtype=torch.float64)) @ subspaces(4, 2).mT
    assert ProjectionMap(2)(x).shape == (7, 2)
    with pytest.raises(GeowarpError, match="rank of the data is 2, below k = 3"):
        ProjectionMap(3)(x)


def test_one_deficient_member_of_a_batch_is_found() -> None:
    x = data(5)
    x[3, :, 2] = x[3, :, 0] + x[3, :, 1]
    with pytest.raises(GeowarpError, match="rank of the data is 2, below k = 3"):
        ProjectionMap(method=QRBasis())(x)
    x[3] = 0
    with pytest.raises(GeowarpError, match="rank of the data is 0, below k = 3; is it 0"):
        ProjectionMap()(x)


def test_unchecked_while_compiling() -> None:
    x = torch.ones(4, 2, dtype=torch.float64)
    torch.compiler.reset()
    basis = torch.compile(ProjectionMap(), backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(2, dtype=torch.float64))


# --- the embedding ---


def test_distances_of_embeddings_are_chordal_distances() -> None:
    u, v = subspaces(5, 7, 3), subspaces(5, 7, 3)
    embedding = ProjectionEmbedding()
    assert embedding(u).shape == (5, 28)
    distance = torch.linalg.vector_norm(embedding(u) - embedding(v), dim=-1)
    torch.testing.assert_close(distance, Chordal()(u, v))
    torch.testing.assert_close(distance, torch.linalg.matrix_norm(projector(u) - projector(v)) / 2**0.5)


# --- regressions: what is easily wrong in layers of subspaces ---


def test_gradient_of_eigenvectors_is_that_of_a_symmetric_matrix() -> None:
    """Without symmetrisation it is right after ``XXᵀ`` only; here the product before it is not symmetric."""
    left, right = (torch.randn(5, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert_jacobian(lambda a, b: projector(OrthMap(2)(a @ b)), left, right)
    matrix = (left @ right).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(OrthMap(2)(matrix).sum(), matrix)
    torch.testing.assert_close(gradient, gradient.mT)


def test_gradient_of_eigenvectors_at_equal_eigenvalues() -> None:
    """The infinite terms of ``diag(2, 2, 1)`` become 0, and the derivative of its span stays right."""
    matrix = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64)).requires_grad_()
    assert_jacobian(lambda a: projector(OrthMap(2)(a)), matrix)
    (gradient,) = torch.autograd.grad(OrthMap(1)(matrix).square().sum(), matrix)
    assert gradient.isfinite().all()


def test_gradient_of_the_projector_at_a_cotangent_that_is_not_symmetric() -> None:
    """``(G + Gᵀ) U``, of which ``2 G U`` is a special case."""
    u, cotangent = subspaces(6, 3).requires_grad_(), torch.randn(6, 6, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(Projector().output(u), u, cotangent)
    torch.testing.assert_close(gradient, (cotangent + cotangent.mT) @ u)
    wrong = 2 * cotangent @ u
    assert torch.linalg.norm(wrong - gradient) > 0.1 * torch.linalg.norm(gradient)
    triangle = tuple(torch.triu_indices(6, 6))
    weight = torch.where(triangle[0] == triangle[1], 0.5**0.5, 1.0).double()
    upper = torch.zeros(6, 6, dtype=torch.float64)
    upper[triangle] = weight * cotangent[triangle]
    (gradient,) = torch.autograd.grad(ProjectionEmbedding()(u), u, cotangent[triangle])
    torch.testing.assert_close(gradient, (upper + upper.mT) @ u)


def test_shapes_without_data() -> None:
    x = torch.ones(2, 6, 3, device="meta")
    assert ProjectionMap(2)(x).shape == (2, 6, 2)
    assert OrthMap(2)(x @ x.mT).shape == (2, 6, 2)


# --- errors ---

MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "k of the span": (lambda: ProjectionMap(0), "ProjectionMap: k = 0 must be at least 1"),
    "k above n": (lambda: ProjectionMap(4)(torch.ones(3, 5)), "3 x 5 data span no subspace of .* k = 4"),
    "more columns than rows": (lambda: ProjectionMap()(torch.ones(3, 5)), "give k=... from 1 to 3"),
    "no matrix": (lambda: ProjectionMap()(torch.ones(3)), r"shape \(3,\), not \(\.\.\., n, m\)"),
    "k of QR": (lambda: ProjectionMap(1, QRBasis())(torch.ones(3, 2)), "QRBasis: k = 1 of 2 columns"),
    "k of eigenvectors": (lambda: OrthMap(0), "OrthMap: k = 0 must be at least 1"),
    "small matrix": (lambda: OrthMap(3)(torch.ones(2, 2)), r"\(2, 2\), not \(\.\.\., n, n\) with n >= 3"),
    "not square": (lambda: OrthMap(1)(torch.ones(2, 3)), r"OrthMap: the input has shape \(2, 3\)"),
    "wide": (lambda: ReOrth()(torch.ones(2, 3)), r"ReOrth: .* \(2, 3\), not \(\.\.\., n, k\) with k <= n"),
    "vector": (lambda: ProjectionEmbedding()(torch.ones(3)), r"shape \(3,\), not \(\.\.\., n, k\)"),
    "rows": (lambda: FullRankMap(7, 2)(torch.ones(5, 2)), "has 5 rows and the map needs 7; .* n_in=5"),
    "maps": (lambda: FullRankMap(7, 2, 4)(torch.ones(3, 7, 2)), r"must have \(\.\.\., 4 or 1, n, k\)"),
    "no maps": (lambda: FullRankMap(7, 2, 0), "maps = 0 must be at least 1, or None"),
    "growing map": (lambda: FullRankMap(3, 4), "n_out = 4 must be between 1 and n_in = 3"),
}


@pytest.mark.parametrize("name", list(MISTAKES))
def test_errors_say_what_is_wrong(name: str) -> None:
    mistake, message = MISTAKES[name]
    with pytest.raises(GeowarpError, match=message):
        mistake()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["svd", "qr", "projector", "orth map"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_input_that_is_not_finite(name: str, value: float, dtype: torch.dtype) -> None:
    layer, inputs, _ = case(name)
    x = inputs(2).to(dtype)
    x[1, 0, 0] = value
    with pytest.raises(NonFiniteError, match=r"1 of .* entries of the input are not finite"):
        layer(x)
