"""All pairs of hyperbolic distances: accuracy close and far, blocks, gradients, batches, compilation."""

import math

import pytest
import torch
from hyperbolic_cases import DTYPES, unit
from torch import Tensor

from geowarp.manifolds import Lorentz, PoincareBall
from geowarp.manifolds.linalg import pairwise_arc_length as module
from geowarp.manifolds.linalg.pairwise_arc_length import pairwise_arc_length

MODELS = [PoincareBall(), PoincareBall(0.7), Lorentz(), Lorentz(2.0)]


def points(model: PoincareBall | Lorentz, *batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return model.random(*batch, 3 if isinstance(model, PoincareBall) else 4, dtype=dtype).detach().clone()


def pairs(model: PoincareBall | Lorentz, x: Tensor, y: Tensor) -> Tensor:
    return model.dist(x[..., :, None, :], y[..., None, :, :])


@pytest.fixture(params=[1 << 17, 64, 7], ids=lambda size: f"block{size}")
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setitem(module._BLOCK, "cpu", request.param)
    monkeypatch.setattr(module, "_ENTRIES", request.param)
    return int(request.param)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_they_are_the_distances_of_the_pairs(
    model: PoincareBall | Lorentz, dtype: torch.dtype, block: int
) -> None:
    for first, second in (
        ((5,), (4,)),
        ((2, 5), (2, 4)),
        ((3, 1, 5), (2, 4)),
        ((0,), (4,)),
        ((5,), (0,)),
        ((0, 5), (4,)),
        ((6, 2), (6, 3)),
    ):
        x, y = points(model, *first, dtype=dtype), points(model, *second, dtype=dtype)
        expected = pairs(model, x, y)
        value = model.cdist(x, y)
        assert value.dtype == dtype
        assert value.is_contiguous()
        torch.testing.assert_close(value, expected, atol=0, rtol=50 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_close_pairs_lose_nothing(dtype: torch.dtype, block: int) -> None:
    ball = PoincareBall()
    x = points(ball, 6, dtype=dtype)
    for separation in (0.0, 1e-12, 1e-6, 1e-3, 1e-1):
        y = torch.cat([x + separation * unit(6, 3, dtype=dtype), points(ball, 4, dtype=dtype)])
        torch.testing.assert_close(
            ball.cdist(x, y), pairs(ball, x, y), atol=0, rtol=50 * torch.finfo(dtype).eps
        )
    assert torch.equal(ball.cdist(x, x).diagonal(), torch.zeros(6, dtype=dtype))
    centre = ball.expmap0(torch.tensor([5.0, 0.0, 0.0], dtype=dtype))
    cluster = ball.expmap(centre, ball.transp0(centre, 0.5 * unit(8, 3, dtype=dtype)))
    torch.testing.assert_close(
        ball.cdist(cluster, cluster), pairs(ball, cluster, cluster), atol=0, rtol=50 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_gradients(model: PoincareBall | Lorentz, block: int) -> None:
    x, y = points(model, 2, 4), points(model, 3)
    inputs = (x.requires_grad_(), y.requires_grad_())
    assert torch.autograd.gradcheck(model.cdist, inputs)
    with torch.no_grad():
        near = torch.cat([y[:1], y[1:2] + 1e-3, y[2:] + 1e-7])
    weight = torch.rand(3, 3, dtype=torch.float64)
    for function in (model.cdist, lambda a, b: pairs(model, a, b)):
        a, b = (t.detach().clone().requires_grad_() for t in (near, y))
        (function(a, b) * weight).sum().backward()
        if function == model.cdist:
            expected = (a.grad, b.grad)
    for value, gradient in zip((a.grad, b.grad), expected, strict=True):
        assert value is not None
        assert gradient is not None
        torch.testing.assert_close(value, gradient, rtol=1e-7, atol=1e-7)


def test_gradients_in_float32_are_those_of_float64() -> None:
    ball = PoincareBall()
    x = ball.expmap0(4 * unit(20, 3, dtype=torch.float32))
    y = torch.cat([x[:5], x[5:10] + 1e-6 * unit(5, 3, dtype=torch.float32), ball.projx(x[:4] * 0.5)])
    gradients = []
    for dtype in (torch.float32, torch.float64):
        a = x.detach().to(dtype, copy=True).requires_grad_()
        ball.cdist(a, y.to(dtype)).sum().backward()
        assert a.grad is not None
        gradients.append(ball.egrad2rgrad(a.detach(), a.grad) * ball.lambda_x(a.detach(), keepdim=True))
    torch.testing.assert_close(gradients[0].double(), gradients[1], atol=1e-4, rtol=1e-4)


def test_symmetry_and_not_a_number() -> None:
    ball = PoincareBall()
    x = points(ball, 300)
    value = ball.cdist(x, x)
    torch.testing.assert_close(value, value.mT, atol=0, rtol=1e-14)
    assert (value >= 0).all()
    spoilt = x.clone()
    spoilt[7] = math.nan
    assert ball.cdist(spoilt, x).isnan().any(-1).sum() == 1 or ball.cdist(spoilt, x)[7].isnan().all()


def test_compiles_to_one_graph() -> None:
    for model in MODELS:
        x, y = points(model, 5), points(model, 4)
        torch.compiler.reset()
        compiled = torch.compile(model.cdist, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, y), model.cdist(x, y))


def test_unit_curvature_by_hand() -> None:
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0]])
    value = pairwise_arc_length(x, y, torch.tensor([1.0, 0.25]), torch.tensor([4.0]), torch.float32)
    torch.testing.assert_close(value, torch.tensor([[0.0], [2 * math.asinh(5.0)]]))


def test_memory_is_that_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    original = torch.Tensor.__matmul__

    def record(a: Tensor, b: Tensor) -> Tensor:
        nonlocal largest
        result = original(a, b)
        largest = max(largest, result.numel())
        return result

    monkeypatch.setattr(torch.Tensor, "__matmul__", record)
    x = points(PoincareBall(), 1000).requires_grad_()
    PoincareBall().cdist(x, x).sum().backward()
    assert 0 < largest <= module._BLOCK["cpu"]
