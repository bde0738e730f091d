"""The logits of a block of pairs, and their gradients: what the blockwise path asks of a score."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..._geoopt import geoopt
from .scores import Score

__all__ = ["Block", "PairLogits", "ScoredPairs", "Workspace", "learned_tensors"]


def learned_tensors(source: object) -> list[Tensor]:
    """Return the parameters of a module, and the tensors among attributes, that take a gradient.

    Example:
        >>> learned_tensors(nn.Linear(1, 1, bias=False))
        [Parameter containing:
        tensor([[-0.0075]], requires_grad=True)]
    """
    parameters = source.parameters() if isinstance(source, nn.Module) else ()
    attributes = (value for value in getattr(source, "__dict__", {}).values() if isinstance(value, Tensor))
    return [tensor for tensor in (*parameters, *attributes) if tensor.requires_grad]


class Workspace:
    """Memory that blocks write on in turn.

    Example:
        >>> workspace, query = Workspace(), torch.zeros(1, 2, 5)
        >>> first, second = workspace.pair(query, keys=3)
        >>> first.shape, workspace.pair(query, keys=3)[0] is first, second is first
        (torch.Size([1, 2, 3]), True, False)
    """

    def __init__(self) -> None:
        self._tensors: dict[int, tuple[Tensor, Tensor]] = {}

    def pair(self, query: Tensor, keys: int) -> tuple[Tensor, Tensor]:
        """Return two tensors ``(p, n, keys)`` with the dtype and the device of queries ``(p, n, ·)``."""
        if keys not in self._tensors:
            shape = (query.shape[0], query.shape[1], keys)
            self._tensors[keys] = query.new_empty(shape), query.new_empty(shape)
        return self._tensors[keys]


class Block(abc.ABC):
    """The logits of a block of pairs ``(p, n, m)``, and how gradients go back through them.

    Example:
        >>> from geowarp.manifolds import Euclidean
        >>> from geowarp.nn import SquaredDistance
        >>> x = torch.tensor([[[0.0], [3.0]]])
        >>> block = ScoredPairs(Euclidean(1), SquaredDistance(), x, x).block(x, x)
        >>> block.logits
        tensor([[[-0., -9.],
                 [-9., -0.]]])
        >>> block.gradients(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))[0]
        tensor([[[6.],
                 [0.]]])
    """

    logits: Tensor

    @abc.abstractmethod
    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return those of the queries, the keys and the parameters, from that of the logits."""


class PairLogits(abc.ABC):
    """The logits of all pairs of queries ``(P, N, ...)`` and keys ``(P, M, ...)``, block after block.

    Example:
        >>> issubclass(ScoredPairs, PairLogits)
        True
    """

    query: Tensor
    key: Tensor
    parameters: tuple[Tensor, ...] = ()
    """Other tensors that the logits depend on."""

    @abc.abstractmethod
    def block(self, query: Tensor, key: Tensor) -> Block:
        """Return a block, for the backward pass."""

    @abc.abstractmethod
    def pairs(self) -> int:
        """Return how many pairs make a good block."""

    def bounded(self) -> bool:
        """Return whether no logit is positive."""
        return False

    @abc.abstractmethod
    def scaled(self, query: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function of keys that gives their logits times ``(p, 1, 1)``, without a graph.

        It gives a tensor to write on, which may be the same one each time.
        """


class _Recorded(NamedTuple):
    query: Tensor
    key: Tensor
    logits: Tensor
    parameters: tuple[Tensor, ...]


class _RecordedBlock(Block):
    def __init__(self, record: _Recorded) -> None:
        self.logits, self._record = record.logits.detach(), record

    def gradients(self, grad: Tensor) -> tuple[Tensor | None, ...]:
        record = self._record
        sources = (record.query, record.key, *record.parameters)
        if not record.logits.requires_grad:
            return (None,) * len(sources)
        wanted = [source for source in sources if source.requires_grad]
        found = iter(torch.autograd.grad(record.logits, wanted, grad, allow_unused=True))
        return tuple(next(found) if source.requires_grad else None for source in sources)


class ScoredPairs(PairLogits):
    """The logits of any score on any manifold, with gradients by automatic differentiation of each block.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import Distance
        >>> ScoredPairs(Sphere(), Distance(), torch.eye(2)[None], torch.eye(2)[None]).pairs() > 1000
        True
    """

    def __init__(self, manifold: geoopt.Manifold, score: Score, query: Tensor, key: Tensor) -> None:
        self.manifold, self.score, self.query, self.key = manifold, score, query, key
        learned = (*learned_tensors(manifold), *learned_tensors(score))
        self.parameters = tuple({id(tensor): tensor for tensor in learned}.values())  # each of them once

    def pairs(self) -> int:
        """Return some thousands, fewer of larger points."""
        entries = max(1, self.query[0, 0].numel() if self.query.shape[0] and self.query.shape[1] else 1)
        return max(1 << 10, (1 << (20 if self.query.device.type == "cpu" else 25)) // entries)

    def block(self, query: Tensor, key: Tensor) -> Block:
        """Return the block with its graph."""
        with torch.enable_grad():
            query, key = query.detach().requires_grad_(), key.detach().requires_grad_()
            logits = self.score.logits(self.manifold, query, key)
        return _RecordedBlock(_Recorded(query, key, logits, self.parameters))

    def scaled(self, query: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function of keys that gives their logits times the scale."""

        def logits(key: Tensor) -> Tensor:
            with torch.no_grad():
                return self.score.logits(self.manifold, query, key) * scale

        return logits
