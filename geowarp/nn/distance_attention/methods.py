"""Ways to compute an attention, as values: fused, in blocks, or by the matrix of weights."""

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import GeowarpError, UnavailableError
from .blockwise import blockwise_average
from .fused import fused_average
from .problem import Problem
from .reference import average_by_matrix

__all__ = ["Blockwise", "Fused", "Method", "Reference", "choose_method"]

_FEW = 1 << 16  # pairs up to which the matrix of the weights costs less than blocks of it


class Method(abc.ABC):
    """How the averages of values by the weights of a problem are computed.

    Example:
        >>> isinstance(Reference(), Method)
        True
    """

    @abc.abstractmethod
    def average(self, problem: Problem, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the averages ``(..., N, d)`` of vectors ``(..., M, d)``, with products in a dtype."""


@dataclass(frozen=True)
class Reference(Method):
    """By the N x M matrix of the weights: the exact form that the others are tested against.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import manifold_attention
        >>> x = torch.eye(2)
        >>> manifold_attention(x, x, x, Sphere(), method=Reference())
        tensor([[0.9218, 0.0782],
                [0.0782, 0.9218]])
    """

    def average(self, problem: Problem, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the averages by the matrix."""
        return average_by_matrix(problem, values)


@dataclass(frozen=True)
class Fused(Method):
    """By one call of ``scaled_dot_product_attention``, where the score has ``features`` on the manifold.

    Raises:
        UnavailableError: where it has none.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import ChordalSquaredDistance, manifold_attention
        >>> x = torch.eye(2)
        >>> manifold_attention(x, x, x, Sphere(), score=ChordalSquaredDistance(), method=Fused())
        tensor([[0.8808, 0.1192],
                [0.1192, 0.8808]])
    """

    def average(self, problem: Problem, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the averages by inner products."""
        features = problem.features()
        if features is None:
            raise UnavailableError(
                f"Fused: {problem.score!r} on {problem.manifold!r} is no inner product; use Blockwise(), or "
                "ChordalSquaredDistance() for the score"
            )
        return fused_average(problem, features, values, dtype)


@dataclass(frozen=True)
class Blockwise(Method):
    """Block after block of pairs, with memory O(N + M): for any manifold and score.

    Weights are computed again in the backward pass, which can be differentiated once. For the geodesic
    distance of ``PoincareBall`` and ``Lorentz`` a block is a matrix product and few operations on each entry.

    Args:
        pairs: about how many pairs a block has; by default half a million of hyperbolic distances, and
            of others some thousands, fewer of larger points; more on other devices.

    Raises:
        GeowarpError: for fewer than 1.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import manifold_attention
        >>> x = torch.eye(2)
        >>> manifold_attention(x, x, x, Sphere(), method=Blockwise())
        tensor([[0.9218, 0.0782],
                [0.0782, 0.9218]])
    """

    pairs: int | None = None

    def __post_init__(self) -> None:
        if self.pairs is not None and self.pairs < 1:
            raise GeowarpError(f"Blockwise: pairs = {self.pairs}; a block has at least 1")

    def average(self, problem: Problem, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the averages, block after block."""
        return blockwise_average(problem, values, self.pairs)


def choose_method(problem: Problem) -> Method:
    """Return ``Reference()`` for few pairs and while compiling, else ``Blockwise()``.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import SquaredDistance
        >>> from .problem import attention_problem
        >>> choose_method(attention_problem(torch.eye(2), torch.eye(2), Sphere(), 1.0, SquaredDistance()))
        Reference()
    """
    few = problem.batch().numel() * problem.queries * problem.keys <= _FEW
    if few or torch.compiler.is_compiling():
        return Reference()
    return Blockwise()
