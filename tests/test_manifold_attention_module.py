"""The attention module against attention written out, and what masks, calibration and ablation promise."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geowarp import GeowarpError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BirkhoffPolytope,
    Euclidean,
    Grassmann,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
)
from geowarp.nn import GyroAttention
from geowarp.nn.distance_attention.aggregation import Aggregation, Centroid, FrechetMean, TangentMean
from geowarp.nn.distance_attention.attention_module import ManifoldAttention
from geowarp.nn.distance_attention.attention_off import attention_off
from geowarp.nn.distance_attention.entropy import attention_entropy
from geowarp.nn.distance_attention.scores import Score, SquaredDistance
from geowarp.nn.distance_attention.temperature import Temperature

PRODUCT = ProductManifold((Lorentz(), 3), (Sphere(), (2, 3)), (LogEuclideanSPD(), (2, 2)))
MODULES: list[tuple[Manifold, tuple[int, ...] | None, Aggregation | None]] = [
    (Euclidean(1), None, None),
    (Lorentz(2.0), None, None),
    (PoincareBall(0.7), None, Centroid()),
    (Sphere(), (5,), FrechetMean(2)),
    (LogEuclideanSPD(), (3, 3), FrechetMean()),
    (AffineInvariantSPD(), (2, 2), TangentMean()),
    (Grassmann(), (4, 2), Centroid()),
    (SpecialOrthogonal(), (3, 3), None),
    (SPSD(1), (3, 1), FrechetMean(8)),
    (PRODUCT, None, TangentMean()),
]
IDS = [f"{manifold!r}-{aggregation!r}" for manifold, _, aggregation in MODULES]


def module(index: int, **options: object) -> ManifoldAttention:
    manifold, shape, aggregation = MODULES[index]
    made: ManifoldAttention = ManifoldAttention(
        copy.deepcopy(manifold),
        8,
        2,
        point_shape=shape,
        aggregation=aggregation,
        dtype=torch.float64,
        **options,  # type: ignore[arg-type]
    )
    return made


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_euclidean_is_scaled_dot_product_attention_with_a_bias_of_the_keys() -> None:
    attention, x = module(0, tau=torch.tensor([0.3, 2.0])), tokens(3, 6, 8)
    q, k, v = (
        linear(x).unflatten(-1, (2, 4)).transpose(-2, -3)
        for linear in (attention.query.linear, attention.key.linear, attention.value)
    )
    tau = torch.tensor([0.3, 2.0], dtype=torch.float64)[:, None, None]
    of_keys = -(k * k).sum(-1)[..., None, :] / tau  # ‖q − k‖² less ‖q‖², which no softmax sees
    mixed = nn.functional.scaled_dot_product_attention(2 * q / tau, k, v, attn_mask=of_keys, scale=1.0)
    expected = attention.output(mixed.transpose(-2, -3).flatten(-2))
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("index", range(len(MODULES)), ids=IDS)
def test_permutations_masks_and_gradients(index: int) -> None:
    attention, x, y = module(index), tokens(2, 5, 8), tokens(2, 4, 8)
    out, order = attention(x, y), torch.tensor([3, 0, 4, 1, 2])
    assert out.shape == (2, 5, 8)
    torch.testing.assert_close(attention(x[:, order], y.flip(1)), out[:, order], atol=1e-8, rtol=1e-8)

    padding = torch.tensor([[True, True, False, False], [True, True, True, False]])[:, None, :]
    changed = torch.where(padding.mT, y, 7 * tokens(2, 4, 8))
    masked = attention(x, y, mask=padding)
    torch.testing.assert_close(attention(x, changed, mask=padding), masked, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(attention(x[:1], y[:1, :2]), masked[:1], atol=1e-8, rtol=1e-8)

    causal, later = attention(x, is_causal=True), torch.cat([x[:, :3], tokens(2, 2, 8)], 1)
    torch.testing.assert_close(attention(later, is_causal=True)[:, :3], causal[:, :3], atol=1e-8, rtol=1e-8)
    assert not torch.allclose(attention(later)[:, :3], attention(x)[:, :3])

    nothing = padding.clone()
    nothing[0] = False
    empty = attention(x, y, mask=nothing)[0]  # the mean of nothing is the origin, at which coordinates are 0
    torch.testing.assert_close(empty, attention.output.bias.expand(5, 8), atol=1e-7, rtol=0)

    (attention(x, y) + attention(x, y, mask=nothing)).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_cross_attention_with_other_sizes_batches_and_masks_for_each_head() -> None:
    attention = ManifoldAttention(Lorentz(), 12, 3, kdim=5, vdim=7, bias=False, aggregation=Centroid())
    query, key, value = torch.randn(2, 1, 4, 12), torch.randn(2, 3, 6, 5), torch.randn(2, 3, 6, 7)
    assert attention(query, key, value).shape == (2, 3, 4, 12)
    assert attention.attention_weights(query, key).shape == (2, 3, 3, 4, 6)
    mask, bias = torch.rand(2, 1, 3, 4, 6) < 0.6, torch.randn(3, 4, 6)
    weights = attention.attention_weights(query, key, mask=mask, bias=bias)
    assert (weights.masked_select(~mask.expand_as(weights)) == 0).all()
    own = attention.attention_weights(query[0, 0], key[0], bias=bias)  # also where only keys have that batch
    for batch in range(3):  # without a dimension for heads, one bias for each of the last batch
        single = attention.attention_weights(query[1, 0], key[1, batch], mask=mask[1, 0], bias=bias[batch])
        torch.testing.assert_close(weights[1, batch], single)
        single = attention.attention_weights(query[0, 0], key[0, batch], bias=bias[batch])
        torch.testing.assert_close(own[batch], single)


def test_the_module_is_a_module() -> None:
    for index in (1, 4, 6, 9):
        attention, other, x = module(index), module(index), tokens(2, 5, 8)
        other.load_state_dict(attention.state_dict())
        torch.testing.assert_close(other(x), attention(x))
        single = copy.deepcopy(attention).float()(x.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), attention(x), atol=1e-4, rtol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            low = copy.deepcopy(attention).float()(x.float())
        assert low.dtype == torch.bfloat16
        torch.testing.assert_close(low.double(), attention(x), atol=0.02, rtol=0.02)
        assert attention(x[:, :0]).shape == (2, 0, 8)
        assert attention(x[:0]).shape == (0, 5, 8)
        assert attention(x, x[:, :0]).isfinite().all()
        with torch.device("meta"):
            later = module(index)
        later.to_empty(device="cpu").load_state_dict(attention.state_dict())
        torch.testing.assert_close(later(x), attention(x))


def test_a_learned_curvature_is_a_parameter() -> None:
    attention = ManifoldAttention(PoincareBall(learnable=True), 8, 2, aggregation=FrechetMean(2))
    attention(torch.randn(5, 8)).sum().backward()
    gradient = dict(attention.named_parameters())["manifold.log_c"].grad
    assert gradient is not None
    assert gradient.abs() > 0
    assert [name for name in attention.state_dict() if "log_c" in name] == ["manifold.log_c"]


@pytest.mark.parametrize("index", range(len(MODULES)), ids=IDS)
def test_points_start_at_a_mean_squared_distance_of_about_1_from_the_origin(index: int) -> None:
    attention = module(index)
    manifold = attention.manifold
    x = attention.query(manifold, tokens(4000, 8))
    origin = manifold.origin(attention.point_shape, dtype=torch.float64).as_subclass(Tensor)
    assert 0.6 < manifold.dist2(origin, x).mean() < 1.5
    assert attention.query.size == manifold.dim(attention.point_shape) or index in (8, 9)


def test_attention_off_is_the_mean_of_the_values_and_ends() -> None:
    inner, x = module(1), tokens(3, 6, 8)
    network = nn.Sequential(nn.Identity(), inner)
    attended = network(x)
    with attention_off(network) as same:
        assert same is network
        mean = inner.output(inner.value(x).mean(-2, keepdim=True))
        torch.testing.assert_close(network(x), mean.expand(3, 6, 8))
        causal = inner(x, is_causal=True)
        torch.testing.assert_close(causal[:, 1], inner.output(inner.value(x[:, :2]).mean(-2)))
    torch.testing.assert_close(network(x), attended)
    with pytest.raises(GeowarpError, match="tokens, 8"), attention_off(network):
        network(x[..., :3])
    assert inner.score == SquaredDistance()


class ScaledDistance(nn.Module, Score):
    """A score with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def logits(self, manifold: Manifold, q: Tensor, k: Tensor) -> Tensor:
        return self.scale * SquaredDistance().logits(manifold, q, k)


