"""Low-rank maps against the matrices that they stand for, their gains, and compression by SVD."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from low_rank_cases import MANIFOLDS, OPTIONS, dense, gram_error, mean_square, randomised
from subspace_cases import Sizes
from torch import Tensor, nn

from geowarp.manifolds import Manifold, Stiefel
from geowarp.manifolds.parameter import named_manifolds
from geowarp.nn import LowRankLinear, ReLULowRank, low_rank_gain
from geowarp.optim import RiemannianAdam, param_groups

# --- the map ---


@OPTIONS
def test_linear_is_its_matrix(options: dict[str, Any]) -> None:
    layer = randomised(LowRankLinear(7, 5, 3, **options))
    weight = dense(layer.left) @ dense(layer.right).mT
    bias = 0 if layer.bias is None else layer.bias
    torch.testing.assert_close(layer.effective(), weight)
    assert torch.linalg.matrix_rank(weight) == 3
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ weight.mT + bias)
    torch.testing.assert_close(layer(x[0, 0]), weight @ x[0, 0] + bias)
    torch.testing.assert_close(layer(x.mT.contiguous().mT), layer(x))
    assert layer(x[:0]).shape == (0, 4, 5)


@OPTIONS
def test_relu_block_is_its_matrices(options: dict[str, Any]) -> None:
    block = randomised(ReLULowRank(7, 3, 5, **options))
    down, up = dense(block.encoder).mT, dense(block.decoder)
    inner, outer = (0 if b is None else b for b in (block.hidden_bias, block.bias))
    x = torch.randn(2, 4, 7, dtype=torch.float64)
    expected = ((x @ down.mT + inner).clamp_min(0) @ up.mT + outer).clamp_min(0)
    torch.testing.assert_close(block(x), expected)
    assert (expected > 0).any()
    assert (expected == 0).any()
    assert block(x[:0]).shape == (0, 4, 5)
    assert block.encoder.diagonal is None
    assert ReLULowRank(6, 2)(torch.ones(6)).shape == (6,)


def test_a_second_diagonal_would_be_redundant() -> None:
    block = randomised(ReLULowRank(7, 3, 5))
    assert block.hidden_bias is not None
    assert block.decoder.diagonal is not None
    x, s = torch.randn(20, 7, dtype=torch.float64), torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64)
    hidden = (s * block.encoder.compress(x) + block.hidden_bias).clamp_min(0)
    expected = block.decoder.expand(hidden, block.bias).clamp_min(0)
    with torch.no_grad():
        block.encoder.weight.mul_(s.sign())
        block.hidden_bias.div_(s.abs())
        block.decoder.diagonal.mul_(s.abs())
    torch.testing.assert_close(block(x), expected)


@MANIFOLDS
def test_gradients_equal_finite_differences(manifold: Manifold | None) -> None:
    for layer in (LowRankLinear(5, 4, 2, manifold=manifold), ReLULowRank(5, 2, 4, manifold=manifold)):
        names = [name for name, _ in randomised(layer).named_parameters()]
        values = tuple(p.detach().as_subclass(Tensor).clone().requires_grad_() for p in layer.parameters())
        x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)

        def call(x: Tensor, *leaves: Tensor, names: list[str] = names, layer: nn.Module = layer) -> Tensor:
            out: Tensor = torch.func.functional_call(layer, dict(zip(names, leaves, strict=True)), (x,))
            return out

        assert torch.autograd.gradcheck(call, (x, *values))


def test_the_matrix_is_not_formed() -> None:
    layer, block, x = LowRankLinear(300, 200, 4), ReLULowRank(300, 4, 200), torch.randn(2, 300)
    with Sizes() as sizes:
        for module in (layer, block):
            module(x).sum().backward()
    assert 0 < sizes.largest <= 4 * 300
    with Sizes() as sizes:
        layer.effective()
    assert sizes.largest == 300 * 200


# --- gains ---


def test_gains_in_closed_form() -> None:
    expected = {"unit": 1, "linear": math.sqrt(36 / 4), "relu": math.sqrt(72 / 4), "spectral": 6 / 5}
    for name, value in expected.items():
        assert low_rank_gain(name, 25, 36, 4) == pytest.approx(value, rel=1e-15)
        assert LowRankLinear(25, 36, 4, gain=name).left.gain == pytest.approx(value, rel=1e-15)
    assert LowRankLinear(25, 36, 4, gain=2).left.gain == 2
    assert LowRankLinear(25, 36, 4).left.gain == 3


@MANIFOLDS
def test_unit_and_spectral_gains_are_exact(manifold: Manifold | None) -> None:
    for m, n, r in [(12, 30, 5), (30, 12, 12), (8, 8, 8)]:
        weight = LowRankLinear(m, n, r, gain="unit", manifold=manifold).double().effective()
        values = torch.linalg.svdvals(weight)
        torch.testing.assert_close(values[:r], torch.ones_like(values[:r]), atol=2e-6, rtol=0)
        layer = LowRankLinear(m, n, r, gain="spectral", manifold=manifold).double()
        weight = layer.effective()
        norm = torch.linalg.matrix_norm(weight, 2) * math.sqrt(m / n)  # of x -> Wx in root mean squares
        assert norm.item() == pytest.approx(1, abs=2e-6)
        x = torch.cat((torch.randn(50, m, dtype=torch.float64), dense(layer.right).mT))
        ratios = (x @ weight.mT).square().mean(-1).sqrt() / x.square().mean(-1).sqrt()
        assert ratios[:50].max() < 1 + 2e-6
        torch.testing.assert_close(ratios[50:], torch.ones_like(ratios[50:]), atol=2e-6, rtol=0)


def test_linear_and_relu_gains_keep_the_mean_square_of_isotropic_inputs() -> None:
    x = torch.randn(20_000, 96)
    for m, n, r in [(96, 64, 16), (96, 160, 40), (96, 96, 96)]:
        assert mean_square(LowRankLinear(m, n, r)(x)) == pytest.approx(1, abs=0.02)
        out = LowRankLinear(m, n, r, gain="relu")(x)
        assert mean_square(out) == pytest.approx(2, abs=0.04)
        assert mean_square(out.relu()) == pytest.approx(1, abs=0.03)


def test_linear_and_relu_gains_keep_the_mean_square_of_any_input_on_average() -> None:
    x = torch.rand(40).square() + 0.5  # far from centred
    for gain, rectify in [("linear", False), ("relu", True)]:
        outputs = [LowRankLinear(40, 60, 10, gain=gain)(x) for _ in range(400)]
        squares = torch.stack(outputs).relu().square() if rectify else torch.stack(outputs).square()
        assert squares.mean().item() == pytest.approx(mean_square(x), rel=0.1)


def test_relu_block_keeps_the_mean_square() -> None:
    x = torch.randn(4000, 128)
    for n in (96, 256):
        blocks = [ReLULowRank(128, 64, n) for _ in range(8)]
        hidden = torch.stack([block.encoder.compress(x).relu() for block in blocks])
        assert mean_square(hidden) == pytest.approx(1, abs=0.03)
        assert mean_square(torch.stack([block(x) for block in blocks])) == pytest.approx(1, abs=0.1)


def test_relu_blocks_in_sequence_neither_vanish_nor_explode() -> None:
    x, factor = torch.randn(50, 256), {"relu": 1.0, "unit": 64 / (4 * 256)}
    for gain, share in factor.items():
        depth, ends = 6, []
        for _ in range(20):
            blocks = nn.Sequential(*(ReLULowRank(256, 64, gain=gain) for _ in range(depth)))
            ends.append(mean_square(blocks(x)))
        mean = sum(ends) / len(ends)
        assert 0.6 < mean / share**depth < 1.6, (gain, ends)


def test_the_papers_block_is_another_one() -> None:
    layer = LowRankLinear(64, 64, 16, bias=False, gain="relu", diagonal=False).double()
    z = torch.randn(2000, 64, dtype=torch.float64)
    d, e = dense(layer.left), dense(layer.right).mT
    f = (z @ e.mT @ d.mT).clamp_min(0)
    torch.testing.assert_close(layer(z).relu(), f)
    block = ReLULowRank(64, 16, bias=False, diagonal=False).double()
    with torch.no_grad():
        block.encoder.weight.copy_(layer.right.weight)
        block.decoder.weight.copy_(layer.left.weight)
    assert (block(z) - f).abs().max() > 0.1
    assert mean_square(f) == pytest.approx(1, abs=0.05)


# --- modules ---


@pytest.mark.parametrize("kind", [LowRankLinear, ReLULowRank])
@MANIFOLDS
def test_copies_and_states(kind: Any, manifold: Manifold | None) -> None:
    sizes = (9, 7, 3) if kind is LowRankLinear else (9, 3, 7)
    layer, x = randomised(kind(*sizes, manifold=manifold)), torch.randn(4, 9, dtype=torch.float64)
    expected = layer(x)
    other = kind(*sizes, manifold=manifold).double()
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), expected)
        assert dict(named_manifolds(twin)) == dict(named_manifolds(layer))
    assert len(dict(named_manifolds(layer))) == (0 if manifold is None else 2)
    single = copy.deepcopy(layer).float()
    torch.testing.assert_close(single(x.float()), expected.float())
    assert dict(named_manifolds(single)) == dict(named_manifolds(layer))
    with torch.device("meta"):
        assert kind(*sizes, manifold=manifold)(torch.ones(2, 9)).shape == (2, 7)


@pytest.mark.parametrize("kind", [LowRankLinear, ReLULowRank])
@MANIFOLDS
def test_compiles_in_one_graph(kind: Any, manifold: Manifold | None) -> None:
    torch.compiler.reset()
    layer, x = kind(9, 4, 4, manifold=manifold), torch.randn(3, 9)
    compiled: Any = torch.compile(layer, fullgraph=True, backend="eager")
    outputs = compiled(x), layer(x)
    torch.testing.assert_close(*outputs)
    ours, expected = (torch.autograd.grad(y.square().sum(), list(layer.parameters())) for y in outputs)
    torch.testing.assert_close(ours, expected)


def test_free_and_constrained_layers_start_alike() -> None:
    for manifold in (Stiefel(), None):
        for weight in (
            LowRankLinear(40, 30, 8, manifold=manifold).left.weight,
            ReLULowRank(40, 8, manifold=manifold).encoder.weight,
        ):
            assert gram_error(weight) < 1e-6
    layer = LowRankLinear(40, 30, 8)
    assert sum(p.numel() for p in layer.parameters()) == 8 * (40 + 30) + 8 + 30


def test_training_finds_a_low_rank_map_on_stiefel() -> None:
    target = torch.randn(12, 3) @ torch.randn(3, 10)
    x = torch.randn(200, 10)
    y = x @ target.mT + 0.5
    for layer in (LowRankLinear(10, 12, 3), LowRankLinear(10, 12, 3, manifold=None)):
        optimizer = RiemannianAdam(param_groups(layer), lr=0.05)
        for _ in range(300):
            loss = (layer(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert loss.item() < 1e-3 * y.square().mean().item()
        if layer.left.manifold is not None:
            assert max(gram_error(layer.left.weight), gram_error(layer.right.weight)) < 1e-5


def test_training_relu_blocks_stays_on_stiefel() -> None:
    net = nn.Sequential(ReLULowRank(10, 6, 20), LowRankLinear(20, 1, 1))
    groups = param_groups(net, Stiefel={"lr": 0.02})
    assert [len(group["params"]) for group in groups] == [5, 4]
    optimizer = RiemannianAdam(groups, lr=0.02)
    x = torch.randn(300, 10)
    y = x[:, :2].abs().sum(-1, keepdim=True)
    losses = []
    for _ in range(250):
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    for name, _ in named_manifolds(net):
        assert gram_error(net.get_parameter(name)) < 1e-5


# --- errors ---


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"LowRankLinear: rank = 6 must be between 1 and 5, .* = 7 .* = 5"):
        LowRankLinear(7, 5, 6)
    with pytest.raises(ValueError, match="ReLULowRank: rank = 0 must be between 1 and 7"):
        ReLULowRank(7, 0)
    with pytest.raises(ValueError, match=r"from_linear: rank = 4 must be between 1 and 3"):
        LowRankLinear.from_linear(nn.Linear(3, 9), 4)
    with pytest.raises(ValueError, match="'he' is none of unit, linear, relu, spectral"):
        LowRankLinear(7, 5, 2, gain="he")
    for gain in (0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"gain = {gain} must be positive and finite"):
            ReLULowRank(7, 2, gain=gain)
