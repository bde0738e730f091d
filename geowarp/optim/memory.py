"""Memory that is kept from step to step on the CPU, where fresh memory costs as much as the arithmetic."""

import torch
from torch import Tensor

__all__ = ["Memory", "stack"]


class Memory:
    """Tensors by name, made once. On other devices, whose allocators keep memory themselves, made anew.

    Example:
        >>> memory = Memory()
        >>> memory.like("a", torch.ones(2)) is memory.like("a", torch.ones(2))
        True
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._parts: list[Tensor] = []
        self._whole: int | None = None

    def of(self, name: str, shape: torch.Size, like: Tensor) -> Tensor:
        """Return a contiguous tensor of ``shape``, with the dtype and device of ``like`` and any content."""
        if like.device.type != "cpu":
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        kept = self._tensors.get(name)
        if kept is None or kept.shape != shape or kept.dtype != like.dtype:
            kept = self._tensors[name] = torch.empty(shape, dtype=like.dtype)
        return kept

    def parts(self, whole: Tensor) -> list[Tensor]:
        """Return ``list(whole.unbind(0))``; made once for memory that is kept."""
        if whole.data_ptr() != self._whole or len(self._parts) != len(whole):
            self._parts = list(whole.unbind(0))
            kept = any(whole.data_ptr() == t.data_ptr() for t in self._tensors.values())
            self._whole = whole.data_ptr() if kept else None
        return self._parts

    def like(self, name: str, like: Tensor) -> Tensor:
        """Return a contiguous tensor in the shape, dtype and device of ``like``, with any content."""
        return self.of(name, like.shape, like)


def stack(tensors: list[Tensor], memory: Memory, name: str) -> Tensor:
    """Return ``tensors``, all of one shape, as ``(B, *shape)``; a single one is not copied.

    Example:
        >>> stack([torch.zeros(2, 3), torch.ones(2, 3)], Memory(), "x").shape
        torch.Size([2, 2, 3])
    """
    first = tensors[0]
    if len(tensors) == 1:
        return first.detach().as_subclass(Tensor).unsqueeze(0)
    if first.ndim == 0:
        return torch.stack(tensors)
    shape = torch.Size((len(tensors), *first.shape))
    whole = memory.of(name, shape, first)
    torch.cat(tensors, out=whole.view(-1, *first.shape[1:]))
    return whole
