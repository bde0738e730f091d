"""What masks and biases add to the logits of a block of pairs, without a copy for every problem."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .tiles import Tile
from .visibility import Visibility, causal_order

__all__ = ["AddedLogits", "Shared"]


class Shared(NamedTuple):
    """A tensor ``(S, N or 1, M or 1)`` that P problems share, and which of the S each of them has.

    Example:
        >>> shared = Shared.of(torch.zeros(2, 1, 5, 7), torch.Size([2, 4]))
        >>> shared.tensor.shape, shared.number
        (torch.Size([2, 5, 7]), tensor([0, 0, 0, 0, 1, 1, 1, 1]))
    """

    tensor: Tensor
    number: Tensor

    @classmethod
    def of(cls, tensor: Tensor, batch: torch.Size) -> "Shared":
        """Return a tensor ``(..., N or 1, M or 1)`` for the problems of a batch."""
        own = tensor.shape[:-2]
        number = torch.arange(own.numel(), device=tensor.device).reshape(own).expand(batch).reshape(-1)
        return cls(tensor.reshape(own.numel(), *tensor.shape[-2:]), number)

    def part(self, tile: Tile, columns: slice) -> Tensor:
        """Return what a block of pairs has, ``(p or 1, n or 1, m or 1)``."""
        block = self.block(self.tensor, tile.rows, columns)
        return block if block.shape[0] == 1 else block[self.number[tile.problems]]

    def add_to(self, total: Tensor, tile: Tile, columns: slice, grad: Tensor) -> None:
        """Add the gradient ``(p, n, m)`` of a block to that of the tensor."""
        place = self.block(total, tile.rows, columns)
        part = grad.sum_to_size(grad.shape[0], *place.shape[1:])
        place.index_add_(0, self.number[tile.problems], part.to(total.dtype))

    @staticmethod
    def block(tensor: Tensor, rows: slice, columns: slice) -> Tensor:
        """Return the rows and columns of a tensor, all of a dimension of size 1."""
        tensor = tensor if tensor.shape[-2] == 1 else tensor[:, rows]
        return tensor if tensor.shape[-1] == 1 else tensor[:, :, columns]


class AddedLogits(NamedTuple):
    """The mask, the causal order and the bias of P problems.

    Example:
        >>> added = AddedLogits.of(Visibility(None, True, None), torch.Size([1]))
        >>> added.write_on(torch.zeros(1, 1, 3), Tile(slice(0, 1), slice(1, 2)), slice(0, 3), 1.0)
        tensor([[[0., 0., -inf]]])
    """

    mask: Shared | None
    is_causal: bool
    bias: Shared | None

    @classmethod
    def of(cls, visibility: Visibility, batch: torch.Size) -> "AddedLogits":
        """Return those of the problems of a batch."""
        mask, is_causal, bias = visibility
        shared = (None if tensor is None else Shared.of(tensor, batch) for tensor in (mask, bias))
        return cls(next(shared), is_causal, next(shared))

    def empty(self) -> bool:
        """Return whether there is none of them."""
        return self.mask is None and self.bias is None and not self.is_causal

    def write_on(self, logits: Tensor, tile: Tile, columns: slice, bias_scale: float) -> Tensor:
        """Return the logits ``(p, n, m)`` of a block, changed in place: the bias, times a number, and −∞."""
        if self.bias is not None:
            logits.add_(self.bias.part(tile, columns), alpha=bias_scale)
        if self.mask is not None:
            logits.masked_fill_(~self.mask.part(tile, columns), -math.inf)
        if self.is_causal and columns.stop > tile.rows.start + 1:
            queries, keys = range(tile.rows.start, tile.rows.stop), range(columns.start, columns.stop)
            logits.masked_fill_(~causal_order(queries, keys, logits.device), -math.inf)
        return logits
