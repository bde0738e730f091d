"""Which blocks of pairs the causal order lets FlexAttention leave out or take whole, without a mask."""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

__all__ = ["causal_blocks"]

_SIZE = 128


def causal_blocks(queries: int, keys: int, device: torch.device) -> BlockMask:
    """Return the blocks in which query i attends to the keys 0 to i.

    Example:
        >>> causal_blocks(256, 300, torch.device("cpu")).to_dense()
        tensor([[[[1, 0, 0],
                  [1, 1, 0]]]], dtype=torch.int32)
    """
    rows, columns = -(-queries // _SIZE), -(-keys // _SIZE)
    row = torch.arange(rows, dtype=torch.int32, device=device)
    column = torch.arange(columns, dtype=torch.int32, device=device)
    whole = row.clamp_max(keys // _SIZE)  # blocks below the diagonal that end before the last key
    some = (row + 1).clamp_max(columns) - whole
    first = whole[:, None] + column
    return BlockMask.from_kv_blocks(
        some[None, None],
        torch.where(column < some[:, None], first, 0)[None, None],
        whole[None, None],
        torch.where(column < whole[:, None], column, 0)[None, None],
        BLOCK_SIZE=_SIZE,
        mask_mod=_causal,
        seq_lengths=(queries, keys),
    )


def _causal(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key
