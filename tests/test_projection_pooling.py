"""Pooling of subspaces against means of explicit projectors and closed forms on the circle of lines."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from jacobians import assert_jacobian
from subspace_cases import assert_invariant, largest_tensor, projector, subspaces
from torch import Tensor

from geowarp.errors import GeowarpError
from geowarp.manifolds import Grassmann
from geowarp.metrics import Chordal, Geodesic, Procrustes, SubspaceDistance
from geowarp.nn.subspaces import ProjectionPooling, RowPooling

DISTANCES: list[SubspaceDistance] = [Chordal(), Geodesic()]
# with an n x n matrix, by the Gram matrix of all columns, and by iteration
SHAPES = [(8, 12, 3), (3, 6, 2), (5, 4, 4), (3, 9, 1), (1, 5, 2), (2, 20, 3), (130, 520, 4)]


def near(count: int, n: int, k: int, spread: float = 0.3, batch: tuple[int, ...] = ()) -> Tensor:
    """Return ``(*batch, count, n, k)`` around one subspace."""
    centre = subspaces(*batch, 1, n, k)
    u = torch.randn(*batch, count, n, k, dtype=torch.float64)
    x: Tensor = Grassmann().expmap(centre, spread * Grassmann().proju(centre, u) / n**0.5)
    return x


def leading_projector(matrix: Tensor, k: int) -> Tensor:
    """Return the projector on the k leading eigenvectors, by ``torch.linalg.eigh``."""
    return projector(torch.linalg.eigh(matrix)[1][..., -k:])


def mean_of_projectors(x: Tensor, weights: Tensor) -> Tensor:
    """Return the projector of the chordal mean, from the n x n matrix."""
    normalized = weights / weights.sum(-1, keepdim=True)
    total = torch.einsum("...aik,...a,...ajk->...ij", x, normalized, x)
    return leading_projector(total, x.shape[-1])


def lines(angles: Tensor) -> Tensor:
    """Return the lines of the plane at these angles, ``(..., 2, 1)``."""
    return torch.stack([angles.cos(), angles.sin()], -1)[..., None]


def gradients(function: Callable[..., Tensor], cotangent: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of ``Σ cotangent function(inputs)``."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(function(*leaves), leaves, cotangent)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chordal_mean_is_that_of_explicit_projectors(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, weights = near(*shape, batch=(2,)), torch.rand(2, shape[0], dtype=torch.float64) + 0.1
    mean = ProjectionPooling()(x.to(dtype), weights.to(dtype))
    assert mean.dtype == dtype
    assert mean.shape == (2, *shape[1:])
    assert mean.is_contiguous()
    atol = 300 * torch.finfo(dtype).eps
    torch.testing.assert_close(projector(mean).double(), mean_of_projectors(x, weights), atol=atol, rtol=0)
    equal = projector(ProjectionPooling()(x.to(dtype))).double()
    torch.testing.assert_close(equal, mean_of_projectors(x, torch.ones_like(weights)), atol=atol, rtol=0)


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape[0] > 1 and shape[2] < shape[1]], ids=str
)
def test_gradients_are_those_of_explicit_projectors(shape: tuple[int, int, int]) -> None:
    x, weights = near(*shape, spread=0.8), torch.rand(shape[0], dtype=torch.float64) + 0.1
    cotangent = torch.randn(shape[1], shape[1], dtype=torch.float64)
    ours = gradients(lambda a, w: projector(ProjectionPooling()(a, w)), cotangent, x, weights)
    expected = gradients(mean_of_projectors, cotangent, x, weights)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    (alone,) = gradients(lambda a: projector(ProjectionPooling()(a, weights)), cotangent, x)
    torch.testing.assert_close(alone, expected[0], rtol=1e-8, atol=1e-9)


def test_a_weight_of_zero_has_a_gradient() -> None:
    x, weights = near(4, 6, 2), torch.tensor([0.5, 0.0, 1.0, 1.0], dtype=torch.float64)
    cotangent = torch.randn(6, 6, dtype=torch.float64)
    ours = gradients(lambda a, w: projector(ProjectionPooling()(a, w)), cotangent, x, weights)
    for one, other in zip(ours, gradients(mean_of_projectors, cotangent, x, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
    assert ours[1][1].abs() > 1e-4


@pytest.mark.parametrize("distance", DISTANCES, ids=repr)
@pytest.mark.parametrize("shape", [(4, 7, 2), (2, 12, 3)], ids=str)
def test_values_and_gradients_are_those_of_spans(
    distance: SubspaceDistance, shape: tuple[int, int, int]
) -> None:
    assert_invariant(ProjectionPooling(distance), near(*shape, batch=(3,)), projector, atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("distance", DISTANCES, ids=repr)
@pytest.mark.parametrize("shape", [(3, 7, 2), (3, 20, 4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_subspaces(distance: SubspaceDistance, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """All k eigenvalues are 1. Each of N points moves the mean by 1 / N of its own motion."""
    count, n, k = shape
    u = subspaces(n, k, dtype=dtype)
    x = u.expand(count, n, k)
    mean = ProjectionPooling(distance)(x)
    atol = 30 * torch.finfo(dtype).eps
    torch.testing.assert_close(projector(mean), projector(u), atol=atol, rtol=0)
    cotangent = torch.randn(n, n, dtype=dtype)
    (gradient,) = gradients(lambda a: projector(ProjectionPooling(distance)(a)), cotangent, x)
    (alone,) = gradients(projector, cotangent, u)
    horizontal = Grassmann().proju(u, alone) / count
    torch.testing.assert_close(
        Grassmann().proju(u, gradient), horizontal.expand_as(x), atol=30 * atol, rtol=1e-4
    )


def test_finite_gradients_where_eigenvalues_repeat() -> None:
    angle = torch.tensor(0.8, dtype=torch.float64)
    turned = torch.stack([angle.cos() * torch.eye(2), angle.sin() * torch.eye(2)]).reshape(4, 2)
    x = torch.stack([torch.eye(4, 2, dtype=torch.float64), turned.double()])  # (1 + cosθ) / 2, twice
    cotangent = torch.randn(4, 4, dtype=torch.float64)
    assert_jacobian(lambda a: (projector(ProjectionPooling()(a)) * cotangent).sum(-1), x.requires_grad_())
    orthogonal = torch.eye(3, dtype=torch.float64).unsqueeze(-1)  # three lines, all eigenvalues 1 / 3
    (gradient,) = gradients(ProjectionPooling(), torch.ones(3, 1, dtype=torch.float64), orthogonal)
    assert gradient.isfinite().all()


def doubled(angles: Tensor, weights: Tensor) -> Tensor:
    """Return the angle of the mean of the lines as points of the circle of double angles."""
    sine, cosine = ((weights * part).sum(-1) for part in ((2 * angles).sin(), (2 * angles).cos()))
    return torch.atan2(sine, cosine) / 2


def averaged(angles: Tensor, weights: Tensor) -> Tensor:
    """Return the mean angle."""
    return (weights * angles).sum(-1) / weights.sum(-1)


@pytest.mark.parametrize(
    ("distance", "closed_form"), [(Chordal(), doubled), (Geodesic(), averaged)], ids=["chordal", "geodesic"]
)
def test_lines_of_the_plane(
    distance: SubspaceDistance, closed_form: Callable[[Tensor, Tensor], Tensor]
) -> None:
    angles = torch.tensor([0.1, 0.5, -0.2, 0.3], dtype=torch.float64) + torch.tensor([[0.0], [1.4], [3.0]])
    weights = torch.tensor([1.0, 2.0, 0.5, 0.2], dtype=torch.float64)

    def pooled(a: Tensor, w: Tensor) -> Tensor:
        return projector(ProjectionPooling(distance)(lines(a), w))

    expected = projector(lines(closed_form(angles, weights)))
    torch.testing.assert_close(pooled(angles, weights), expected, atol=1e-14, rtol=0)
    cotangent = torch.randn(3, 2, 2, dtype=torch.float64)
    ours = gradients(pooled, cotangent, angles, weights)
    explicit = gradients(lambda a, w: projector(lines(closed_form(a, w))), cotangent, angles, weights)
    for one, other in zip(ours, explicit, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_the_geodesic_mean_balances_logarithms() -> None:
    x, weights = near(5, 8, 3, batch=(2,)), torch.rand(2, 5, dtype=torch.float64)
    mean = ProjectionPooling(Geodesic())(x, weights)
    pull = (weights[..., None, None] * Grassmann().logmap(mean.unsqueeze(-3), x)).sum(-3)
    assert pull.abs().max() < 1e-12
    cotangent = torch.randn(8, 8, dtype=torch.float64)

    def value(a: Tensor) -> Tensor:
        return (projector(ProjectionPooling(Geodesic())(a)) * cotangent).sum(-1)

    assert_jacobian(value, x[0, :3].clone().requires_grad_())


@pytest.mark.parametrize("distance", DISTANCES, ids=repr)
def test_dimensions(distance: SubspaceDistance) -> None:
    x = near(3, 6, 2, batch=(4, 5))
    pooled = ProjectionPooling(distance)(x)
    assert pooled.shape == (4, 5, 6, 2)
    for dim, moved in ((-4, x.movedim(2, 1)), (0, x.movedim(2, 0)), (2, x)):
        layer = ProjectionPooling(distance, dim=dim)
        torch.testing.assert_close(projector(layer(moved)), projector(pooled))
        assert ProjectionPooling(distance, dim=dim, keepdim=True)(moved).shape == tuple(
            1 if i == dim % 5 else size for i, size in enumerate(moved.shape)
        )
    assert ProjectionPooling(distance)(x[:0]).shape == (0, 5, 6, 2)
    half = ProjectionPooling(distance)(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (projector(half.double()) - projector(pooled)).abs().max() < 0.05


def test_broadcast_weights() -> None:
    x, weights = near(3, 6, 2, batch=(4,)), torch.rand(5, 1, 3, dtype=torch.float64)
    pooled = ProjectionPooling()(x, weights)
    assert pooled.shape == (5, 4, 6, 2)
    torch.testing.assert_close(projector(pooled), mean_of_projectors(x, weights), atol=1e-13, rtol=0)


@pytest.mark.parametrize("shape", [(3, 60, 4), (8, 20, 4), (90, 150, 2)], ids=str)
def test_nothing_larger_than_the_input(shape: tuple[int, int, int]) -> None:
    assert largest_tensor(ProjectionPooling(), near(*shape)) <= math.prod(shape)


def test_errors_of_projection_pooling() -> None:
    with pytest.raises(GeowarpError, match=r"Procrustes\(\) has no mean; use Chordal\(\) or Geodesic\(\)"):
        ProjectionPooling(Procrustes())
    with pytest.raises(GeowarpError, match="dim = -2 is one of the bases"):
        ProjectionPooling(dim=-2)
    with pytest.raises(GeowarpError, match=r"dim = -3 counts no subspaces in the shape \(4, 2\)"):
        ProjectionPooling()(subspaces(4, 2))
    with pytest.raises(GeowarpError, match=r"dim = 1 counts no subspaces in the shape \(3, 4, 2\)"):
        ProjectionPooling(dim=1)(subspaces(3, 4, 2))
    with pytest.raises(GeowarpError, match=r"no subspaces in the shape \(0, 4, 2\)"):
        ProjectionPooling()(subspaces(0, 4, 2))
    with pytest.raises(GeowarpError, match="none may be negative"):
        ProjectionPooling()(subspaces(2, 4, 2), torch.tensor([1.0, -1.0]))


# --- RowPooling ---


def squares_pooled(u: Tensor, size: int) -> Tensor:
    """Return the projector of the leading eigenvectors of ``avg_pool2d(UUᵀ)``."""
    pooled = F.avg_pool2d(projector(u).unsqueeze(-3), size).squeeze(-3)
    return leading_projector(pooled, u.shape[-1])


@pytest.mark.parametrize(("n", "k", "size"), [(8, 3, 2), (12, 4, 3), (6, 6, 1), (8, 2, 4), (10, 1, 2)])
def test_rows_pool_as_squares_of_the_projector(n: int, k: int, size: int) -> None:
    u, layer = subspaces(3, n, k), RowPooling(size)
    pooled = layer(u)
    assert pooled.shape == (3, n // size, k)
    torch.testing.assert_close(projector(pooled), squares_pooled(u, size), atol=1e-12, rtol=0)
    single = layer(u.float())
    torch.testing.assert_close(projector(single).double(), projector(pooled), atol=1e-5, rtol=0)


def test_every_row_gets_its_gradient() -> None:
    """The released code hands the gradient of each square to one of its four entries."""
    u, cotangent = subspaces(8, 2), torch.randn(4, 4, dtype=torch.float64)
    (gradient,) = gradients(lambda a: projector(RowPooling()(a)), cotangent, u)
    (expected,) = gradients(lambda a: squares_pooled(a, 2), cotangent, u)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradient[0::2], gradient[1::2])
    assert (gradient.abs() > 1e-6).all()
    assert_jacobian(lambda a: (projector(RowPooling()(a)) * cotangent).sum(-1), u.requires_grad_())


def test_row_pooling_is_of_spans_and_small() -> None:
    assert_invariant(RowPooling(), subspaces(4, 12, 3), projector)
    assert largest_tensor(RowPooling(), subspaces(60, 2)) <= 120
    assert RowPooling()(subspaces(0, 6, 2)).shape == (0, 3, 2)
    transposed = subspaces(6, 2).mT.contiguous().mT
    torch.testing.assert_close(RowPooling()(transposed), RowPooling()(transposed.contiguous()))


def test_rows_that_cancel() -> None:
    u = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]) / math.sqrt(2)
    leaf = u.clone().requires_grad_()
    pooled = RowPooling()(leaf)
    torch.testing.assert_close(pooled.mT @ pooled, torch.eye(2))
    pooled.sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


def test_errors_of_row_pooling() -> None:
    with pytest.raises(GeowarpError, match="size = 0 rows make no mean"):
        RowPooling(0)
    with pytest.raises(GeowarpError, match="size = 2 does not divide the 7 rows"):
        RowPooling()(subspaces(7, 2))
    with pytest.raises(GeowarpError, match="6 rows become 2, which hold no subspace of dimension 3"):
        RowPooling(3)(subspaces(6, 3))
