"""Maps with orthonormal rows: the gradient of several maps, and steps that keep the rows orthonormal."""

from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp.manifolds import Stiefel
from geowarp.manifolds.parameter import project_state_dict
from geowarp.nn.subspaces import FullRankMap
from geowarp.optim import RiemannianAdam, RiemannianSGD


@pytest.mark.parametrize("own", [False, True], ids=["one input", "an input for each map"])
def test_gradient_of_several_maps_is_their_sum(own: bool) -> None:
    """Not their mean: the input of m maps receives ``Σ W_iᵀ G_i``."""
    maps = FullRankMap(6, 4, maps=5).double()
    x = torch.randn(2, 5 if own else 1, 6, 3, dtype=torch.float64).requires_grad_()
    y = maps(x)
    w = maps.weight.detach().as_subclass(Tensor)
    torch.testing.assert_close(y, w.mT @ x)
    cotangent = torch.randn_like(y)
    at_x, at_weight = torch.autograd.grad(y, (x, maps.weight), cotangent)
    each = w @ cotangent
    torch.testing.assert_close(at_x, each if own else each.sum(-3, keepdim=True))
    torch.testing.assert_close(at_weight.as_subclass(Tensor), (x @ cotangent.mT).sum(0))


def rows_gradient(layer: FullRankMap, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weight, its gradient and its Riemannian gradient, of a loss; the gradient is stored."""
    (layer(x) - 1).square().sum().backward()
    assert layer.weight.grad is not None
    point, raw = (t.detach().as_subclass(Tensor).clone() for t in (layer.weight, layer.weight.grad))
    return point, raw, Stiefel().egrad2rgrad(point, raw)


@pytest.mark.parametrize("maps", [None, 3])
@pytest.mark.parametrize("optimizer", [RiemannianSGD, RiemannianAdam])
def test_optimisers_keep_the_rows_orthonormal(maps: int | None, optimizer: Any) -> None:
    """A plain step leaves the manifold at once."""
    layer = FullRankMap(6, 4, maps).double()
    x = torch.randn(*((8,) if maps is None else (8, 1)), 6, 3, dtype=torch.float64)
    descent, losses = optimizer(layer.parameters(), lr=0.01), []
    for _ in range(50):
        descent.zero_grad()
        loss = (layer(x) - 1).square().mean()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert Stiefel().point_residual(layer.weight.detach()).max() < 1e-13


@pytest.mark.parametrize("optimizer", [RiemannianSGD, RiemannianAdam])
def test_a_step_follows_the_riemannian_gradient_at_the_weight(optimizer: Any) -> None:
    """Projected at 0 instead of at the point, the gradient would stay the Euclidean one."""
    layer, lr = FullRankMap(6, 4).double(), 1e-6
    layer.load_state_dict(project_state_dict(layer, layer.state_dict()))  # the start is one in float32
    descent = optimizer(layer.parameters(), lr=lr)
    point, raw, tangent = rows_gradient(layer, torch.randn(6, 3, dtype=torch.float64))
    assert torch.linalg.norm(tangent) < 0.95 * torch.linalg.norm(raw)
    descent.step()
    moved = (point - layer.weight.detach().as_subclass(Tensor)) / lr
    cosine = (moved * tangent).sum() / torch.linalg.norm(moved) / torch.linalg.norm(tangent)
    assert cosine.item() == pytest.approx(1, abs=1e-9)
    normal = point.mT @ moved + moved.mT @ point
    assert torch.linalg.norm(normal) < 1e-4 * torch.linalg.norm(moved)
    if optimizer is RiemannianSGD:
        torch.testing.assert_close(moved, tangent, atol=0, rtol=1e-3)