def test_attention_off_of_nested_modules_and_a_score_with_parameters() -> None:
    learned, x = module(1, score=ScaledDistance()), tokens(3, 6, 8)
    gyro = GyroAttention(Euclidean(1), (8,)).double()
    network = nn.Sequential(nn.Sequential(learned, nn.Identity()), gyro)
    names, attended = [name for name, _ in network.named_parameters()], network(x)
    assert "0.0.score.scale" in names
    for inner in (learned, network):
        with attention_off(network), attention_off(inner):
            for part in (learned, gyro):
                uniform = part.attention_weights(x)
                torch.testing.assert_close(uniform, torch.full_like(uniform, 1 / 6))
    assert [name for name, _ in network.named_parameters()] == names
    torch.testing.assert_close(network(x), attended)


def test_entropy_in_closed_form() -> None:
    p = torch.tensor([0.1, 0.2, 0.7, 0.0], dtype=torch.float64, requires_grad=True)
    expected = -sum(w * math.log(w) for w in (0.1, 0.2, 0.7))
    assert attention_entropy(p, normalized=False).item() == pytest.approx(expected)
    assert attention_entropy(p).item() == pytest.approx(expected / math.log(4))
    (gradient,) = torch.autograd.grad(attention_entropy(p, mask=p > 0), p)
    torch.testing.assert_close(gradient[:3], -(p[:3].log() + 1) / math.log(3))
    assert gradient[3] == 0
    for count in (1, 2, 5):  # two equal groups of keys: log 2 more than within one
        group = torch.full((count,), 1 / count)
        halves = torch.cat([group, group]) / 2
        assert attention_entropy(halves, normalized=False).item() == pytest.approx(math.log(2 * count))
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    uniform = causal / causal.sum(-1, keepdim=True)
    torch.testing.assert_close(attention_entropy(uniform, mask=causal), torch.ones(5))
    none = torch.zeros(2, 3)
    assert attention_entropy(none, mask=none > 0).tolist() == [1, 1]
    assert attention_entropy(torch.zeros(2, 0)).tolist() == [1, 1]
    assert attention_entropy(none).tolist() == [1, 1]
    assert attention_entropy(torch.tensor([math.nan, 0.5])).isnan()
    with pytest.raises(GeowarpError, match="float32"):
        attention_entropy(none, mask=none)
    with pytest.raises(GeowarpError, match=r"shape \(4, 3\); weights \(2, 3\)"):
        attention_entropy(none, mask=torch.ones(4, 3, dtype=torch.bool))


