"""The contrastive loss of subspaces against its definition written out, with explicit projectors."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from geowarp.errors import GeowarpError, UnavailableError
from geowarp.manifolds import Grassmann
from geowarp.metrics import Chordal, Geodesic, Martin, Procrustes, SubspaceDistance
from geowarp.nn.subspaces import GrassmannContrastiveLoss, projector_gram

DISTANCES = [Chordal(), Geodesic(), Procrustes()]
SHAPES = [(2, 3, 5, 1), (3, 4, 6, 3), (2, 5, 5, 3), (4, 2, 7, 4)]  # n on both sides of 2k
every = pytest.mark.parametrize("distance", DISTANCES, ids=repr)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def bases(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return Grassmann().random(*shape, dtype=dtype).detach().as_subclass(Tensor)


def gradient(loss: GrassmannContrastiveLoss, views: Tensor) -> Tensor:
    variable = views.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(variable), variable)
    return grad


def square_of(x: Tensor, y: Tensor, distance: SubspaceDistance) -> Tensor:
    if distance == Chordal():
        return (x @ x.mT - y @ y.mT).square().sum() / 2
    cosines = torch.linalg.svdvals(x.mT @ y).clamp_max(1)
    angles = cosines.arccos() if distance == Geodesic() else 2 * (cosines.arccos() / 2).sin()
    square: Tensor = angles.square().sum()
    return square


def written_out(views: Tensor, temperature: float, distance: SubspaceDistance) -> Tensor:
    """Return the loss by loops over anchors, positives and all others."""
    places = [(v, i) for v in range(len(views)) for i in range(views.shape[1])]
    terms = []
    for v, i in places:
        logit = {
            (w, j): -square_of(views[v, i], views[w, j], distance) / temperature
            for w, j in places
            if (w, j) != (v, i)
        }
        normaliser = torch.stack(list(logit.values())).exp().sum().log()
        positives = [normaliser - logit[w, i] for w in range(len(views)) if w != v]
        terms.append(torch.stack(positives).mean())
    return torch.stack(terms).mean()


@every
@shapes
@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_definition(distance: SubspaceDistance, shape: tuple[int, ...], temperature: float) -> None:
    views = bases(*shape)
    expected = written_out(views, temperature, distance)
    loss = GrassmannContrastiveLoss(temperature, distance)
    torch.testing.assert_close(loss(views), expected)
    torch.testing.assert_close(loss(list(views)), expected)
    torch.testing.assert_close(loss(tuple(views)), expected)
    single = loss(views.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=1e-5 / temperature, rtol=1e-5)


def test_two_views_of_lines_are_nt_xent_of_the_squared_cosine() -> None:
    first, second, temperature = bases(6, 5, 1), bases(6, 5, 1), 0.4
    lines = torch.cat([first, second])[..., 0]
    similarity = (lines @ lines.mT).square() / temperature
    similarity.fill_diagonal_(-math.inf)
    partner = torch.arange(12).roll(6)
    expected = torch.nn.functional.cross_entropy(similarity, partner)
    torch.testing.assert_close(GrassmannContrastiveLoss(temperature)([first, second]), expected)


@shapes
def test_gradient_of_the_chordal_loss(shape: tuple[int, ...]) -> None:
    loss = GrassmannContrastiveLoss(0.7)
    assert gradcheck(loss, bases(*shape).requires_grad_())


@pytest.mark.parametrize("distance", DISTANCES[1:], ids=repr)
def test_gradient_of_other_losses(distance: SubspaceDistance) -> None:
    loss = GrassmannContrastiveLoss(0.7, distance)
    data = torch.randn(2, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x: loss(torch.linalg.qr(x)[0]), data)


@every
@shapes
def test_the_basis_does_not_matter(distance: SubspaceDistance, shape: tuple[int, ...]) -> None:
    loss, views = GrassmannContrastiveLoss(0.5, distance), bases(*shape)
    turn = bases(*shape[:2], shape[-1], shape[-1])
    torch.testing.assert_close(loss(views @ turn), loss(views))
    torch.testing.assert_close(gradient(loss, views @ turn), gradient(loss, views) @ turn)


@every
def test_order_of_samples_and_views_does_not_matter(distance: SubspaceDistance) -> None:
    loss, views = GrassmannContrastiveLoss(0.5, distance), bases(3, 4, 6, 2)
    samples, order = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    torch.testing.assert_close(loss(views[:, samples]), loss(views))
    torch.testing.assert_close(loss(views[order]), loss(views))
    torch.testing.assert_close(
        gradient(loss, views[order][:, samples]), gradient(loss, views)[order][:, samples]
    )
    mixed = torch.stack([views[0], views[1][samples], views[2]])
    assert abs(loss(mixed) - loss(views)) > 1e-3


@every
@dtypes
@pytest.mark.parametrize(("n", "k"), [(6, 2), (5, 3)])
def test_subspaces_that_coincide(distance: SubspaceDistance, dtype: torch.dtype, n: int, k: int) -> None:
    loss, point = GrassmannContrastiveLoss(0.5, distance), bases(n, k, dtype=dtype)
    views = point.expand(3, 4, n, k).contiguous()
    torch.testing.assert_close(loss(views), torch.tensor(math.log(11.0), dtype=dtype), atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient(loss, views), torch.zeros_like(views), atol=1e-5, rtol=0)
    apart = bases(1, 4, n, k, dtype=dtype).expand(2, 4, n, k).contiguous()  # views agree, samples differ
    assert gradient(loss, apart).isfinite().all()


@every
@dtypes
@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_extreme_temperatures(distance: SubspaceDistance, dtype: torch.dtype, temperature: float) -> None:
    loss, views = GrassmannContrastiveLoss(temperature, distance), bases(2, 5, 6, 3, dtype=dtype)
    value, grad = loss(views), gradient(loss, views)
    assert value.isfinite()
    assert grad.isfinite().all()
    assert value > 0
    if temperature > 1:
        torch.testing.assert_close(value, torch.tensor(math.log(9.0), dtype=dtype), atol=1e-5, rtol=0)


def test_the_projection_metric_reaches_the_subspaces_and_falls_when_views_are_pulled_together() -> None:
    """Code in use defines this metric and never calls it: nothing ever pulls the subspaces together."""
    manifold, loss = Grassmann(), GrassmannContrastiveLoss(0.5)
    first, second = bases(5, 6, 2), bases(5, 6, 2)
    direction = manifold.logmap(first, second)
    values = torch.stack([loss([first, manifold.expmap(first, t * direction)]) for t in (1.0, 0.6, 0.2, 0.0)])
    assert (values.diff() < 0).all()
    views = torch.stack([first, second])
    grad = manifold.egrad2rgrad(views, gradient(loss, views))
    assert (manifold.norm(views, grad) > 1e-4).all()
    assert loss(manifold.expmap(views, -0.1 * grad)) < loss(views)


@pytest.mark.parametrize("entries", [1, 100, 1 << 19])
def test_products_and_projectors_give_the_same(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector_gram, "_ENTRIES", entries)
    loss, views = GrassmannContrastiveLoss(0.5), bases(2, 7, 5, 3)
    wide = torch.cat([views, torch.zeros(2, 7, 9, 3, dtype=torch.float64)], 2)  # the same subspaces in R^14
    torch.testing.assert_close(loss(wide), loss(views))
    grad = gradient(loss, wide)
    torch.testing.assert_close(grad[:, :, :5], gradient(loss, views))
    assert not grad[:, :, 5:].any()


class LargestTensor(TorchDispatchMode):
    """The number of entries of the largest tensor that any operation returns."""

    entries = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else [result]:
            if isinstance(part, Tensor):
                self.entries = max(self.entries, part.untyped_storage().nbytes() // part.element_size())
        return result


@pytest.mark.parametrize(
    ("shape", "limit"),
    [((2, 4, 1500, 2), 2 * 4 * 1500 * 2), ((2, 700, 12, 4), (2 * 700) ** 2)],
    ids=["a set of bases", "a table of pairs"],
)
def test_nothing_larger_is_held_than(shape: tuple[int, int, int, int], limit: int) -> None:
    points = bases(*shape, dtype=torch.float32)
    with LargestTensor() as largest:  # type: ignore[no-untyped-call]
        gradient(GrassmannContrastiveLoss(), points)
    assert largest.entries == limit


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(half: torch.dtype) -> None:
    loss, views = GrassmannContrastiveLoss(0.5), bases(2, 4, 6, 2, dtype=torch.float32)
    value = loss(views.to(half))
    assert value.dtype == half
    torch.testing.assert_close(value.float(), loss(views.to(half).float()), atol=1e-2, rtol=1e-2)
    assert gradient(loss, views.to(half)).isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(views), GrassmannContrastiveLoss(0.5)(views))
        inside = loss(views)
    assert torch.equal(inside, loss(views))


def test_views_that_are_not_contiguous() -> None:
    loss, views = GrassmannContrastiveLoss(0.5), bases(2, 4, 6, 2)
    turned = views.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
    assert not turned.is_contiguous()
    torch.testing.assert_close(loss(turned), loss(views))
    torch.testing.assert_close(gradient(loss, turned), gradient(loss, views))


def test_infinite_distances_leave_gradients_finite() -> None:
    lines = torch.eye(4, dtype=torch.float64)[None, :2, :, None].expand(2, 2, 4, 1)
    loss = GrassmannContrastiveLoss(1.0, Martin())
    torch.testing.assert_close(loss(lines), torch.tensor(0.0, dtype=torch.float64))
    assert not gradient(loss, lines).any()


def test_a_second_derivative_is_right_or_refused() -> None:
    def slope(views: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(GrassmannContrastiveLoss()(views), views, create_graph=True)
        return grad

    assert gradcheck(slope, bases(2, 2, 3, 2).requires_grad_())
    views = bases(2, 2, 6, 2).requires_grad_()
    with pytest.raises(UnavailableError, match="can be differentiated only once"):
        torch.autograd.grad(slope(views).sum(), views)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (torch.zeros(1, 4, 5, 2), "there are 1 views; the loss compares at least 2"),
        ([torch.zeros(4, 5, 2)], "there are 1 views; the"),
        ([], "there are 0 views"),
        (torch.zeros(2, 1, 5, 2), "the views have 1 samples; the loss compares at least 2"),
        (torch.zeros(2, 0, 5, 2), "the views have 0 samples"),
        (torch.zeros(4, 5, 2), r"the views have the shape \(4, 5, 2\); they need \(V, B, n, k\)"),
        ([torch.zeros(5, 2)] * 2, r"the views have the shape \(2, 5, 2\)"),
        (
            [torch.zeros(4, 5, 2), torch.zeros(4, 6, 2)],
            r"the views have the shapes \(4, 5, 2\) and \(4, 6, 2\)",
        ),
        ([torch.zeros(4, 5, 2), torch.zeros(4, 5, 2).double()], "the views are torch.float32 on"),
        ([torch.zeros(4, 5, 2), 3.0], "a view is a float; it must be a tensor"),
        (torch.zeros(2, 4, 5, 2, dtype=torch.int64), "the views have the dtype torch.int64"),
        (torch.zeros(2, 4, 2, 5), "the bases are 2 x 5; they need 1 to n columns"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors(views: Tensor | list[Tensor], message: str) -> None:
    with pytest.raises(GeowarpError, match=f"GrassmannContrastiveLoss: {message}"):
        GrassmannContrastiveLoss()(views)


def test_errors_of_settings() -> None:
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(GeowarpError, match=f"the temperature is {temperature}; it must be positive"):
            GrassmannContrastiveLoss(temperature)
    with pytest.raises(GeowarpError, match="the distance is 'chordal'; it must be one of subspaces"):
        GrassmannContrastiveLoss(distance="chordal")  # type: ignore[arg-type]
    assert (
        repr(GrassmannContrastiveLoss(0.5)) == "GrassmannContrastiveLoss(temperature=0.5, distance=Chordal())"
    )
