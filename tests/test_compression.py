"""Linear layers compressed to low rank: the best of its rank, with its exact error."""

import math

import pytest
import torch
from low_rank_cases import MANIFOLDS, gram_error, randomised
from torch import nn

from geowarp.errors import GeowarpError
from geowarp.manifolds import Manifold, Polar, Stiefel
from geowarp.nn import LowRankLinear


@MANIFOLDS
@pytest.mark.parametrize(("m", "n"), [(20, 12), (12, 20), (15, 15)])
def test_from_linear_is_the_best_of_its_rank(m: int, n: int, manifold: Manifold | None) -> None:
    linear = nn.Linear(m, n).double()
    before = linear.weight.detach().clone()
    values = torch.linalg.svdvals(before)
    for rank in (1, 5, 11, 12):
        layer, error = LowRankLinear.from_linear(linear, rank, manifold=manifold)
        expected = (values[rank:].square().sum() / values.square().sum()).sqrt().item()
        assert isinstance(error, float)
        assert error == pytest.approx(expected, abs=1e-14)
        actual = torch.linalg.matrix_norm(before - layer.effective()) / torch.linalg.matrix_norm(before)
        assert error == pytest.approx(actual.item(), abs=1e-13)
        assert max(gram_error(layer.left.weight), gram_error(layer.right.weight)) < 1e-12
        assert layer.left.gain == layer.right.gain == 1
        assert layer.left.diagonal is not None
        torch.testing.assert_close(layer.left.diagonal.detach(), values[:rank])
        assert layer.left.manifold == layer.right.manifold == manifold
        assert layer.bias is not None
        assert torch.equal(layer.bias, linear.bias)
        assert layer.bias is not linear.bias
    assert torch.equal(linear.weight, before)
    full, _ = LowRankLinear.from_linear(linear, min(m, n), manifold=manifold)
    x = torch.randn(4, m, dtype=torch.float64)
    torch.testing.assert_close(full(x), linear(x))


def test_from_linear_restores_a_low_rank_layer() -> None:
    source = randomised(LowRankLinear(30, 20, 4, bias=False, gain="relu"))
    linear = nn.Linear(30, 20, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(source.effective())
    layer, error = LowRankLinear.from_linear(linear, 4)
    assert error < 1e-14
    assert layer.bias is None
    x = torch.randn(4, 30, dtype=torch.float64)
    torch.testing.assert_close(layer(x), source(x))


@pytest.mark.parametrize(
    ("dtype", "gram", "close"),
    [
        (torch.float64, 1e-12, 1e-12),
        (torch.float32, 1e-6, 1e-6),
        (torch.bfloat16, 3e-2, 1e-2),
        (torch.float16, 3e-3, 1e-3),
    ],
    ids=str,
)
def test_from_linear_keeps_the_dtype(dtype: torch.dtype, gram: float, close: float) -> None:
    linear = nn.Linear(40, 24).to(dtype)
    layer, error = LowRankLinear.from_linear(linear, 6)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    assert layer(torch.randn(2, 40, dtype=dtype)).dtype == dtype
    assert max(gram_error(layer.left.weight), gram_error(layer.right.weight)) < gram
    weight = linear.weight.detach().double()
    values = torch.linalg.svdvals(weight)
    assert error == pytest.approx((values[6:].norm() / values.norm()).item(), abs=1e-13)
    actual = torch.linalg.matrix_norm(weight - layer.double().effective()) / values.norm()
    assert error == pytest.approx(actual.item(), abs=close)


def test_from_linear_of_degenerate_weights() -> None:
    linear = nn.Linear(6, 4)
    with torch.no_grad():
        linear.weight.zero_()
    layer, error = LowRankLinear.from_linear(linear, 2)
    assert error == 0
    assert gram_error(layer.left.weight) < 1e-6
    assert torch.equal(layer(torch.ones(6)), linear.bias)
    layer(torch.ones(6)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
    with torch.no_grad():
        linear.weight.copy_(torch.eye(4, 6))  # equal singular values
    layer, error = LowRankLinear.from_linear(linear, 1)
    assert error == pytest.approx(math.sqrt(3 / 4), abs=1e-7)
    retraction = Stiefel(retraction=Polar())
    assert LowRankLinear.from_linear(linear, 1, manifold=retraction)[0].left.manifold == retraction


def test_from_linear_refuses_what_the_layer_cannot_hold() -> None:
    linear = nn.Linear(64, 64).half()
    with torch.no_grad():
        linear.weight.fill_(3000)  # the singular value is 192000, and float16 ends at 65504
    with pytest.raises(
        GeowarpError, match=r"singular value 1\.92e\+05 exceeds torch\.float16; give linear\.float"
    ):
        LowRankLinear.from_linear(linear, 1)
    layer, error = LowRankLinear.from_linear(linear.float(), 1)
    assert error < 1e-6
    torch.testing.assert_close(layer.effective(), linear.weight)
    with torch.no_grad():
        linear.weight[0, :2] = torch.nan
    with pytest.raises(GeowarpError, match="2 weights are not finite"):
        LowRankLinear.from_linear(linear, 1)
