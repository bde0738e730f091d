"""Kernels of points: Gaussian ones of a distance, and those of subspaces."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .._geoopt import geoopt
from ..errors import GeowarpError
from ..manifolds.linalg import full_precision
from ..manifolds.linalg.broadcasting import broadcast_shapes
from ..manifolds.linalg.differentiation import once_differentiable
from .arrays import Array, accepts_arrays, tensors
from .bases import check_bases
from .pairwise import Distance, check_sets, table
from .subspace_pairs import blocks_of, combine, products_of
from .subspace_volume import product_of_others

__all__ = ["binet_cauchy_kernel", "gaussian_kernel", "projection_kernel"]


@accepts_arrays
def gaussian_kernel(
    manifold: geoopt.Manifold,
    x: Array,
    y: Array | None = None,
    bandwidth: float | Array = 1.0,
    distance: Distance | None = None,
) -> Array:
    """Return ``exp(−dist(x_i, y_j)² / (2σ²))``, ``(..., N, M)``.

    A kernel of Gaussian form is positive definite for every bandwidth only where the distance is that of some
    Euclidean space: on ``Euclidean``, ``LogEuclideanSPD`` and ``LogCholeskySPD``, and on ``Grassmann`` with
    ``distance=Chordal()``. With the geodesic distances of ``Sphere``, ``Grassmann``, ``AffineInvariantSPD``
    and hyperbolic space there are points and bandwidths for which the matrix has negative eigenvalues: such a
    kernel is no inner product, and support vector machines or Gaussian processes need not work with it.

    Args:
        manifold: any manifold of geowarp, or one of geoopt with ``dist``.
        x: ``(..., N, *point)``.
        y: ``(..., M, *point)``; by default x.
        bandwidth: σ, positive; a tensor broadcasts with ``(..., N, M)``.
        distance: in place of the manifold's own, such as ``Chordal()`` on ``Grassmann()``.

    Raises:
        GeowarpError: for a bandwidth that is not positive, and shapes that do not fit together.
        NotOnManifoldError: for tensors that are not points of the manifold.
        NonFiniteError: for points that are infinite or not a number.

    References:
        Jayasumana, Hartley, Salzmann, Li, Harandi, Kernel methods on Riemannian manifolds with Gaussian RBF
        kernels, IEEE Trans. Pattern Anal. Mach. Intell. 37 (2015); Feragen, Lauze, Hauberg, Geodesic
        exponential kernels: when curvature and linearity conflict, CVPR 2015.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> gaussian_kernel(Euclidean(0), torch.tensor([0.0, 1.0, 2.0]), bandwidth=1.0)
        tensor([[1.0000, 0.6065, 0.1353],
                [0.6065, 1.0000, 0.6065],
                [0.1353, 0.6065, 1.0000]])
    """
    first, second, width = tensors(x, x if y is None else y, bandwidth)
    check_sets("gaussian_kernel", manifold, first, second, alike=distance is None)
    if not bool(torch.as_tensor(width > 0).all()):
        least = torch.as_tensor(width).min().item()
        raise GeowarpError(f"gaussian_kernel: the bandwidth is {least:.1e}; it must be positive")
    scaled = table(manifold, first, second, distance) / width
    kernel: Array = tensors((-0.5 * scaled.square()).exp())
    return kernel


@accepts_arrays
def projection_kernel(x: Array, y: Array | None = None) -> Array:
    """Return ``‖x_iᵀ y_j‖_F² = Σcos²θ``, ``(..., N, M)``.

    The inner product of the projectors ``x xᵀ``, and so positive semidefinite. Of subspaces of equal
    dimension it is ``k − d²``, d the chordal distance. By one product of all the bases, in blocks of rows.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        y: orthonormal columns, ``(..., M, n, l)``; by default x.

    Raises:
        GeowarpError: for shapes that do not fit together, and columns that are not orthonormal.

    References:
        Hamm, Lee, Grassmann discriminant analysis: a unifying view on subspace-based learning, ICML 2008.

    Example:
        >>> projection_kernel(torch.eye(3)[:, :2].expand(2, 3, 2))
        tensor([[2., 2.],
                [2., 2.]])
    """
    first, second = tensors(x, x if y is None else y)
    check_bases("projection_kernel", first, second, sets=True)
    kernel: Array = tensors(_kernel(first, second, _SumOfSquares()))
    return kernel


@accepts_arrays
def binet_cauchy_kernel(x: Array, y: Array | None = None) -> Array:
    """Return ``det(x_iᵀ y_j)² = Πcos²θ``, ``(..., N, M)``.

    The square of the inner product of the volume elements of the subspaces, and so positive semidefinite. It
    is ``1 − d²``, d the Binet–Cauchy distance.

    Args:
        x: orthonormal columns, ``(..., N, n, k)``.
        y: orthonormal columns, ``(..., M, n, k)``; by default x.

    Raises:
        GeowarpError: for shapes that do not fit together, and columns that are not orthonormal.

    References:
        Wolf, Shashua, Learning over sets using kernel principal angles, J. Mach. Learn. Res. 4 (2003);
        Vishwanathan, Smola, Binet-Cauchy kernels, NIPS 2004.

    Example:
        >>> x = torch.stack([torch.eye(3)[:, :2], torch.eye(3)[:, 1:]])
        >>> binet_cauchy_kernel(x)
        tensor([[1., 0.],
                [0., 1.]])
    """
    first, second = tensors(x, x if y is None else y)
    check_bases("binet_cauchy_kernel", first, second, sets=True)
    if first.shape[-1] != second.shape[-1]:
        raise GeowarpError(
            f"binet_cauchy_kernel: the subspaces have {first.shape[-1]} and {second.shape[-1]} dimensions; "
            f"they need equally many"
        )
    kernel: Array = tensors(_kernel(first, second, _SquaredDeterminant()))
    return kernel


class _OfProducts(Protocol):
    """A function of ``yᵀx``, ``(..., l, k)``, and its derivative, of the same shape."""

    def value(self, products: Tensor) -> Tensor: ...

    def derivative(self, products: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class _SumOfSquares:
    def value(self, products: Tensor) -> Tensor:
        return products.square().sum((-2, -1))

    def derivative(self, products: Tensor) -> Tensor:
        return 2 * products


@dataclass(frozen=True)
class _SquaredDeterminant:
    def value(self, products: Tensor) -> Tensor:
        determinant: Tensor = torch.linalg.det(products)
        return determinant.square()

    def derivative(self, products: Tensor) -> Tensor:
        u, cosine, vh = torch.linalg.svd(products)
        weight = 2 * cosine.prod(-1, keepdim=True) * product_of_others(cosine)
        derivative: Tensor = (u * weight[..., None, :]) @ vh
        return derivative


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, kernel: _OfProducts) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.kernel = kernel
        blocks = [kernel.value(products_of(x[:, rows], y)) for rows in blocks_of(x, y)]
        return torch.cat(blocks, 1) if blocks else x.new_zeros(x.shape[0], 0, y.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, y = ctx.saved_tensors
        at_x, at_y = torch.zeros_like(x), torch.zeros_like(y)
        for rows in blocks_of(x, y):
            weight = grad[:, rows, :, None, None] * ctx.kernel.derivative(products_of(x[:, rows], y))
            at_x[:, rows] = combine(y, weight)
            at_y += combine(x[:, rows], weight.transpose(1, 2).mT)
        return at_x, at_y, None


@full_precision
def _kernel(x: Tensor, y: Tensor, kernel: _OfProducts) -> Tensor:
    batch = broadcast_shapes(x.shape[:-3], y.shape[:-3])
    sizes = x.shape[-3], y.shape[-3]
    x, y = (
        bases.expand(*batch, *bases.shape[-3:]).reshape(batch.numel(), *bases.shape[-3:]) for bases in (x, y)
    )
    value: Tensor = _Kernel.apply(x, y, kernel)  # type: ignore[no-untyped-call]
    return value.reshape(*batch, *sizes)
