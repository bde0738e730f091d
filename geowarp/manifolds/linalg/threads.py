"""Batched factorisations of small matrices on several threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["is_concrete", "map_over_threads", "over_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_WORK = 1 << 23  # Σ n³ of the matrices, some ten milliseconds of an eigendecomposition
_FEWEST = 8  # matrices for each thread


def over_threads(function: Callable[..., Any], *tensors: Tensor) -> Any:
    """Return ``function(*tensors)`` of batches ``(..., n, m)``, on the CPU in parts by several threads.

    torch's batched LAPACK handles one matrix after another on one thread; here a large batch is divided
    among ``torch.get_num_threads()`` threads, which end with the call. It is the plain call for little work,
    on other devices, while compiling, under a functorch transform or a dispatch mode, and where gradients are
    recorded.

    Args:
        function: works on each matrix of a batch alone, and returns tensors with the same batch dimensions,
            one or a tuple.
        tensors: ``(..., n, m)`` with equal batch dimensions.

    Example:
        >>> values, vectors = over_threads(torch.linalg.eigh, torch.eye(3).expand(200_000, 3, 3))
        >>> values.shape, vectors.shape
        (torch.Size([200000, 3]), torch.Size([200000, 3, 3]))
    """
    batch = tensors[0].shape[:-2]
    count = 1 if not _may_divide(tensors) else min(torch.get_num_threads(), batch.numel() // _FEWEST)
    if count < 2 or _work(tensors) < _WORK:
        return function(*tensors)
    flat = [tensor.reshape(batch.numel(), *tensor.shape[-2:]).tensor_split(count) for tensor in tensors]
    parts = map_over_threads(lambda part: function(*part), list(zip(*flat, strict=True)))
    return _join(list(parts), batch)


def map_over_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield ``function(item)`` of every item, by ``torch.get_num_threads()`` threads, without gradients.

    Example:
        >>> list(map_over_threads(lambda size: torch.ones(size).sum().item(), [1, 2]))
        [1.0, 2.0]
    """
    inference = torch.is_inference_mode_enabled()

    def compute(item: Item) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return function(item)

    count = min(torch.get_num_threads(), len(items))
    if count < 2:
        yield from map(compute, items)
        return
    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(compute, items)


def is_concrete(*tensors: Tensor) -> bool:
    """Return whether a branch on values costs nothing: on the CPU, neither compiled nor transformed.

    Example:
        >>> is_concrete(torch.zeros(3))
        True
    """
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if torch.utils._python_dispatch.is_in_torch_dispatch_mode():
        return False
    return all(tensor.device.type == "cpu" for tensor in tensors)


def _work(tensors: tuple[Tensor, ...]) -> int:
    return tensors[0].numel() * min(tensors[0].shape[-2:])


def _may_divide(tensors: tuple[Tensor, ...]) -> bool:
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return not recorded and is_concrete(*tensors)


def _join(results: list[Any], batch: torch.Size) -> Any:
    if isinstance(results[0], Tensor):
        return torch.cat(results).unflatten(0, batch)
    return tuple(torch.cat(parts).unflatten(0, batch) for parts in zip(*results, strict=True))
