"""FlexAttention against the matrix of weights, on the CPU, where torch computes it without a kernel."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from geowarp.errors import UnavailableError
from geowarp.manifolds import Lorentz, PoincareBall, Sphere
from geowarp.nn import (
    ChordalSquaredDistance,
    Distance,
    FlexAttention,
    InverseLogDistance,
    Method,
    Reference,
    SquaredDistance,
    manifold_attention,
)
from geowarp.nn.distance_attention.causal_blocks import causal_blocks

METHODS: tuple[Method, ...] = (FlexAttention(), Reference())
SEEN = torch.tensor([True, False, True, False, False, True, True])
OPTIONS: dict[str, dict[str, Any]] = {
    "temperatures": {"tau": torch.tensor([0.1, 0.5, 1.0])},
    "causal, padded": {"is_causal": True, "mask": SEEN.expand(2, 1, 1, 7)},
    "a row without keys": {"mask": torch.arange(5)[:, None] > 6 - torch.arange(7)},
    "biased": {"bias": torch.linspace(-2, 2, 42).reshape(2, 3, 1, 7), "score": InverseLogDistance()},
}


def points(space: Lorentz | PoincareBall, *batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return space.random(*batch, 4, dtype=dtype)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_is_the_reference(options: dict[str, Any]) -> None:
    space = PoincareBall(0.7)
    q, k, v = points(space, 2, 3, 5), points(space, 1, 3, 7), torch.randn(2, 3, 7, 21)
    flex, reference = (manifold_attention(q, k, v, space, method=m, **options) for m in METHODS)
    torch.testing.assert_close(flex, reference, atol=1e-5, rtol=1e-5)


def test_equal_points_in_double_precision() -> None:
    space = Lorentz(2.0)
    x, v = points(space, 6, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    flex, reference = (manifold_attention(x, x, v, space, method=m, score=Distance()) for m in METHODS)
    torch.testing.assert_close(flex, reference, atol=1e-7, rtol=0)  # a root of the rounding at distance 0
    assert manifold_attention(x, x[:0], v[:0], space, method=FlexAttention()).eq(0).all()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_gradients_where_torch_lets_them_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that kernels are made of is right; a check alone keeps torch from running it on the CPU."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    flex_module = importlib.import_module("geowarp.nn.distance_attention.flex")
    monkeypatch.setattr(flex_module, "_check_gradient", lambda *_: None)
    flex, reference = (gradients(method) for method in METHODS)
    torch.testing.assert_close(flex, reference, atol=1e-9, rtol=1e-9)


def gradients(method: Method) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    space = PoincareBall(0.7, learnable=True).double()

    def draw(*size: int) -> Tensor:
        return torch.randn(size, dtype=torch.float64, generator=generator)

    q, k, v, bias, tau = draw(3, 5, 4) / 4, draw(3, 7, 4) / 4, draw(3, 7, 2), draw(3, 1, 7), draw(3).exp()
    leaves = [x.requires_grad_() for x in (q, k, v, bias, tau)]
    output = manifold_attention(q, k, v, space, tau, bias=bias, is_causal=True, method=method)
    return torch.autograd.grad(output.square().sum(), [*leaves, *space.parameters()])


@pytest.mark.parametrize(("queries", "keys"), [(384, 512), (300, 130), (1, 700), (500, 1)])
def test_causal_blocks(queries: int, keys: int) -> None:
    blocks = causal_blocks(queries, keys, torch.device("cpu"))
    expected = create_block_mask(lambda b, h, i, j: i >= j, None, None, queries, keys, "cpu")
    torch.testing.assert_close(blocks.to_dense(), expected.to_dense())
    if queries % 128 == 0:  # torch takes blocks that rows are missing from for mixed ones
        torch.testing.assert_close(blocks.full_kv_num_blocks, expected.full_kv_num_blocks)


def test_what_it_is_not_for() -> None:
    x = torch.eye(2)
    with pytest.raises(UnavailableError, match=r"SquaredDistance.* on Sphere.*Blockwise"):
        manifold_attention(x, x, x, Sphere(), score=SquaredDistance(), method=FlexAttention())
    with pytest.raises(UnavailableError, match=r"ChordalSquaredDistance.*no function of the hyperbolic"):
        manifold_attention(
            x / 2, x / 2, x, PoincareBall(), score=ChordalSquaredDistance(), method=FlexAttention()
        )
    with pytest.raises(UnavailableError, match=r"no gradient.*CPU.*Blockwise"):
        manifold_attention(x / 2, x / 2, x.requires_grad_(), PoincareBall(), method=FlexAttention())
