"""Batched factorisations of small matrices on several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

__all__ = ["over_threads"]

_WORK = 1 << 21  # Σ n³ of the matrices from which starting threads pays
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
    inference = torch.is_inference_mode_enabled()

    def compute(parts: tuple[Tensor, ...]) -> Any:
        with torch.inference_mode(inference), torch.no_grad():
            return function(*parts)

    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(compute, zip(*flat, strict=True)))
    return _join(results, batch)


def _work(tensors: tuple[Tensor, ...]) -> int:
    return tensors[0].numel() * min(tensors[0].shape[-2:])


def _may_divide(tensors: tuple[Tensor, ...]) -> bool:
    if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    if torch.utils._python_dispatch.is_in_torch_dispatch_mode():
        return False
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return not recorded and all(tensor.device.type == "cpu" for tensor in tensors)


def _join(results: list[Any], batch: torch.Size) -> Any:
    if isinstance(results[0], Tensor):
        return torch.cat(results).unflatten(0, batch)
    return tuple(torch.cat(parts).unflatten(0, batch) for parts in zip(*results, strict=True))
