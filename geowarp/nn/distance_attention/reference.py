"""The slow exact way: the matrix of the weights."""

import torch
from torch import Tensor

from .problem import Problem

__all__ = ["average_by_matrix", "softmax_weights", "weights_of"]


def softmax_weights(logits: Tensor) -> Tensor:
    """Return the softmax over the last dimension, and 0 in rows of −∞ and in rows of no entries.

    Example:
        >>> softmax_weights(torch.tensor([[0.0, -torch.inf], [-torch.inf, -torch.inf]]))
        tensor([[1., 0.],
                [0., 0.]])
    """
    if logits.shape[-1] == 0:
        return logits
    largest = logits.detach().amax(-1, keepdim=True)
    weights = (logits - torch.where(largest.isneginf(), 0, largest)).exp()
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, 1)


def weights_of(problem: Problem) -> Tensor:
    """Return the weights ``(..., N, M)`` of a problem.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import Uniform
        >>> from .problem import attention_problem
        >>> weights_of(attention_problem(torch.eye(2), torch.eye(2), Sphere(), 1.0, Uniform()))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    return softmax_weights(problem.logits())


def average_by_matrix(problem: Problem, values: Tensor) -> Tensor:
    """Return the averages ``(..., N, e)`` of vectors ``(..., M, e)``, with memory for N M numbers."""
    return weights_of(problem) @ values
