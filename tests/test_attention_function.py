"""``manifold_attention``: scores of a user, manifolds of geoopt, values that are points."""

import math
from dataclasses import dataclass
from typing import Any

import geoopt
import pytest
import torch
from attention_distance_cases import random_points
from torch import Tensor, nn

from geowarp import GeowarpError
from geowarp.manifolds import (
    AffineInvariantSPD,
    Euclidean,
    Grassmann,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    ProductManifold,
    Sphere,
)
from geowarp.nn import (
    Aggregation,
    Blockwise,
    Centroid,
    ChordalSquaredDistance,
    Distance,
    DistanceScore,
    FrechetMean,
    Fused,
    InverseLogDistance,
    Method,
    Reference,
    Score,
    SquaredDistance,
    TangentMean,
    manifold_attention,
    manifold_attention_weights,
)
from geowarp.nn.distance_attention import function

DOUBLE = torch.float64
METHODS: list[Method] = [Reference(), Blockwise(pairs=6), Blockwise()]


@dataclass(frozen=True)
class Products(Score):
    """Inner products of points, with nothing but logits."""

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT


class Learned(Score, nn.Module):
    """Inner products by a learned matrix."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.matrix = nn.Parameter(torch.randn(3, 3, dtype=DOUBLE))

    def logits(self, manifold: geoopt.Manifold, q: Tensor, k: Tensor) -> Tensor:
        return q @ self.matrix @ k.mT


class Scaled(DistanceScore, nn.Module):
    """A multiple of the distance."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.factor = nn.Parameter(torch.tensor(1.7))

    def of_distance(self, distance: Tensor) -> Tensor:
        return -self.factor * distance

    def slope(self, distance: Tensor) -> Tensor:
        return -self.factor.expand(distance.shape)


@dataclass(frozen=True)
class Capped(DistanceScore):
    """The squared distance up to 1."""

    def of_distance(self, distance: Tensor) -> Tensor:
        return -distance.square().clamp_max(1)

    def slope(self, distance: Tensor) -> Tensor:
        return torch.where(distance < 1, -2 * distance, 0)


@dataclass(frozen=True)
class Held(DistanceScore):
    """A multiple of the distance, by a tensor that is no parameter."""

    factor: Tensor

    def of_distance(self, distance: Tensor) -> Tensor:
        return -self.factor * distance

    def slope(self, distance: Tensor) -> Tensor:
        return -self.factor.expand(distance.shape)


