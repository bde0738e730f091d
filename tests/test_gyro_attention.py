"""Gyro-attention: the formula, equivariance and invariance, training, audit, and what it refuses."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from gyro_cases import same_points
from torch import Tensor

from geowarp.errors import GeowarpError, PerformanceWarning, UnavailableError
from geowarp.manifolds import (
    SPSD,
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    GyrovectorSpace,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    PoincareBall,
)
from geowarp.nn.distance_attention.aggregation import Aggregation, Centroid, FrechetMean, LinearValues
from geowarp.nn.distance_attention.attention_off import attention_off
from geowarp.nn.distance_attention.entropy import attention_entropy
from geowarp.nn.distance_attention.scores import InverseLogDistance
from geowarp.nn.gyro import GyroAttention, PowerActivation
from geowarp.optim import RiemannianAdam, param_groups

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Attended:
    """A space and what attention on it is made of."""

    make: Callable[[], GyrovectorSpace]
    shape: Shape
    out: Shape
    aggregation: Aggregation

    @property
    def name(self) -> str:
        return f"{self.make()!r}-{self.aggregation!r}"

    def attention(self, heads: int, activation: torch.nn.Module | None = None) -> GyroAttention:
        return GyroAttention(
            self.make(),
            self.shape,
            heads,
            out_shape=self.out,
            aggregation=self.aggregation,
            tau=0.2,
            activation=activation,
        ).double()

    def points(self, *batch: int) -> Tensor:
        space = self.make()
        points = space.random(*batch, *self.shape, dtype=torch.float64).detach().as_subclass(Tensor)
        return space.gyro_scale(0.4, points)


SPACES = [
    Attended(AffineInvariantSPD, (3, 3), (3, 3), FrechetMean(steps=3)),
    Attended(LogEuclideanSPD, (3, 3), (2, 2), FrechetMean()),
    Attended(LogCholeskySPD, (3, 3), (4, 4), FrechetMean()),
    Attended(Grassmann, (5, 2), (6, 2), FrechetMean(steps=3)),
    Attended(lambda: SPSD(2), (4, 2), (4, 2), Centroid()),
    Attended(lambda: PoincareBall(0.7), (3,), (3,), Centroid()),
    Attended(lambda: Lorentz(2.0), (4,), (5,), Centroid()),
    Attended(lambda: Euclidean(1), (3,), (4,), FrechetMean()),
]
each = pytest.mark.parametrize("case", SPACES, ids=lambda case: case.name)


def assert_same(space: GyrovectorSpace, x: Tensor, y: Tensor) -> None:
    torch.testing.assert_close(same_points(space, x), same_points(space, y), atol=1e-6, rtol=1e-6)


@each
def test_the_formula(case: Attended) -> None:
    space, activation = case.make(), PowerActivation(case.make(), 0.8)
    attention, x, context = case.attention(1, activation), case.points(2, 4), case.points(2, 3)
    point = space.random(*case.out, dtype=torch.float64).detach()
    with torch.no_grad():
        attention.translation.point.copy_(space.gyro_scale(0.3, point.as_subclass(Tensor)))
    q, k, v = (
        hom(points[:, None]).squeeze(1)
        for hom, points in zip(
            (attention.query, attention.key, attention.value), (x, context, context), strict=True
        )
    )
    weights = (-space.cdist(q, k).square() / 0.2).softmax(-1)
    torch.testing.assert_close(attention.attention_weights(x, context)[:, 0], weights, atol=1e-6, rtol=1e-6)
    mean = case.aggregation.average(space, v, weights)
    expected = space.gyro_scale(0.8, space.gyro_add(attention.translation.point, mean))
    result = attention(x, context)
    assert result.shape == (2, 4, *case.out)
    assert_same(space, result, expected)


@each
def test_permutations(case: Attended) -> None:
    space, attention = case.make(), case.attention(3)
    x, context = case.points(5), case.points(4)
    order, other = torch.randperm(5), torch.randperm(4)
    assert_same(space, attention(x[order], context[other]), attention(x, context)[order])
    assert_same(space, attention(x[order]), attention(x)[order])
    assert space.check_point_on_manifold(attention(x))


@each
def test_training_and_storage(case: Attended) -> None:
    space, attention = case.make(), case.attention(2)
    optimizer = RiemannianAdam(param_groups(attention), lr=0.05)
    x = case.points(3, 4)
    target = space.random(3, 1, *case.out, dtype=torch.float64).detach().as_subclass(Tensor)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = space.dist2(attention(x), target).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert parameter.shape[-2:] == (1, 1) or bool(parameter.grad.any()), name
        if hasattr(parameter, "manifold"):
            parameter.manifold.assert_check_point_on_manifold(parameter.detach())
    copied = case.attention(2)
    copied.load_state_dict(attention.state_dict())
    assert_same(space, copied(x), attention(x))


def test_masks_and_heads() -> None:
    space = LogEuclideanSPD()
    attention = GyroAttention(space, (3, 3), 2, tau=torch.tensor([0.1, 1.0])).double()
    x = space.random(2, 4, 3, 3, dtype=torch.float64).detach()
    causal = attention.attention_weights(x, is_causal=True)
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    for given in (mask, mask.expand(2, 4, 4), mask.expand(2, 2, 4, 4)):
        torch.testing.assert_close(attention.attention_weights(x, mask=given), causal)
        torch.testing.assert_close(attention(x, mask=given), attention(x, is_causal=True))
    torch.testing.assert_close(attention(x, is_causal=True)[:, :2], attention(x[:, :2], is_causal=True))
    padded = torch.tensor([[True, True, False, False], [True, True, True, True]])[:, None]
    torch.testing.assert_close(attention(x, mask=padded)[0, :2], attention(x[0, :2]))
    bias = torch.randn(2, 4, 4, dtype=torch.float64)
    shifted = (attention.attention_weights(x).log() + bias[:, None]).softmax(-1)
    torch.testing.assert_close(attention.attention_weights(x, bias=bias), shifted)
    assert attention(x[:0]).shape == (0, 4, 3, 3)
    assert attention(x[0]).shape == (4, 3, 3)
    nobody = attention(x, mask=torch.zeros(4, 4, dtype=torch.bool))
    torch.testing.assert_close(nobody, space.identity_element(2, 4, 3, 3, dtype=torch.float64))


def test_masks_of_a_batch_that_only_the_context_has() -> None:
    space = LogEuclideanSPD()
    attention = GyroAttention(space, (2, 2), 2, tau=0.3).double()
    x, context = (space.random(*batch, 2, 2, dtype=torch.float64).detach() for batch in ((3,), (2, 4)))
    mask, bias = torch.rand(2, 3, 4) > 0.4, torch.randn(2, 3, 4, dtype=torch.float64)
    result = attention(x, context, mask=mask, bias=bias)
    weights = attention.attention_weights(x, context, mask=mask, bias=bias)
    for i in range(2):
        alone = attention(x, context[i], mask=mask[i], bias=bias[i])
        torch.testing.assert_close(result[i], alone)
        its_weights = attention.attention_weights(x, context[i], mask=mask[i], bias=bias[i])
        torch.testing.assert_close(weights[i], its_weights)


@each
def test_half_precision_and_autocast(case: Attended) -> None:
    attention, x = case.attention(2).float(), case.points(2, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention(x).dtype == torch.float32
    half = attention.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert bool(half.isfinite().all())


def test_a_temperature_below_the_numbers_of_half_precision() -> None:
    attention = GyroAttention(Euclidean(1), (3,), tau=1e-8).half()
    weights = attention.attention_weights(torch.eye(3, dtype=torch.half))
    assert torch.equal(weights.sum(-1), torch.ones(1, 3))
    assert torch.equal(weights.amax(-1), torch.ones(1, 3))


@each
def test_gradients_at_equal_points_and_at_the_identity(case: Attended) -> None:
    attention, equal = case.attention(2), case.points(2, 1).expand(2, 3, *case.shape)
    identity = case.make().identity_element(2, 3, *case.shape, dtype=torch.float64)
    for points in (equal, identity):
        x = points.clone().requires_grad_()
        gradients = torch.autograd.grad(attention(x).square().sum(), [x, *attention.parameters()])
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_a_shared_isometry_is_no_parameter_of_attention() -> None:
    space = AffineInvariantSPD()
    with pytest.warns(PerformanceWarning, match="no distance and no attention weight"):
        attention = GyroAttention(space, (3, 3), 2, shared=True).double()
    x = space.random(4, 3, 3, dtype=torch.float64).detach()
    plain = (-space.cdist(x, x).square()).softmax(-1)
    weights = attention.attention_weights(x)
    torch.testing.assert_close(weights, plain.expand(2, 4, 4), atol=1e-6, rtol=1e-5)
    moved = space.gyro_add(space.random(3, 3, dtype=torch.float64).detach(), x)
    torch.testing.assert_close(attention.attention_weights(moved), weights, atol=1e-6, rtol=1e-5)
    separate = GyroAttention(space, (3, 3), 2).double()
    assert (separate.attention_weights(x) - plain).abs().max() > 1e-2
    GyroAttention(LogEuclideanSPD(), (3, 3), shared=True)  # no isometry, and no warning


def test_calibration_and_audit() -> None:
    space = LogEuclideanSPD()
    attention = GyroAttention(space, (4, 4), 2).double()
    x = space.gyro_scale(0.05, space.random(8, 10, 4, 4, dtype=torch.float64).detach().as_subclass(Tensor))
    assert attention_entropy(attention.attention_weights(x)).min() > 0.99
    tau = attention.calibrate(x)
    q, k = (hom(x[:, None]) for hom in (attention.query, attention.key))
    torch.testing.assert_close(tau, space.cdist(q, k).square().mean((0, 2, 3)) / 4)
    assert attention_entropy(attention.attention_weights(x)).mean() < 0.97
    with attention_off(attention):
        off = attention.attention_weights(x)
    torch.testing.assert_close(off, torch.full_like(off, 0.1))
    published = GyroAttention(space, (4, 4), score=InverseLogDistance()).double()
    weights = published.attention_weights(x)
    assert (weights.amax(-1) / weights.amin(-1)).max() < torch.e
    with pytest.raises(GeowarpError, match="points that differ"):
        attention.calibrate(torch.eye(4, dtype=torch.float64).expand(3, 4, 4))


def test_errors_of_attention() -> None:
    with pytest.raises(UnavailableError, match="no gyrovector operations"):
        GyroAttention(BuresWassersteinSPD(), (3, 3))
    with pytest.raises(GeowarpError, match="heads = 0"):
        GyroAttention(Euclidean(1), (3,), 0)
    for aggregation in (LinearValues(), Centroid):
        with pytest.raises(GeowarpError, match=r"values are points, and .* is no mean"):
            GyroAttention(Euclidean(1), (3,), aggregation=aggregation)  # type: ignore[arg-type]
    with pytest.raises(GeowarpError, match="positive"):
        GyroAttention(Euclidean(1), (3,), tau=-1.0)
    attention = GyroAttention(Euclidean(1), (3,))
    for wrong in (torch.zeros(3), torch.zeros(5, 4)):
        with pytest.raises(GeowarpError, match=r"must be \(..., N, 3\)"):
            attention(wrong)
