"""Operations whose gradient has no derivative raise at the second one, instead of leaving terms of it out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from geowarp.errors import UnavailableError
from geowarp.manifolds import (
    SPSD,
    BuresWassersteinSPD,
    CanonicalMetric,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Lorentz,
    Manifold,
    PoincareBall,
    Polar,
    SpecialOrthogonal,
    Stiefel,
)
from geowarp.manifolds.linalg.differentiation import once_differentiable

ONCE: list[tuple[Manifold, tuple[int, ...], Callable[[Manifold, Tensor, Tensor], Tensor]]] = [
    (PoincareBall(), (3,), lambda m, x, y: m.cdist(x, y)),
    (Lorentz(), (3,), lambda m, x, y: m.cdist(x, y)),
    (LogCholeskySPD(), (2, 2), lambda m, x, y: m.cdist(x, y)),
    (LogEuclideanSPD(), (2, 2), lambda m, x, y: m.retr(x, y)),
    (LogEuclideanSPD(), (2, 2), lambda m, x, y: m.logmap(x, y)),
    (BuresWassersteinSPD(), (2, 2), lambda m, x, y: m.dist(x, y)),
    (BuresWassersteinSPD(), (2, 2), lambda m, x, y: m.cdist(x, y)),
    (BuresWassersteinSPD(), (2, 2), lambda m, x, y: m.transp(x, y, y)),
    (BuresWassersteinSPD(), (2, 2), lambda m, x, y: m.geodesic(0.5, x, y)),
    (SPSD(2), (4, 2), lambda m, x, y: m.retr(x, y)),
    (Grassmann(), (4, 2), lambda m, x, y: m.dist(x, y)),
    (Grassmann(), (4, 2), lambda m, x, y: m.cdist(x, y)),
    (Stiefel(CanonicalMetric()), (4, 2), lambda m, x, y: m.dist(x, y)),
    (Stiefel(retraction=Polar()), (4, 2), lambda m, x, y: m.projx(x)),
    (SpecialOrthogonal(), (3, 3), lambda m, x, y: m.projx(x)),
]


@pytest.mark.parametrize(("manifold", "shape", "operation"), ONCE)
@pytest.mark.parametrize("argument", [0, 1])
def test_a_second_derivative_that_does_not_exist_raises(
    manifold: Manifold,
    shape: tuple[int, ...],
    operation: Callable[[Manifold, Tensor, Tensor], Tensor],
    argument: int,
) -> None:
    start = manifold.random(2, *shape, dtype=torch.float64).as_subclass(Tensor).detach().clone()
    points = [start, manifold.retr(start, manifold.proju(start, 0.2 * torch.randn_like(start)))]
    x = points[argument].requires_grad_()
    value = operation(manifold, *points)
    if not value.requires_grad:
        return
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    # another path to x, so that autograd finds a derivative even where this one is missing
    with pytest.raises(UnavailableError, match="only once"):
        torch.autograd.grad(slope.square().sum() + x.square().sum(), x)


class _Pair(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return 2 * grad * ctx.saved_tensors[0], None


def pair(x: Tensor, y: Tensor) -> Tensor:
    value: Tensor = _Pair.apply(x, y)  # type: ignore[no-untyped-call]
    return value


def test_gradients_are_given_as_they_are() -> None:
    x, y = torch.tensor([2.0], requires_grad=True), torch.ones(1, requires_grad=True)
    for create_graph in (False, True):
        of_x, of_y = torch.autograd.grad(
            pair(x, y).sum(), (x, y), create_graph=create_graph, allow_unused=True
        )
        assert of_x == 4
        assert of_y is None
        assert of_x.requires_grad == create_graph


def test_gradients_that_depend_on_nothing_that_requires_one_have_none() -> None:
    x = torch.tensor([2.0])
    (slope,) = torch.autograd.grad(pair(x.requires_grad_(), x).sum(), x, create_graph=True)
    assert slope.grad_fn is not None
    with pytest.raises(UnavailableError, match="Pair can be differentiated only once"):
        slope.backward()
