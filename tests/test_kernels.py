"""Kernels: values, gradients, and which of them are positive definite."""

import math

import geoopt
import numpy as np
import pytest
import torch
from torch import Tensor

from geowarp.errors import GeowarpError, NotOnManifoldError
from geowarp.manifolds import (
    Euclidean,
    Grassmann,
    LogCholeskySPD,
    LogEuclideanSPD,
    Manifold,
    PoincareBall,
    Sphere,
)
from geowarp.manifolds.spd import AffineInvariantSPD
from geowarp.metrics import (
    BinetCauchy,
    Chordal,
    SubspaceDistance,
    binet_cauchy_kernel,
    gaussian_kernel,
    pairwise_distance,
    projection_kernel,
)

BANDWIDTHS = [0.1, 0.5, 1.0, 2.0, 5.0, 20.0]


def points(manifold: Manifold, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return manifold.random(*shape, dtype=dtype).detach().as_subclass(Tensor)


def spd(count: int) -> Tensor:
    """Return matrices of widely different eigenvectors and eigenvalues."""
    factor = torch.randn(count, 3, 3, dtype=torch.float64)
    matrices: Tensor = torch.linalg.matrix_exp(factor + factor.mT)
    return matrices


def least_eigenvalue(kernel: Tensor) -> float:
    return float(torch.linalg.eigvalsh(0.5 * (kernel + kernel.mT))[0])


def test_gaussian_is_that_of_the_distance() -> None:
    x, y = points(Sphere(), 2, 4, 3), points(Sphere(), 2, 5, 3)
    for width in (0.3, torch.tensor(0.7), torch.tensor([[[0.5]], [[2.0]]])):
        expected = torch.exp(-(pairwise_distance(Sphere(), x, y) ** 2) / (2 * width**2))
        torch.testing.assert_close(gaussian_kernel(Sphere(), x, y, width), expected)
    whole = gaussian_kernel(Sphere(), x)
    assert torch.equal(whole.diagonal(dim1=-2, dim2=-1), torch.ones(2, 4, dtype=torch.float64))
    ball = geoopt.PoincareBall()
    assert gaussian_kernel(ball, 0.1 * x, bandwidth=2.0).shape == (2, 4, 4)
    array = gaussian_kernel(Sphere(), x.numpy(), y.numpy(), 0.3)
    assert isinstance(array, np.ndarray)
    np.testing.assert_allclose(array, gaussian_kernel(Sphere(), x, y, 0.3).numpy())


def test_gaussian_gradients_reach_the_bandwidth() -> None:
    x, width = (
        points(Sphere(), 4, 3).requires_grad_(),
        torch.tensor(0.7, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(
        lambda a, w: gaussian_kernel(Sphere(), Sphere().projx(a), None, w), (x, width)
    )


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_gaussian_of_distances_of_a_euclidean_space_is_positive(bandwidth: float) -> None:
    matrices, subspaces = spd(30), points(Grassmann(), 30, 4, 2)
    kernels = [
        gaussian_kernel(Euclidean(1), torch.randn(30, 3).double(), bandwidth=bandwidth),
        gaussian_kernel(LogEuclideanSPD(), matrices, bandwidth=bandwidth),
        gaussian_kernel(LogCholeskySPD(), matrices, bandwidth=bandwidth),
        gaussian_kernel(Grassmann(), subspaces, bandwidth=bandwidth, distance=Chordal()),
    ]
    assert min(map(least_eigenvalue, kernels)) > -1e-13


def test_gaussian_of_geodesic_distances_is_not_positive_for_some_bandwidth() -> None:
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    lines = torch.stack([(angle / 2).cos(), (angle / 2).sin()], -1)[..., None]
    plane = 0.9 * torch.cat([circle, torch.zeros(1, 2)])
    for manifold, x in (
        (Sphere(), circle),
        (Grassmann(), lines),
        (PoincareBall(), plane),
        (AffineInvariantSPD(), spd(30)),
    ):
        least = min(least_eigenvalue(gaussian_kernel(manifold, x, bandwidth=b)) for b in BANDWIDTHS)
        assert least < -1e-6, manifold


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_of_subspaces(dtype: torch.dtype) -> None:
    x, y = points(Grassmann(), 2, 6, 5, 2, dtype=dtype), points(Grassmann(), 5, 5, 2, dtype=dtype)
    tolerance = 20 * torch.finfo(dtype).eps
    products = x[:, :, None].mT @ y
    torch.testing.assert_close(
        projection_kernel(x, y), products.square().sum((-2, -1)), rtol=tolerance, atol=tolerance
    )
    torch.testing.assert_close(
        binet_cauchy_kernel(x, y), torch.linalg.det(products).square(), rtol=tolerance, atol=tolerance
    )
    chordal, volume = Chordal().pairwise(x, y), BinetCauchy().pairwise(x, y)
    torch.testing.assert_close(projection_kernel(x, y), 2 - chordal**2, rtol=0, atol=tolerance)
    torch.testing.assert_close(binet_cauchy_kernel(x, y), 1 - volume**2, rtol=0, atol=tolerance)
    assert projection_kernel(x, y[..., :1].contiguous()).shape == (2, 6, 5)
    assert projection_kernel(x[:, :0], y).shape == (2, 0, 5)
    assert binet_cauchy_kernel(x[:0], y).shape == (0, 6, 5)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kernels_of_subspaces_are_positive(k: int) -> None:
    x = points(Grassmann(), 40, 5, k)
    for kernel in (projection_kernel(x), binet_cauchy_kernel(x)):
        assert least_eigenvalue(kernel) > -1e-12
        torch.testing.assert_close(kernel, kernel.mT)


@pytest.mark.parametrize("kernel", [projection_kernel, binet_cauchy_kernel])
def test_gradients_of_kernels_of_subspaces(kernel) -> None:  # type: ignore[no-untyped-def]
    x, y = points(Grassmann(), 3, 5, 2), points(Grassmann(), 4, 5, 2)
    y[0] = x[0]
    y[1] = torch.linalg.qr(torch.cat([x[1], torch.randn(5, 3).double()], -1))[0][:, 2:4]  # orthogonal to x[1]
    inputs = x.requires_grad_(), y.requires_grad_()
    project = Grassmann().projx
    assert torch.autograd.gradcheck(lambda a, b: kernel(project(a), project(b)), inputs)
    flat = torch.eye(6, dtype=torch.float64)
    a = flat[None, :, :3].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(kernel(a, flat[None, :, 3:].contiguous()).sum(), a)
    assert (gradient == 0).all()


def test_errors() -> None:
    x = points(Grassmann(), 4, 5, 2)
    for width in (0.0, -1.0, torch.tensor([1.0, 0.0, 1.0, 1.0])):
        with pytest.raises(GeowarpError, match=r"bandwidth is .*; it must be positive"):
            gaussian_kernel(Grassmann(), x, bandwidth=width)
    with pytest.raises(GeowarpError, match="2 and 1 dimensions"):
        binet_cauchy_kernel(x, x[..., :1].contiguous())
    with pytest.raises(NotOnManifoldError, match=r"x\[0\]"):
        projection_kernel(2 * x)
    with pytest.raises(GeowarpError, match=r"\(..., N, n, k\)"):
        projection_kernel(x[0])
    distance: SubspaceDistance = Chordal()
    assert gaussian_kernel(Grassmann(), x, x[..., :1].contiguous(), distance=distance).shape == (4, 4)
