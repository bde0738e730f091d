"""Layers of low rank with random entries, and what is measured of them."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from geowarp.manifolds import Stiefel
from geowarp.nn import LowRankFactor

Layer = TypeVar("Layer", bound=nn.Module)
MANIFOLDS = pytest.mark.parametrize("manifold", [Stiefel(), None], ids=["stiefel", "free"])
OPTIONS = pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"diagonal": False}, {"gain": 0.3}, {"manifold": None}], ids=str
)


def randomised(layer: Layer) -> Layer:
    """Return the layer in float64 with random biases and diagonals."""
    with torch.no_grad():
        for name, parameter in layer.double().named_parameters():
            if not name.endswith("weight"):
                parameter.uniform_(-2, 2)
    return layer


def dense(factor: LowRankFactor) -> Tensor:
    """Return ``τ X diag(s)``, written out."""
    s = torch.ones(factor.weight.shape[1]) if factor.diagonal is None else factor.diagonal
    return factor.gain * factor.weight.detach().as_subclass(Tensor) @ torch.diag(s.detach()).to(factor.weight)


def gram_error(weight: Tensor) -> float:
    x = weight.detach().as_subclass(Tensor).double()
    return float(torch.linalg.matrix_norm(x.mT @ x - torch.eye(x.shape[-1], dtype=x.dtype)))


def mean_square(x: Tensor) -> float:
    return x.square().mean().item()
