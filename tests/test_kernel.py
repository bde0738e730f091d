"""The step of orthonormal frames against the step by the contract, and the triangular factor near I."""

import pytest
import torch
from torch import Tensor

from geowarp.manifolds import AlphaMetric, CanonicalMetric, Grassmann, Stiefel
from geowarp.manifolds.linalg.near_identity import inverse_cholesky_near_identity
from geowarp.manifolds.orthonormal import OrthonormalFrames
from geowarp.optim.kernel import ContractKernel, FrameKernel, Kernel
from geowarp.optim.memory import Memory, stack


class ProjectingGrassmann(Grassmann):
    """Grassmann with projection in the place of parallel transport."""

    def transp(self, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        return self.proju(y, v)


FRAMES: list[OrthonormalFrames] = [
    *(Stiefel(), Stiefel(CanonicalMetric()), Stiefel(AlphaMetric(0.7)), Stiefel(AlphaMetric(-0.8))),
    Grassmann(),
]


@pytest.mark.parametrize("manifold", FRAMES, ids=repr)
@pytest.mark.parametrize("size", [(3, 7, 3), (2, 3, 6, 2), (4, 5, 5), (3, 6, 1), (0, 5, 2)], ids=str)
@pytest.mark.parametrize("length", [1e-3, 0.3, 30.0])
def test_frames_step_as_the_contract_says(
    manifold: OrthonormalFrames, size: tuple[int, ...], length: float
) -> None:
    x = manifold.random(*size, dtype=torch.float64).detach().clone()
    y, by_contract = x.clone(), ProjectingGrassmann() if isinstance(manifold, Grassmann) else manifold
    kernels: list[Kernel] = [FrameKernel(manifold, Memory()), ContractKernel(by_contract)]
    moments = [torch.zeros_like(x), torch.zeros_like(x)]
    points = [x, y]
    for _ in range(3):
        ambient = torch.randn_like(x)
        for i, kernel in enumerate(kernels):
            slope = kernel.slope(points[i], ambient)
            kernel.accumulate(slope, moments[i], 0.9, 0.1)
            if i == 0:
                ours = slope.squared, kernel.gradient(slope)
            else:
                torch.testing.assert_close(ours[0], slope.squared, rtol=1e-11, atol=1e-12)
                torch.testing.assert_close(ours[1], kernel.gradient(slope), rtol=1e-11, atol=1e-12)
            norm = manifold.norm(points[i], moments[i], keepdim=True)
            points[i] = kernel.move(
                points[i].clone(), moments[i], -length / (norm + 1e-3), moments[i]
            ).clone()
        torch.testing.assert_close(points[0], points[1], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("manifold", FRAMES, ids=repr)
def test_the_norm_of_a_gradient_that_is_almost_normal(manifold: OrthonormalFrames) -> None:
    """Near a solution the gradient of a trace is almost normal; the difference of squares would cancel."""
    x = manifold.random(2, 9, 3, dtype=torch.float64).detach().clone()
    symmetric = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    ambient = x @ symmetric + 1e-9 * manifold.proju(x, torch.randn_like(x))
    slope = FrameKernel(manifold, Memory()).slope(x, ambient)
    exact = manifold.inner(x, manifold.egrad2rgrad(x, ambient), keepdim=True)
    torch.testing.assert_close(slope.squared, exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("length", [0.0, 0.01, 0.9, 5.0, 1e4, 1e12])
@pytest.mark.parametrize("rank", [1, 8])
@pytest.mark.parametrize("manifold", FRAMES, ids=repr)
def test_frames_stay_orthonormal_in_float32(manifold: OrthonormalFrames, rank: int, length: float) -> None:
    x = manifold.random(4, 40, 8).detach().clone()
    u = manifold.proju(x, torch.randn(4, 40, rank) @ torch.randn(4, rank, 8))
    u = length * u / manifold.norm(x, u, keepdim=True)
    y = FrameKernel(manifold, Memory()).move(x, u, 1.0, None)
    assert (manifold.point_residual(y) < 2e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-4, 1e-2, 0.3, 0.5])
@pytest.mark.parametrize("k", [1, 2, 6])
def test_triangular_factor_near_the_identity(dtype: torch.dtype, distance: float, k: int) -> None:
    u = torch.randn(20, 9, k, dtype=torch.float64)
    u[:10] = u[:10, :, :1]  # rank one is the hardest
    u = u * (distance**0.5 / torch.linalg.matrix_norm(u, keepdim=True))
    matrix = torch.eye(k, dtype=torch.float64) + u.mT @ u
    exact = torch.linalg.inv(torch.linalg.cholesky(matrix)).mT
    factor = inverse_cholesky_near_identity(matrix.to(dtype), distance)
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_memory_is_kept_on_the_cpu_and_follows_shapes() -> None:
    memory = Memory()
    first = stack([torch.ones(2, 3), torch.zeros(2, 3)], memory, "x")
    assert stack([torch.zeros(2, 3), torch.ones(2, 3)], memory, "x") is first
    assert stack([torch.zeros(2, 3).double()] * 2, memory, "x").dtype == torch.float64
    assert stack([torch.tensor(1.0), torch.tensor(2.0)], memory, "y").tolist() == [1.0, 2.0]
    parts = memory.parts(stack([torch.zeros(3, 3).double()] * 2, memory, "x"))
    assert [part.shape for part in parts] == [(3, 3), (3, 3)]
    assert torch.equal(memory.parts(torch.ones(2, 4))[1], torch.ones(4))