def test_scores_of_a_user() -> None:
    q, k, v = torch.randn(2, 4, 3, dtype=DOUBLE), torch.randn(2, 5, 3, dtype=DOUBLE), torch.randn(5, 2)
    score, expected = Products(), nn.functional.scaled_dot_product_attention(q, k, v.double(), scale=2.0)
    for method in METHODS:
        found = manifold_attention(q, k, v.double(), Euclidean(1), 0.5, score=score, method=method)
        torch.testing.assert_close(found, expected)
    learned, gradients = Learned(), []
    for method in METHODS:
        out = manifold_attention(q, k, v.double(), Euclidean(1), score=learned, method=method)
        gradients.append(torch.autograd.grad(out[..., 0].sum(), learned.matrix)[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize(
    "score",
    [Scaled(), Held(torch.tensor(1.7, requires_grad=True)), Capped()],
    ids=["module", "tensor", "capped"],
)
def test_functions_of_the_distance_of_a_user_in_hyperbolic_space(score: DistanceScore) -> None:
    q, k = (random_points(Lorentz(), (4,), n, dtype=torch.float32) for n in (4, 5))
    v, found = torch.randn(5, 2), []
    sources = [q.requires_grad_(), k.requires_grad_()]
    sources += list(score.parameters()) if isinstance(score, nn.Module) else []
    sources += [score.factor] if isinstance(score, Held) else []
    for method in METHODS:
        out = manifold_attention(q, k, v, Lorentz(), score=score, method=method)
        found.append((out, *torch.autograd.grad(out[..., 0].sum(), sources)))
    for others in found[1:]:
        for one, other in zip(others, found[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", [SquaredDistance(), Distance(), InverseLogDistance()], ids=repr)
def test_slope_is_the_derivative(score: DistanceScore) -> None:
    distance, step = torch.tensor([0.0, 0.1, 1.0, 7.0], dtype=DOUBLE) + 1e-5, 1e-6
    above, below = score.of_distance(distance + step), score.of_distance(distance - step)
    torch.testing.assert_close(score.slope(distance), (above - below) / (2 * step), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize(
    ("theirs", "ours", "shape"),
    [
        (geoopt.PoincareBall(c=0.5), PoincareBall(0.5), (3,)),
        (geoopt.Sphere(), Sphere(), (3,)),
        (geoopt.Euclidean(1), Euclidean(1), (3,)),
        (geoopt.Lorentz(), Lorentz(), (4,)),
    ],
    ids=["PoincareBall", "Sphere", "Euclidean", "Lorentz"],
)
def test_manifolds_of_geoopt(theirs: geoopt.Manifold, ours: Manifold, shape: tuple[int, ...]) -> None:
    theirs = theirs.double()
    q, k = random_points(ours, shape, 2, 4), random_points(ours, shape, 2, 5)
    v = torch.randn(2, 5, 2, dtype=DOUBLE)
    expected = manifold_attention(q, k, v, ours, 0.5)
    for method in (None, *METHODS):
        found = manifold_attention(q, k, v, theirs, 0.5, method=method)
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_tensors_that_know_their_manifold() -> None:
    x, v = geoopt.ManifoldTensor(torch.eye(3), manifold=Sphere()), torch.randn(3, 2)
    found = manifold_attention(x, x, v, Sphere())
    assert type(found) is Tensor
    torch.testing.assert_close(found, manifold_attention(torch.eye(3), torch.eye(3), v, Sphere()))
    ball = geoopt.ManifoldTensor(torch.zeros(3, 2), manifold=geoopt.PoincareBall(c=0.5))
    assert manifold_attention(ball, ball, v, geoopt.PoincareBall(c=0.5)).shape == (3, 2)
    with pytest.raises(GeowarpError, match="attend on their manifold"):
        manifold_attention(ball, ball, v, geoopt.PoincareBall(c=2.0))


# values that are points

POINTS: list[tuple[Manifold, tuple[int, ...], Aggregation, Score]] = [
    (LogEuclideanSPD(), (3, 3), FrechetMean(), SquaredDistance()),
    (Lorentz(2.0), (4,), Centroid(), SquaredDistance()),
    (PoincareBall(0.5), (3,), Centroid(), ChordalSquaredDistance()),
    (Grassmann(), (4, 2), Centroid(), ChordalSquaredDistance()),
    (AffineInvariantSPD(), (2, 2), TangentMean(), SquaredDistance()),
    (Sphere(), (4,), FrechetMean(), SquaredDistance()),
]


@pytest.mark.parametrize(("manifold", "shape", "aggregation", "score"), POINTS)
def test_means_by_fast_ways_are_means_by_weights(
    manifold: Manifold,
    shape: tuple[int, ...],
    aggregation: Aggregation,
    score: Score,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q, k = random_points(manifold, shape, 2, 3, 4), random_points(manifold, shape, 2, 1, 5)
    v, mask = random_points(manifold, shape, 3, 5), torch.rand(2, 1, 4, 5) < 0.7
    mask[0, :, 1] = False
    options: dict[str, Any] = {
        "score": score,
        "mask": mask,
        "is_causal": True,
        "bias": torch.randn(1, 5).double(),
    }
    weights = manifold_attention_weights(q, k, manifold, 0.5, **options)
    expected = aggregation.average(manifold, v, weights)
    assert expected.shape == (2, 3, 4, *shape)
    monkeypatch.setattr(function, "_PAIRS", 50)  # one query at a time
    for method in (None, Blockwise(pairs=6)):
        found = manifold_attention(q, k, v, manifold, 0.5, aggregation=aggregation, method=method, **options)
        distance = manifold.dist(found, expected)
        torch.testing.assert_close(distance, torch.zeros_like(distance), atol=1e-7, rtol=0)


def test_gradients_of_means_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for pairs in (1000, 7):
        monkeypatch.setattr(function, "_PAIRS", pairs)
        torch.default_generator.manual_seed(1)
        q, k, v = (random_points(Sphere(), (3,), n).requires_grad_() for n in (4, 5, 5))
        options: dict[str, Any] = {"aggregation": FrechetMean(), "is_causal": True}
        mean = manifold_attention(q, k, v, Sphere(), 0.5, **options)
        found.append(torch.autograd.grad(mean[:, 0].sum(), (q, k, v)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().sum() > 0


# degenerate problems


@pytest.mark.parametrize("method", [None, Fused(), *METHODS])
def test_no_keys_no_queries_no_batch_one_token(method: Method | None) -> None:
    x, v = random_points(LogEuclideanSPD(), (2, 2), 3, 1, 4), torch.randn(3, 2, 4, 5, dtype=DOUBLE)
    visible: list[dict[str, Any]] = [{}, {"is_causal": True}]
    for options in visible:
        for q, k, values, shape in (
            (x, x[:, :, :0], v[:, :, :0], (3, 2, 4, 5)),
            (x[:, :, :0], x, v, (3, 2, 0, 5)),
            (x[:0], x[:0], v[:0], (0, 2, 4, 5)),
            (x[:, :, :1], x[:, :, 1:2], v[:, :, 1:2], (3, 2, 1, 5)),
            (x, x, v[..., :0], (3, 2, 4, 0)),
        ):
            mask = torch.ones(1, k.shape[2], dtype=torch.bool)
            q, k, values = (tensor.clone().requires_grad_() for tensor in (q, k, values))
            for given in (None, mask):
                out = manifold_attention(
                    q, k, values, LogEuclideanSPD(), method=method, mask=given, **options
                )
                assert out.shape == shape
                for gradient in torch.autograd.grad(out.sum(), (q, k, values), materialize_grads=True):
                    assert gradient.isfinite().all()
                if k.shape[2] == 0:
                    assert (out == 0).all()
                if k.shape[2] == 1:
                    torch.testing.assert_close(out, values)


@pytest.mark.parametrize("method", [Fused(), Blockwise(pairs=6)])
def test_biases_of_minus_infinity_are_masks(method: Method) -> None:
    q, k, v = torch.randn(4, 3), torch.randn(5, 3), torch.randn(5, 2)
    bias, pairs = torch.zeros(1, 5), torch.zeros(4, 5)
    bias[0, :2], pairs[2], pairs[0, 1:4] = -math.inf, -math.inf, -math.inf
    for given, order in ((bias, True), (bias, False), (pairs, False), (pairs, True)):
        options: dict[str, Any] = {"is_causal": order, "method": method}
        masked = manifold_attention(q, k, v, Euclidean(1), mask=given == 0, **options)
        learned = given.clone().requires_grad_()
        for tensor in (given, learned):
            biased = manifold_attention(q, k, v, Euclidean(1), bias=tensor, **options)
            torch.testing.assert_close(biased, masked, atol=1e-6, rtol=1e-6)
        (gradient,) = torch.autograd.grad(biased[..., 0].sum(), learned)
        assert gradient.isfinite().all()
        assert (gradient[given != 0] == 0).all()


@pytest.mark.parametrize("method", [None, Fused(), Blockwise(pairs=6)])
def test_batches_broadcast_and_orders_end_with_the_keys(method: Method | None) -> None:
    manifold = ProductManifold((Sphere(), 3), (Euclidean(1), 2))
    q, k = random_points(manifold, (5,), 6), random_points(manifold, (5,), 2, 1, 4)
    v, tau = torch.randn(3, 4, 2, dtype=DOUBLE), torch.rand(5, 1, 1, dtype=DOUBLE) + 0.5
    given: list[dict[str, Any]] = [
        {"mask": torch.tensor([[False, True, True, True]])},
        {"mask": torch.tensor([[[True]], [[False]], [[True]]])},
        {"bias": torch.randn(3, 1, 1, dtype=DOUBLE), "mask": torch.rand(5, 1, 1, 1, 4) < 0.7},
    ]
    for options in given:
        for order in (False, True):
            weights = manifold_attention_weights(
                q, k, manifold, tau, score=ChordalSquaredDistance(), is_causal=order, **options
            )
            out = manifold_attention(
                q,
                k,
                v,
                manifold,
                tau,
                score=ChordalSquaredDistance(),
                is_causal=order,
                method=method,
                **options,
            )
            assert out.shape == (5, 2, 3, 6, 2)
            torch.testing.assert_close(out, weights @ v, atol=1e-10, rtol=0)
            seen = (weights > 0).any((0, 1, 2))
            assert not order or seen.equal(seen.tril())


def test_threads_compute_the_same() -> None:
    q, k = (random_points(Lorentz(), (4,), 3, 50, dtype=torch.float32).requires_grad_() for _ in range(2))
    v, bias = torch.randn(3, 50, 2), torch.zeros(50, 50, requires_grad=True)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            for given in (None, bias):
                out = manifold_attention(
                    q, k, v, Lorentz(), is_causal=True, bias=given, method=Blockwise(pairs=300)
                )
                sources = (q, k, bias)
                gradients = torch.autograd.grad(out[..., 0].sum(), sources, materialize_grads=True)
                found.append((out, *gradients))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found[0] + found[1], found[2] + found[3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_layout_does_not_matter() -> None:
    for manifold, method in ((Euclidean(1), Fused()), (Lorentz(), Blockwise(pairs=6))):
        x = random_points(manifold, (4,), 4, 2)
        v, mask = torch.randn(2, 4, dtype=DOUBLE).mT, (torch.rand(4, 4) < 0.7).mT
        q, k = x.transpose(0, 1)[..., ::1], x.flip(0).transpose(0, 1)
        found = manifold_attention(q, k, v, manifold, mask=mask, method=method)
        a, b, c = (tensor.contiguous() for tensor in (q, k, v))
        expected = manifold_attention(a, b, c, manifold, mask=mask.contiguous(), method=Reference())
        torch.testing.assert_close(found, expected)


def test_compiles_as_one_graph() -> None:
    for manifold, shape, score in (
        (Euclidean(1), (3,), SquaredDistance()),
        (Grassmann(), (4, 2), ChordalSquaredDistance()),
    ):
        x, v = random_points(manifold, shape, 2, 4), torch.randn(2, 4, 2, dtype=DOUBLE)

        def attend(x: Tensor, v: Tensor, manifold: Manifold = manifold, score: Score = score) -> Tensor:
            return manifold_attention(x, x, v, manifold, 0.5, score=score, is_causal=True)

        compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, v), attend(x, v))
