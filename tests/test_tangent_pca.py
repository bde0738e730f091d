"""Tangent principal components: against sklearn in flat space and pyriemann, and what holds everywhere."""

import geoopt
import numpy as np
import pytest
import torch
from pyriemann.tangentspace import TangentSpace
from sklearn.decomposition import PCA
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError
from geowarp.manifolds import (
    BuresWassersteinSPD,
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    Lorentz,
    Manifold,
    PoincareBall,
    ProductManifold,
    SpecialOrthogonal,
    Sphere,
    Stiefel,
)
from geowarp.manifolds.spd import AffineInvariantSPD
from geowarp.metrics import frechet_mean, pairwise_distance, tangent_pca

CASES = [
    (Euclidean(1), (4,)),
    (Sphere(), (4,)),
    (Grassmann(), (5, 2)),
    (Stiefel(), (4, 2)),
    (SpecialOrthogonal(), (3, 3)),
    (PoincareBall(), (3,)),
    (Lorentz(), (4,)),
    (AffineInvariantSPD(), (3, 3)),
    (LogCholeskySPD(), (3, 3)),
    (BuresWassersteinSPD(), (3, 3)),
    (ProductManifold((Sphere(), 3), (Euclidean(1), 2)), (5,)),
]
every = pytest.mark.parametrize(("manifold", "shape"), CASES, ids=lambda value: str(value))


