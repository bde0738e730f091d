"""Chordal means against the eigenvectors of the explicit sum of projectors."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError, NumericalWarning
from geowarp.manifolds import Grassmann
from geowarp.metrics import Chordal, chordal_mean, frechet_mean

GR = Grassmann()


def subspaces(*shape: int, spread: float = 0.3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return ``(..., N, n, k)`` around a random subspace."""
    centre = GR.random(*shape[:-3], 1, *shape[-2:], dtype=dtype).detach().as_subclass(Tensor)
    u = GR.proju(centre, torch.randn(*shape, dtype=dtype))
    return GR.expmap(centre, spread * u / shape[-2] ** 0.5)


def explicit(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the projector on the top k eigenvectors of ``Σ w_i x_i x_iᵀ``, and the eigengap."""
    k = x.shape[-1]
    values, vectors = torch.linalg.eigh((weights[..., None, None] * (x @ x.mT)).sum(-3))
    top = vectors[..., -k:]
    gap = values[..., -k] - values[..., -k - 1] if k < x.shape[-2] else values[..., 0]
    return top @ top.mT, gap


# by the Gram matrix, and by iteration: few and many points of a small and of a large space
SHAPES = [(4, 30, 2), (3, 9, 2), (12, 6, 2), (50, 40, 3), (7, 5, 5), (1, 8, 3), (5, 4, 1), (200, 12, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spread", [1e-6, 0.5, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_explicit_eigenvectors(shape: tuple[int, ...], spread: float, dtype: torch.dtype) -> None:
    x = subspaces(2, *shape, spread=spread, dtype=dtype)
    weights = torch.rand(2, shape[0], dtype=dtype) + 0.1
    result = chordal_mean(x, weights, return_info=True)
    normalized = weights.double() / weights.double().sum(-1, keepdim=True)
    projector, gap = explicit(x.double(), normalized)
    eps = torch.finfo(dtype).eps
    assert (result.eigengap - gap).abs().max() < 64 * eps
    assert result.converged.all()
    assert result.unique.all()
    error = torch.linalg.matrix_norm((result.mean @ result.mean.mT).double() - projector)
    assert (error < 100 * eps / gap).all()
    assert GR.point_residual(result.mean).max() < 30 * eps
    assert torch.equal(chordal_mean(x, weights), result.mean)


def test_it_minimises_the_chordal_distances() -> None:
    x = subspaces(6, 9, 2, spread=0.6)
    mean = chordal_mean(x)
    least = Chordal()(mean, x).square().sum()
    for scale in (1e-3, 0.1, 1.0):
        u = GR.proju(mean, torch.randn(30, 9, 2, dtype=torch.float64))
        assert (Chordal()(GR.expmap(mean, scale * u)[:, None], x).square().sum(-1) > least).all()
    close = subspaces(6, 9, 2, spread=1e-3)
    assert GR.dist(chordal_mean(close), frechet_mean(GR, close)) < 1e-8


def test_batched_weights() -> None:
    for n in (40, 5):
        x = subspaces(3, 1, 6, n, 2)
        weights = torch.rand(3, 4, 6, dtype=torch.float64)
        means = chordal_mean(x, weights)
        assert means.shape == (3, 4, n, 2)
        for i in range(3):
            for j in range(4):
                torch.testing.assert_close(
                    GR.dist(means[i, j], chordal_mean(x[i, 0], weights[i, j])),
                    torch.tensor(0.0, dtype=torch.float64),
                    rtol=0,
                    atol=1e-13,
                )
    one = chordal_mean(x[:, 0], torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 0.0]).double())
    assert GR.dist(one, x[:, 0, 2]).max() < 1e-14
    assert chordal_mean(x[:0, 0]).shape == (0, 5, 2)


@pytest.mark.parametrize("shape", [(4, 20, 3), (8, 6, 3), (5, 7, 1)], ids=str)
def test_gradients_are_those_of_the_explicit_eigenvectors(shape: tuple[int, ...]) -> None:
    x = subspaces(2, *shape, spread=0.8)
    weights = torch.rand(2, shape[0], dtype=torch.float64) + 0.2
    target = torch.randn(shape[-2], shape[-2], dtype=torch.float64)
    gradients = []
    for implicit in (True, False):
        a, w = x.clone().requires_grad_(), weights.clone().requires_grad_()
        if implicit:
            mean = chordal_mean(a, w)
            projector = mean @ mean.mT
        else:
            projector, _ = explicit(a, w / w.sum(-1, keepdim=True))
        at_x, at_w = torch.autograd.grad((projector * target).sum(), (a, w))
        gradients.append((GR.proju(x, at_x), at_w))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_gradient_with_batched_weights() -> None:
    x = subspaces(2, 1, 5, 12, 2)
    weights = torch.rand(2, 3, 5, dtype=torch.float64)
    a, w = x.clone().requires_grad_(), weights.clone().requires_grad_()
    target = GR.random(12, 2, dtype=torch.float64).detach()
    at_x, at_w = torch.autograd.grad(Chordal()(chordal_mean(a, w), target).sum(), (a, w))
    b, v = x.expand(2, 3, 5, 12, 2).clone().requires_grad_(), weights.clone().requires_grad_()
    each, at_v = torch.autograd.grad(Chordal()(chordal_mean(b, v), target).sum(), (b, v))
    torch.testing.assert_close(at_x, each.sum(1, keepdim=True))
    torch.testing.assert_close(at_w, at_v)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_at_repeated_eigenvalues(dtype: torch.dtype) -> None:
    """Two points turned by one angle against each other: both eigenvalues are ``(1 + cosθ) / 2``."""
    angle = torch.tensor(0.8, dtype=dtype)
    eye = torch.eye(4, dtype=dtype)
    x = torch.stack([eye[:, :2], eye[:, :2] * angle.cos() + eye[:, 2:] * angle.sin()]).requires_grad_()
    result = chordal_mean(x, return_info=True)
    torch.testing.assert_close(result.eigenvalues, (0.5 * (1 + angle.cos())).expand(2))
    torch.testing.assert_close(result.eigengap, angle.cos())
    (gradient,) = torch.autograd.grad(Chordal()(result.mean, eye[:, :2]), x)
    # moving the second point on by du moves the mean by du / 2, and Chordal is √2 sin of half the angle
    step = -eye[:, :2] * angle.sin() + eye[:, 2:] * angle.cos()
    expected = 2**0.5 * (angle / 2).cos() / 2
    torch.testing.assert_close((gradient[1] * step).sum(), expected, rtol=1e-5, atol=1e-6)


def test_a_mean_that_is_not_unique_is_announced() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    for x in (torch.stack([eye[:, :2], eye[:, 2:]]), torch.stack([eye[:, :1], eye[:, 1:2]])):
        with pytest.warns(NumericalWarning, match=r"1 of 1 means are not unique; the smallest eigengap is"):
            result = chordal_mean(x, return_info=True)
        assert not result.unique
        assert result.eigengap < 1e-14
        assert GR.point_residual(result.mean) < 1e-14
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            (gradient,) = torch.autograd.grad(chordal_mean(a := x.clone().requires_grad_()).sum(), a)
        assert gradient.isfinite().all()


def test_no_matrix_of_the_whole_space() -> None:
    x = subspaces(3, 50_000, 2, dtype=torch.float32)  # 10 GB as one matrix
    assert chordal_mean(x.requires_grad_()).shape == (50_000, 2)
    weights = torch.rand(3)
    (gradient,) = torch.autograd.grad(Chordal()(chordal_mean(x, weights), x[0].detach()), x)
    assert gradient.isfinite().all()


def test_numpy_and_errors() -> None:
    x = subspaces(3, 6, 2)
    result = chordal_mean(x.numpy(), return_info=True)
    assert isinstance(result.mean, np.ndarray)
    np.testing.assert_array_equal(result.mean, chordal_mean(x).numpy())
    assert result.unique
    with pytest.raises(NotOnManifoldError, match=r"x\[0\]"):
        chordal_mean(2 * x)
    with pytest.raises(GeowarpError, match="negative"):
        chordal_mean(x, torch.tensor([1.0, -1.0, 1.0]))
    with pytest.raises(GeowarpError, match="N > 0"):
        chordal_mean(x[:0])