def test_temperature_is_learned_by_its_logarithm_and_says_what_is_wrong() -> None:
    temperature = Temperature(3, torch.tensor([0.1, 1.0, 10.0]))
    temperature().square().sum().backward()
    assert temperature.logarithm.grad is not None  # τ dL/dτ
    torch.testing.assert_close(temperature.logarithm.grad, torch.tensor([0.02, 2.0, 200.0]))
    temperature.set_(0.3)
    for wrong, message in (
        (0.0, "tau = 0.0"),
        (math.nan, "nan"),
        (torch.tensor([1.0, 2.0, math.inf]), "head 2 = inf"),
        (torch.ones(2), r"\(3,\)"),
    ):
        with pytest.raises(GeowarpError, match=message):
            temperature.set_(wrong)
    torch.testing.assert_close(temperature(), torch.full((3,), 0.3))
    with pytest.raises(GeowarpError, match="heads = 0"):
        Temperature(0)
    for tau in (1e-9, 1e6):  # neither is a number in half precision
        low = Temperature(1, tau, dtype=torch.float16)
        torch.testing.assert_close(low.tau, torch.tensor([tau]), rtol=0.01, atol=0)


def test_calibration_makes_attention_attend() -> None:
    attention, x = module(4), tokens(8, 16, 8)
    attention.temperature.set_(1e3)
    assert attention_entropy(attention.attention_weights(x)).mean() > 0.9999
    tau = attention.calibrate(x, fraction=0.25)
    q, k = (lift(attention.manifold, x) for lift in (attention.query, attention.key))
    squares = attention.manifold.dist2(q[..., :, None, :, :], k[..., None, :, :, :])
    torch.testing.assert_close(tau, 0.25 * squares.mean((0, 2, 3)))
    assert attention_entropy(attention.attention_weights(x)).mean() < 0.99
    with pytest.raises(GeowarpError, match="head 0"):
        attention.calibrate(torch.zeros_like(x))
    for wrong, fraction, message in (
        (x[:, :0], 0.25, "give a batch with tokens"),
        (x[:0], 0.25, "give a batch with tokens"),
        (x, 0.0, "fraction = 0.0"),
    ):
        with pytest.raises(GeowarpError, match=message):
            attention.calibrate(wrong, fraction=fraction)
    torch.testing.assert_close(attention.temperature.tau, tau)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Euclidean(1), 8, 3), "3 heads do not divide dim = 8"),
        ((Grassmann(), 8, 2), "give their shape"),
        ((Lorentz(), 8, 2, (1,)), "time first"),
        ((Grassmann(), 8, 2, (2, 3)), "more columns than rows"),
        ((Grassmann(), 8, 2, (2, 2)), "one point"),
        ((Euclidean(1), 8, 2, (2, 2)), "1 dimensions"),
        ((BirkhoffPolytope(), 8, 2, (2, 2)), "exponential map"),
        ((Euclidean(1), 0, 1), "dim = 0; it is a whole number, at least 1"),
        ((Euclidean(1), 8, 2.0), "heads = 2.0"),
        ((Sphere, 8, 2), "the manifold is <class"),
    ],
)
def test_arguments_that_cannot_be(arguments: tuple[Any, ...], message: str) -> None:
    manifold, dim, heads, *shape = arguments
    with pytest.raises(GeowarpError, match=message):
        ManifoldAttention(manifold, dim, heads, point_shape=shape[0] if shape else None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kdim": 0}, "kdim = 0"),
        ({"score": "dot"}, "'dot'"),
        ({"aggregation": Centroid}, "such as Centroid()"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        ManifoldAttention(Sphere(), 8, 2, **options)


def test_features_of_another_number() -> None:
    attention = ManifoldAttention(Euclidean(1), 8, 2, kdim=5)
    with pytest.raises(GeowarpError, match=r"the key has shape \(4, 8\); it needs \(..., tokens, 5\)"):
        attention(torch.randn(4, 8))