def points(
    manifold: Manifold, shape: tuple[int, ...], *batch: int, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return ``(..., N, *shape)`` near a random point."""
    centre = manifold.random(*batch[:-1], 1, *shape, dtype=dtype).detach().as_subclass(Tensor)
    u = manifold.proju(centre, torch.randn(*batch, *shape, dtype=dtype))
    y: Tensor = manifold.expmap(centre, 0.3 * u / manifold.norm(centre, u, keepdim=True).clamp_min(1e-3))
    return y


def products(manifold: Manifold, mean: Tensor, u: Tensor) -> Tensor:
    """Return all inner products of ``(K, *point)``, one by one."""
    return torch.stack([torch.stack([manifold.inner(mean, a, b) for b in u]) for a in u])


@every
@pytest.mark.parametrize("count", [3, 30])
def test_components_are_orthonormal_and_reconstruct(
    manifold: Manifold, shape: tuple[int, ...], count: int
) -> None:
    x = points(manifold, shape, count)
    pca = tangent_pca(manifold, x)
    number = min(count, manifold.dim(shape))
    assert pca.components.shape == (number, *shape)
    assert manifold.dist(pca.mean, frechet_mean(manifold, x)) < 1e-10
    assert manifold.tangent_residual(pca.mean, pca.components).max() < 1e-10
    eye = torch.eye(number, dtype=torch.float64)
    torch.testing.assert_close(products(manifold, pca.mean, pca.components), eye, rtol=0, atol=1e-10)
    variance = manifold.dist2(pca.mean, x).mean()
    torch.testing.assert_close(pca.variances.sum(), variance, rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(pca.explained_ratio.sum(), torch.tensor(1.0).double(), rtol=1e-7, atol=0)
    assert (pca.variances.diff() <= 0).all()
    spread = pca.scores.mT @ pca.scores / count
    torch.testing.assert_close(spread, pca.variances.diag(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(pca.transform(x), pca.scores, rtol=1e-9, atol=1e-9)
    assert manifold.dist(pca.inverse_transform(pca.scores), x).max() < 1e-7
    few = tangent_pca(manifold, x, n_components=2)
    torch.testing.assert_close(few.variances, pca.variances[:2])
    torch.testing.assert_close(few.scores.abs(), pca.scores[:, :2].abs(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("count", "size"), [(4, 7), (50, 7), (7, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_space_is_that_of_sklearn(count: int, size: int, dtype: torch.dtype) -> None:
    x = torch.randn(count, size, dtype=dtype) @ torch.randn(size, size, dtype=dtype) + 3
    ours, theirs = tangent_pca(Euclidean(1), x), PCA().fit(x.double().numpy())
    tolerance = 2000 * torch.finfo(dtype).eps
    variances = theirs.explained_variance_ * (count - 1) / count
    np.testing.assert_allclose(ours.variances, variances, rtol=tolerance, atol=tolerance * variances[0])
    np.testing.assert_allclose(ours.explained_ratio, theirs.explained_variance_ratio_, atol=tolerance)
    firm = min(count - 1, size)
    overlap = (ours.components.double().numpy() * theirs.components_).sum(-1)[:firm]
    np.testing.assert_allclose(np.abs(overlap), 1, atol=1e-4 if dtype == torch.float32 else 1e-9)
    assert (ours.components.gather(-1, ours.components.abs().argmax(-1, keepdim=True)) > 0).all()


def test_tangent_space_of_pyriemann() -> None:
    x = points(AffineInvariantSPD(), (4, 4), 20)
    pca = tangent_pca(AffineInvariantSPD(), x)
    space = TangentSpace(metric="riemann")
    vectors = space.fit_transform(x.numpy())
    np.testing.assert_allclose(pca.mean, space.reference_, atol=1e-6)
    tangent = TangentSpace(metric="riemann")
    tangent.reference_ = pca.mean.numpy()
    vectors = tangent.transform(x.numpy())
    np.testing.assert_allclose(pca.scores @ pca.scores.mT, vectors @ vectors.T, atol=1e-9)
    theirs = np.linalg.eigvalsh(vectors.T @ vectors / 20)[::-1]
    np.testing.assert_allclose(pca.variances, theirs, atol=1e-10)


@every
def test_a_batch_is_its_problems(manifold: Manifold, shape: tuple[int, ...]) -> None:
    for count in (3, 20):
        x, weights = points(manifold, shape, 2, 1, count), torch.rand(2, 3, count).double() + 0.1
        batch = tangent_pca(manifold, x, weights, n_components=2)
        assert batch.scores.shape == (2, 3, count, 2)
        one = tangent_pca(manifold, x[1, 0], weights[1, 2], n_components=2)
        torch.testing.assert_close(batch.variances[1, 2], one.variances, rtol=1e-7, atol=1e-12)
        same = (batch.components[1, 2] * one.components).flatten(1).sum(-1).sign()
        torch.testing.assert_close(batch.scores[1, 2], one.scores * same, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(batch.transform(x), batch.scores, rtol=1e-8, atol=1e-8)


def test_weights_are_repetitions() -> None:
    x = points(Grassmann(), (5, 2), 4)
    repeated = tangent_pca(Grassmann(), x.repeat_interleave(torch.tensor([3, 1, 1, 2]), 0), n_components=3)
    weighted = tangent_pca(Grassmann(), x, torch.tensor([3.0, 1.0, 1.0, 2.0]), n_components=3)
    torch.testing.assert_close(weighted.variances, repeated.variances, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(weighted.explained_ratio, repeated.explained_ratio, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_without_spread(count: int, dtype: torch.dtype) -> None:
    x = Sphere().random(6, dtype=dtype).detach().as_subclass(Tensor).expand(count, 6).clone()
    pca = tangent_pca(Sphere(), x)
    assert pca.variances.max() < 1e-12
    eye = torch.eye(len(pca.components), dtype=dtype)
    tolerance = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(pca.components @ pca.components.mT, eye, rtol=0, atol=tolerance)
    assert (pca.components @ pca.mean).abs().max() < tolerance
    assert pca.explained_ratio.isfinite().all()


def test_a_given_point_of_tangency() -> None:
    x, mean = points(Sphere(), (3,), 9), torch.eye(3, dtype=torch.float64)[0]
    x = torch.cat([x[:, :1].abs(), x[:, 1:]], -1)
    pca = tangent_pca(Sphere(), x, mean=mean)
    u = Sphere().logmap(mean, x)[:, 1:]
    torch.testing.assert_close(pca.variances, torch.linalg.eigvalsh(u.mT @ u / 9).flip(-1))
    assert torch.equal(pca.mean, mean)


def test_manifolds_of_geoopt() -> None:
    ball = geoopt.PoincareBall()
    x = ball.expmap0(0.3 * torch.randn(8, 3, dtype=torch.float64))
    pca = tangent_pca(ball, x)
    assert pca.components.shape == (3, 3)
    torch.testing.assert_close(pca.inverse_transform(pca.scores), x)
    sphere = tangent_pca(geoopt.Sphere(), points(Sphere(), (3,), 3))
    assert sphere.components.shape == (2, 3)
    assert tangent_pca(geoopt.Euclidean(1), x).components.shape == (3, 3)


def test_numpy_and_gradients_of_the_transformation() -> None:
    x = points(Sphere(), (4,), 6)
    pca, arrays = tangent_pca(Sphere(), x), tangent_pca(Sphere(), x.numpy())
    assert isinstance(arrays.components, np.ndarray)
    np.testing.assert_allclose(arrays.transform(x[:2].numpy()), pca.transform(x[:2]).numpy(), atol=1e-12)
    again = arrays.inverse_transform(arrays.scores)
    assert isinstance(again, np.ndarray)
    np.testing.assert_allclose(again, x.numpy(), atol=1e-9)
    assert torch.autograd.gradcheck(lambda y: pca.transform(Sphere().projx(y)), x.requires_grad_())
    assert torch.autograd.gradcheck(pca.inverse_transform, pca.scores.requires_grad_())
    assert not tangent_pca(Sphere(), x).components.requires_grad


def test_scores_are_least_squares_coordinates() -> None:
    x = points(Grassmann(), (6, 2), 10)
    pca = tangent_pca(Grassmann(), x, n_components=2)
    near = pairwise_distance(Grassmann(), pca.inverse_transform(pca.scores), x).diagonal()
    for _ in range(10):
        other = pca.scores + 0.05 * torch.randn_like(pca.scores)
        u = Grassmann().logmap(pca.mean, x) - (other @ pca.components.flatten(1)).unflatten(-1, (6, 2))
        best = Grassmann().logmap(pca.mean, x) - (pca.scores @ pca.components.flatten(1)).unflatten(
            -1, (6, 2)
        )
        assert (torch.linalg.matrix_norm(u) >= torch.linalg.matrix_norm(best)).all()
    assert near.max() < 0.6


def test_errors() -> None:
    x = points(Sphere(), (3,), 5)
    for number in (0, 3):
        with pytest.raises(
            GeowarpError, match=f"n_components is {number}; 5 points .* dimension 2 have 1 to 2"
        ):
            tangent_pca(Sphere(), x, n_components=number)
    with pytest.raises(NotOnManifoldError, match="mean"):
        tangent_pca(Sphere(), x, mean=torch.ones(3).double())
    with pytest.raises(GeowarpError, match="negative"):
        tangent_pca(Sphere(), x, -torch.ones(5))
    with pytest.raises(GeowarpError, match=r"\(1, 3\) and there are 2 components"):
        tangent_pca(Sphere(), x).inverse_transform(torch.zeros(1, 3).double())


def test_in_inference_mode_and_of_its_tensors() -> None:
    for manifold, shape in (
        (AffineInvariantSPD(), (3, 3)),
        (Sphere(), (4,)),
        (BuresWassersteinSPD(), (2, 2)),
    ):
        x = manifold.random(6, *shape, dtype=torch.float64).detach().clone()
        expected = tangent_pca(manifold, x, n_components=1)
        with torch.inference_mode():
            inside = x.clone()
            result = tangent_pca(manifold, inside, n_components=1)
            torch.testing.assert_close(result.scores, expected.scores, rtol=0, atol=0)
            torch.testing.assert_close(result.transform(inside), expected.scores)
        torch.testing.assert_close(tangent_pca(manifold, inside, n_components=1).scores, expected.scores)
