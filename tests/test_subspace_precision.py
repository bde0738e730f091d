"""Layers of subspaces in half precision, under autocast, of extreme scale, and of input that they refuse."""

from typing import Any

import numpy as np
import pytest
import torch
from subspace_cases import projector, subspaces
from torch import Tensor, nn

from geowarp.errors import GeowarpError, NonFiniteError
from geowarp.manifolds import Grassmann
from geowarp.metrics import Geodesic
from geowarp.nn import (
    EmbeddingClassifier,
    FullRankMap,
    GramBasis,
    GrassmannContrastiveLoss,
    GrNet,
    OrthMap,
    ProjectionMap,
    ProjectionPooling,
    QRBasis,
    ReOrth,
    RowPooling,
    SubspaceClassifier,
)


def gradient(function: Any, x: Tensor) -> Tensor:
    leaf = x.detach().clone().requires_grad_()
    function(leaf).backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_of_float32_maps(dtype: torch.dtype) -> None:
    u = subspaces(5, 1, 8, 3, dtype=torch.float32).to(dtype)
    for maps in (None, 4):
        layer = FullRankMap(8, 6, maps)
        torch.testing.assert_close(layer(u), layer(u.float()))
    net, x = GrNet(8, 2, 5, widths=(8,), maps=2), torch.randn(4, 8, 5).to(dtype)
    assert net(x).isfinite().all()


def test_autocast_leaves_subspaces_in_float32() -> None:
    net, x = GrNet(8, 2, 5, widths=(8,), maps=2), torch.randn(4, 8, 5)
    expected = net.subspaces(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net.subspaces(x), expected, atol=0, rtol=0)


@pytest.mark.parametrize("layer", [ProjectionMap(2), ReOrth(), OrthMap(2), RowPooling(2)], ids=repr)
def test_gradient_that_is_taken_within_autocast(layer: nn.Module) -> None:
    x = subspaces(4, 8, 8 if isinstance(layer, OrthMap) else 3, dtype=torch.float32)
    weight = torch.randn_like(layer(x))
    expected = gradient(lambda z: (layer(z) * weight).sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient(lambda z: (layer(z) * weight).sum(), x)
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_contrastive_gradient_that_is_taken_within_autocast() -> None:
    views = subspaces(2, 5, 8, 3, dtype=torch.float32)
    expected = gradient(GrassmannContrastiveLoss(), views)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(gradient(GrassmannContrastiveLoss(), views), expected, atol=0, rtol=0)
        geodesic = GrassmannContrastiveLoss(distance=Geodesic())
        assert gradient(geodesic, views).isfinite().all()  # partly torch's own derivatives, in bfloat16
        classifier = SubspaceClassifier(8, 3, 4)
        assert gradient(lambda x: classifier(x).sum(), views).isfinite().all()


@pytest.mark.parametrize("exponent", [-90, 0, 90])  # of 2: squares of such float32 numbers are 0 and infinite
@pytest.mark.parametrize("shape", [(9, 5), (5, 9)])
def test_scale_of_data_is_irrelevant(exponent: int, shape: tuple[int, int]) -> None:
    x, weight = torch.randn(3, *shape), torch.randn(shape[0], shape[0])
    layers = [ProjectionMap(3), ProjectionMap(3, GramBasis())]
    layers += [ProjectionMap(method=QRBasis())] if shape[0] > shape[1] else []
    for layer in layers:
        expected = projector(layer(x))
        slope = gradient(lambda z, layer=layer: (projector(layer(z)) * weight).sum(), x)
        scaled = x * 2.0**exponent
        torch.testing.assert_close(projector(layer(scaled)), expected, atol=0, rtol=0)
        found = gradient(lambda z, layer=layer: (projector(layer(z)) * weight).sum(), scaled)
        torch.testing.assert_close(found * 2.0**exponent, slope, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        ProjectionMap(2),
        OrthMap(2),
        ProjectionPooling(),
        ProjectionPooling(Geodesic()),
        SubspaceClassifier(4, 4, 3),
    ],
    ids=repr,
)
def test_input_that_is_refused(layer: nn.Module) -> None:
    x = torch.eye(4).repeat(3, 1, 1)
    with pytest.raises(GeowarpError, match=r"dtype torch.int64; convert it, .to\(torch.float32\)"):
        layer(x.long())
    with pytest.raises(NonFiniteError, match=r"48 (of 48 )?entries"):
        layer(x * torch.nan)


def test_shapes_that_are_refused() -> None:
    with pytest.raises(GeowarpError, match=r"RowPooling: the input has shape \(4,\), not \(..., n, k\)"):
        RowPooling()(torch.zeros(4))
    with pytest.raises(GeowarpError, match=r"shape \(2, 5, 3\); it needs \(..., 6, k\)"):
        EmbeddingClassifier(6, 3, 4)(torch.zeros(2, 5, 3))
    for shape in ((3, 6, 3), (6, 3)):
        with pytest.raises(GeowarpError, match=r"EmbeddingClassifier: .* it needs \(..., 2, 6, k\)"):
            EmbeddingClassifier(6, 3, 4, maps=2)(torch.zeros(shape))


@pytest.mark.parametrize(("n", "num_classes", "maps"), [(0, 3, None), (5, 0, None), (5, 3, 0)])
def test_sizes_of_a_linear_head_that_are_refused(n: int, num_classes: int, maps: int | None) -> None:
    with pytest.raises(GeowarpError, match=f"num_classes = {num_classes} and maps = {maps} need 1 or more"):
        EmbeddingClassifier(n, 2, num_classes, maps=maps)


def test_sizes_are_whole_numbers_of_any_kind() -> None:
    size: Any = np.int64(5)
    assert Grassmann().random(3, size, np.int32(2)).shape == (3, 5, 2)  # type: ignore[arg-type]
    assert FullRankMap(size, size - 1, size - 2).weight.shape == (3, 5, 4)
    with pytest.raises(TypeError, match="float"):
        Grassmann().random(3, 5, 2.0)  # type: ignore[arg-type]
