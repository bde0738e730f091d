"""Real powers of positive definite matrices, differentiable in the matrix and in the exponent."""

import math

import torch
from torch import Tensor

from ..linalg import sym
from ..linalg.dimensions import append_dimensions
from ..linalg.eigenfunction import symmetric_function
from ..linalg.precision import working_precision
from ..linalg.spectral import exp, log, sqrt
from ..linalg.threads import is_concrete, over_threads
from .points import nearly_positive, not_definite

__all__ = ["decomposition", "matrix_power", "symmetric_product"]


def decomposition(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues ``(..., n)``, smallest first, and the vectors of positive definite matrices.

    Computed in float64, and of the dtype of x. On other devices than the CPU, and while compiling, nothing is
    checked.

    Raises:
        NotOnManifoldError: for a matrix with an eigenvalue that is not positive and finite.

    Example:
        >>> decomposition(torch.tensor([[4.0]]))
        (tensor([4.]), tensor([[1.]]))
    """
    with torch.no_grad():
        wide = working_precision(x)
        eigenvalues, vectors = (part.to(x.dtype) for part in over_threads(torch.linalg.eigh, wide))
        positive = (eigenvalues > 0) & (eigenvalues < math.inf)
    if is_concrete(x) and not bool(positive.all()):
        raise not_definite(x, ~positive.all(-1))
    return eigenvalues, vectors


def matrix_power(t: Tensor | float, x: Tensor) -> Tensor:
    """Return ``x^t = exp(t log x)``, computed in float64, ``(..., n, n)``.

    Args:
        t: a number, or a tensor that broadcasts with the batch dimensions of x.
        x: positive definite, ``(..., n, n)``.

    Example:
        >>> matrix_power(torch.tensor([0.5, -1.0]), torch.tensor([[4.0]]))
        tensor([[[2.0000]],
        <BLANKLINE>
                [[0.2500]]])
    """
    wide = working_precision(x)
    eigenvalues, vectors = decomposition(wide)
    time = torch.as_tensor(t, dtype=wide.dtype, device=x.device)
    logarithm = symmetric_function(wide, log, decomposition=(eigenvalues, vectors))
    exponents = append_dimensions(time, 2) * logarithm
    with torch.no_grad():
        known = append_dimensions(time, 1) * eigenvalues.log(), vectors
    return nearly_positive(sym(symmetric_function(exponents, exp, decomposition=known)).to(x.dtype))


def symmetric_product(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x^½ y x^½``, computed in float64, ``(..., n, n)``.

    Example:
        >>> symmetric_product(torch.tensor([[4.0]]), torch.tensor([[3.0]]))
        tensor([[12.]])
    """
    wide = working_precision(x)
    root = symmetric_function(wide, sqrt, decomposition=decomposition(wide))
    return nearly_positive(sym(root @ working_precision(y) @ root).to(x.dtype))
