"""The synapses of one layer while a text is decoded: read and written in place, all rows or active ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Gates", "Layout", "SynapseMemory", "sums_of_rows"]


def sums_of_rows(table: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Return ``Σ weights_i table[rows_i]`` over each group of i, ``(groups, d)``, touching these rows only.

    Args:
        table: ``(n, d)``.
        rows: ``(m,)`` indices into the table, group after group.
        starts: ``(groups,)``, where in ``rows`` each group begins.
        weights: ``(m,)``, of the table's dtype.

    Example:
        >>> table, rows, ones = torch.eye(4), torch.tensor([0, 2, 3]), torch.ones(3)
        >>> sums_of_rows(table, rows, torch.tensor([0, 2]), ones)
        tensor([[1., 0., 1., 0.],
                [0., 0., 0., 1.]])
    """
    return torch.embedding_bag(table, rows, starts, mode=0, per_sample_weights=weights)[0]


@dataclass(frozen=True)
class Gates:
    """The gates of one position, for each group of synapses.

    Args:
        log_decay: ``(groups,)``, at most 0, or None where synapses keep all.
        strength: ``(groups,)``, the β of synapses that errors drive, or None for Hebbian ones.
    """

    log_decay: Tensor | None
    strength: Tensor | None

    def written(self, values: Tensor, read: Tensor) -> Tensor:
        """Return what is written for ``values`` where ``read`` was remembered, both ``(groups, d)``."""
        return values if self.strength is None else self.strength.unsqueeze(-1) * (values - read)


@dataclass(frozen=True)
class Layout:
    """The indices of the rows of ``groups`` matrices of synapses, one per text and head, one below the other.

    Args:
        groups: number of matrices.
        width: rows of each, even.
        rows: ``(groups · width,)``, all rows.
        starts: ``(groups,)``, the first pair of rows of each matrix.
    """

    groups: int
    width: int
    rows: Tensor
    starts: Tensor

    @classmethod
    def of(cls, groups: int, width: int, device: torch.device) -> "Layout":
        """Return the layout on a device.

        Example:
            >>> Layout.of(2, 4, torch.device("cpu")).starts
            tensor([0, 2])
        """
        rows = torch.arange(groups * width, device=device)
        return cls(groups, width, rows, rows[: groups * width // 2 : width // 2].clone())


class SynapseMemory:
    """The synapses of one layer, of each text and head, through which keys are read and values written.

    Decay is lazy: each pair of rows has the logarithm of the decay that it has not yet undergone, and
    undergoes it when it is next touched. That is exact, and no exponential is of a positive number.

    Args:
        synapses: ``(..., N, d)``; they are copied.
        layout: of these ``(...)`` groups.
        dtype: to compute in.
        decays: whether the synapses forget.

    Example:
        >>> layout = Layout.of(1, 4, torch.device("cpu"))
        >>> memory = SynapseMemory(torch.zeros(1, 4, 2), layout, torch.float32, False)
        >>> keys, gates = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), Gates(None, None)
        >>> _ = memory.update(keys, torch.tensor([[5.0, 6.0]]), gates)
        >>> memory.update_pairs(torch.tensor([0]), keys, torch.tensor([[7.0, 8.0]]), gates)
        tensor([[5., 6.]])
        >>> memory.settled()[0, 0]
        tensor([12., 14.])
    """

    def __init__(self, synapses: Tensor, layout: Layout, dtype: torch.dtype, decays: bool) -> None:
        shape = (layout.groups, layout.width, synapses.shape[-1])
        own = synapses.detach().to(dtype, memory_format=torch.contiguous_format, copy=True)
        self._table, self._layout = own.view(shape), layout
        pairs = (layout.groups, layout.width // 2)
        # float64: of many small logarithms
        self._pending = own.new_zeros(pairs, dtype=torch.float64) if decays else None

    def update(self, keys: Tensor, values: Tensor, gates: Gates) -> Tensor:
        """Return what all keys ``(groups, N)`` read, ``(groups, d)``, and write values ``(groups, d)``."""
        self._forget(gates)
        self._settle()
        read = self._read(keys)
        self._table.addcmul_(keys.unsqueeze(-1), gates.written(values, read).unsqueeze(1))
        return read

    def update_pairs(self, pairs: Tensor, keys: Tensor, values: Tensor, gates: Gates) -> Tensor:
        """As ``update``, but touch only these pairs of rows, ascending; the other keys are zero."""
        self._forget(gates)
        layout, decay = self._layout, self._settle_pairs(pairs)
        active = keys.view(-1, 2).index_select(0, pairs)
        rows = (pairs.unsqueeze(1) * 2 + layout.rows[:2]).flatten()
        starts = torch.searchsorted(pairs, layout.starts) * 2
        weights = active if decay is None else active * decay
        read = sums_of_rows(self._table.flatten(0, 1), rows, starts, weights.view(-1))
        written = gates.written(values, read).index_select(0, pairs // (layout.width // 2))
        self._write_pairs(pairs, decay, active.unsqueeze(-1) * written.unsqueeze(1))
        return read

    def settled(self) -> Tensor:
        """Return the synapses ``(groups, N, d)``; later updates change them."""
        self._settle()
        return self._table

    def _forget(self, gates: Gates) -> None:
        if self._pending is not None and gates.log_decay is not None:
            self._pending.add_(gates.log_decay.unsqueeze(-1))

    def _settle(self) -> None:
        if self._pending is not None:
            decay = self._pending.exp().to(self._table.dtype)
            self._pairs_of_rows().mul_(decay.unsqueeze(-1))
            self._pending.zero_()

    def _settle_pairs(self, pairs: Tensor) -> Tensor | None:
        """Return the decay of these pairs until now, ``(m, 1)``, which the caller applies."""
        if self._pending is None:
            return None
        pending = self._pending.view(-1)
        decay = pending.index_select(0, pairs).exp_().to(self._table.dtype)
        pending.index_fill_(0, pairs, 0)
        return decay.unsqueeze(1)

    def _write_pairs(self, pairs: Tensor, decay: Tensor | None, change: Tensor) -> None:
        table, change = self._pairs_of_rows().flatten(0, 1), change.flatten(1)
        if decay is None:
            table.index_add_(0, pairs, change)
        else:
            table.index_copy_(0, pairs, change.addcmul_(table.index_select(0, pairs), decay))

    def _read(self, keys: Tensor) -> Tensor:
        if keys.device.type != "cpu":
            return torch.bmm(keys.unsqueeze(1), self._table).squeeze(1)
        # on CPUs half the time of a product of a vector and a matrix: it fetches rows ahead
        layout = self._layout
        return sums_of_rows(self._table.flatten(0, 1), layout.rows, layout.starts * 2, keys.view(-1))

    def _pairs_of_rows(self) -> Tensor:
        groups, width, d = self._table.shape
        return self._table.view(groups, width // 2, 2 * d)
