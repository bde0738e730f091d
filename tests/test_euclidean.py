"""Flat space against torch's own norms."""

import numpy as np
import pytest
import torch

from geowarp.manifolds import Euclidean


@pytest.mark.parametrize("ndim", [0, 1, 2])
@pytest.mark.parametrize("batch", [(), (3,), (0,), (2, 3)])
def test_contract(ndim: int, batch: tuple[int, ...]) -> None:
    flat = Euclidean(ndim)
    x, y = (flat.random(*batch, 4, 5, dtype=torch.float64).clone() for _ in range(2))
    dims = tuple(range(-ndim, 0))
    expected = torch.linalg.vector_norm(x - y, dim=dims) if dims else (x - y).abs()
    torch.testing.assert_close(flat.dist(x, y), expected)
    torch.testing.assert_close(flat.dist2(x, y), expected**2)
    torch.testing.assert_close(flat.norm(x, flat.logmap(x, y)), expected)
    torch.testing.assert_close(flat.expmap(x, flat.logmap(x, y)), y)
    assert flat.inner(x, y, keepdim=True).ndim == x.ndim
    flat.assert_check_point_on_manifold(x)
    flat.assert_check_vector_on_tangent(x, y)


def test_cdist_dim_values_and_errors() -> None:
    flat = Euclidean(2)
    x, y = flat.random(3, 4, 5).clone(), flat.random(2, 4, 5).clone()
    torch.testing.assert_close(flat.cdist(x, y), flat.dist(x[:, None], y))
    assert flat.dim((3, 4, 5)) == 20
    assert Euclidean().dim((3,)) == 1
    assert flat == Euclidean(2)
    assert flat != Euclidean(1)
    assert repr(flat) == "Euclidean(2)"
    assert not flat.origin(2, 2).any()
    with pytest.raises(ValueError, match=r"-1.*negative"):
        Euclidean(-1)


@pytest.mark.parametrize(("ndim", "shape"), [(0, ()), (1, (4,)), (2, (2, 3))])
def test_mean_geodesic_and_broadcasting(ndim: int, shape: tuple[int, ...]) -> None:
    flat = Euclidean(ndim)
    x = torch.randn(2, 6, *shape, dtype=torch.float64)
    weights = torch.rand(6, dtype=torch.float64)
    expected = np.average(x.numpy(), axis=1, weights=weights.numpy())
    np.testing.assert_allclose(flat.mean(x, weights), expected, atol=1e-15)
    torch.testing.assert_close(flat.mean(x), x.mean(1))
    a, b = x[:, :1], x[0, 1:4]
    for operation in (flat.logmap, flat.proju, flat.egrad2rgrad, flat.expmap, flat.retr):
        result = operation(a, b)
        assert result.shape == (2, 3, *shape)
        assert result.is_contiguous()
    assert flat.inner(a, b).shape == flat.dist(a, b).shape == (2, 3)
    assert flat.dist2(a, b, keepdim=True).shape == (2, 3, *[1] * ndim)
    assert flat.transp(a, b, a).shape == (2, 3, *shape)
    times = torch.tensor([0.0, 0.25], dtype=torch.float64)[:, None]
    torch.testing.assert_close(flat.geodesic(times, x[:, 0], x[:, 1])[1], 0.75 * x[:, 0] + 0.25 * x[:, 1])


def test_gradient_of_distance_at_equal_points_is_zero() -> None:
    x = torch.ones(3, requires_grad=True)
    Euclidean(1).dist(x, x.detach()).backward()
    assert x.grad is not None
    assert not x.grad.any()
