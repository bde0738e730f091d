"""Attention by distance: fast ways against the matrix of weights, and that against closed forms."""

from typing import Any

import numpy as np
import pytest
import torch
from attention_distance_cases import (
    CASES,
    CLOSED_FORMS,
    KEYS,
    QUERIES,
    Array,
    Case,
    Inputs,
    random_points,
    visibilities,
)
from jacobians import assert_jacobian
from scipy import special
from torch import Tensor

from geowarp.manifolds import Grassmann, Manifold, PoincareBall, ProductManifold, Sphere, Stiefel
from geowarp.nn import (
    Blockwise,
    ChordalSquaredDistance,
    Fused,
    Reference,
    Score,
    manifold_attention,
    manifold_attention_weights,
)
from geowarp.nn.distance_attention import tiles
from geowarp.nn.distance_attention.methods import Method

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def _blocks_of_two_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_COLUMNS", 2)


def attend(inputs: Inputs, method: Method | None, options: dict[str, Any]) -> Tensor:
    q, k, v, tau = inputs.q, inputs.k, inputs.v, inputs.tau
    return manifold_attention(q, k, v, inputs.manifold, tau, score=inputs.score, method=method, **options)


def gradients(inputs: Inputs, out: Tensor, options: dict[str, Any]) -> list[Tensor]:
    """Return those of everything, of points along the manifold where features leave constants out."""
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    found = list(torch.autograd.grad(out, inputs.sources(options), cotangent, materialize_grads=True))
    of_chords = isinstance(inputs.score, ChordalSquaredDistance)
    if of_chords and isinstance(inputs.manifold, Grassmann | Sphere | Stiefel | ProductManifold):
        for i, x in enumerate((inputs.q, inputs.k)):
            found[i] = inputs.manifold.egrad2rgrad(x.detach(), found[i])
    return found


def assert_same(fast: Tensor, slow: Tensor, tolerance: float) -> None:
    assert fast.isfinite().all()
    assert slow.isfinite().all()
    torch.testing.assert_close(fast, slow, atol=tolerance * (1 + slow.abs().max().item()), rtol=0)


def assert_fast_is_reference(
    inputs: Inputs, methods: list[Method | None], options: dict[str, Any], tolerance: float
) -> None:
    slow = attend(inputs, Reference(), options)
    expected = gradients(inputs, slow, options)
    for method in methods:
        fast = attend(inputs, method, options)
        assert_same(fast, slow, tolerance)
        for one, other in zip(gradients(inputs, fast, options), expected, strict=True):
            assert_same(one, other, tolerance)


@pytest.mark.usefixtures("_blocks_of_two_keys")
@pytest.mark.parametrize("visibility", [0, 1, 2], ids=["all", "pairs", "causal"])
@cases
def test_fast_is_reference(case: Case, visibility: int) -> None:
    options = visibilities()[visibility]
    methods: list[Method | None] = [Blockwise(pairs=(1000, 16, 6)[visibility])]  # parts of a problem last
    if case.has_features:
        methods.append(Fused())
    assert_fast_is_reference(Inputs(case), methods, options, 1e-10)


@pytest.mark.usefixtures("_blocks_of_two_keys")
@cases
def test_fast_is_reference_in_single_precision(case: Case) -> None:
    options = visibilities(torch.float32)[2]
    methods: list[Method | None] = [Fused() if case.has_features else Blockwise(pairs=16)]
    assert_fast_is_reference(Inputs(case, torch.float32), methods, options, 1e-5)


@pytest.mark.parametrize("method", [Reference(), Blockwise(pairs=4)], ids=repr)
def test_gradients_are_finite_differences(method: Method) -> None:
    ball = PoincareBall(0.5)

    def function(q: Tensor, k: Tensor, v: Tensor, tau: Tensor, bias: Tensor) -> Tensor:
        return manifold_attention(q, k, v, ball, tau[..., 0], bias=bias, is_causal=True, method=method)

    q, k = random_points(ball, (2,), 3), random_points(ball, (2,), 3)
    k[0] = q[0]
    v, bias = torch.randn(3, 1, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    tau = torch.tensor([0.7], dtype=torch.float64)
    assert_jacobian(function, *(x.requires_grad_() for x in (q, k, v, tau, bias)))


@pytest.mark.parametrize(("manifold", "shape", "score", "closed_form"), CLOSED_FORMS)
def test_reference_is_the_closed_form(
    manifold: Manifold, shape: tuple[int, ...], score: Score, closed_form: Any
) -> None:
    q, k = (random_points(manifold, shape, count) for count in (QUERIES, KEYS))
    v, bias = torch.randn(KEYS, 2, dtype=torch.float64), torch.randn(QUERIES, KEYS, dtype=torch.float64)
    mask = torch.rand(QUERIES, KEYS) < 0.7
    mask[:, 0] = True
    logits: Array = np.array([[closed_form(x, y) for y in k.numpy()] for x in q.numpy()]) / 0.7
    for order in (False, True):
        allowed = mask.numpy() & (np.tri(QUERIES, KEYS, dtype=bool) if order else True)
        weights = special.softmax(np.where(allowed, logits + bias.numpy(), -np.inf), -1)
        options: dict[str, Any] = {"score": score, "mask": mask, "bias": bias, "is_causal": order}
        found = manifold_attention_weights(q, k, manifold, 0.7, **options)
        np.testing.assert_allclose(found, weights, atol=1e-10)
        mean = manifold_attention(q, k, v, manifold, 0.7, **options)
        np.testing.assert_allclose(mean, weights @ v.numpy(), atol=1e-10)
