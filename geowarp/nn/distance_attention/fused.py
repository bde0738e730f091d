"""Attention as one call of ``scaled_dot_product_attention``, where logits are inner products."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...manifolds.linalg.broadcasting import broadcast_shapes
from ...manifolds.linalg.precision import autocast_off
from ...manifolds.linalg.threads import is_concrete
from .problem import Problem
from .scores import Features
from .visibility import Visibility

__all__ = ["fused_average"]

_NEVER = -1e30  # a logit that no weight survives, and that products and differences leave finite


def fused_average(problem: Problem, features: Features, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the averages ``(..., N, d)`` of values ``(..., M, d)`` by weights of ``features``.

    The features are divided by τ, and padded with zeros, as the values are, to one multiple of 8: with head
    dimensions that differ torch leaves its flash kernel on the CPU. Memory is O(N + M), beside a mask or a
    bias of a size that depends on the query.

    Args:
        problem: the problem.
        features: the vectors ``(..., N, e)`` and ``(..., M, e)`` that its score gives.
        values: ``(..., M, d)``.
        dtype: of the products.

    Example:
        >>> from geowarp.manifolds import Sphere
        >>> from geowarp.nn import ChordalSquaredDistance
        >>> from .problem import attention_problem
        >>> score, x = ChordalSquaredDistance(), torch.eye(2)
        >>> problem = attention_problem(x, x, Sphere(), 1.0, score)
        >>> fused_average(problem, score.features(Sphere(), x, x), x, torch.float32)
        tensor([[0.8808, 0.1192],
                [0.1192, 0.8808]])
    """
    batch = problem.batch(values.shape[:-2])
    (query, key), factor = features, _number(problem.scale)
    query = query * problem.scale if factor is None else query
    visibility, empty = problem.visibility, None
    if problem.keys and _foldable(visibility):
        query, key, empty = _fold(problem, query, key, 1.0 if factor is None else 1 / factor)
        visibility = Visibility(None, visibility.is_causal, None)
    if visibility.mask is not None or visibility.bias is not None:
        allowed = visibility.allowed(problem.queries, problem.keys, query.device)
        attention_mask, causal = _one_mask(allowed, visibility.bias, dtype), False
    else:
        attention_mask, causal = None, visibility.is_causal
    width = -(-max(query.shape[-1], values.shape[-1]) // 8) * 8
    q, k, v = (_heads(_padded(x.to(dtype), width), batch) for x in (query, key, values))
    mask = None if attention_mask is None else _heads(attention_mask, batch)
    with autocast_off(query):
        average = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, scale=factor or 1.0
        )
    average = average.reshape(*batch, problem.queries, width)[..., : values.shape[-1]]
    return average if empty is None else torch.where(empty, 0, average)


def _number(scale: Tensor) -> float | None:
    """Return ``1/τ`` where it is one number on the CPU, which the kernel then multiplies by itself."""
    plain = scale.numel() == 1 and scale.device.type == "cpu" and is_concrete(scale)
    return float(scale) if plain and not scale.requires_grad and not torch.compiler.is_compiling() else None


def _padded(x: Tensor, width: int) -> Tensor:
    """Return the vectors with zeros up to a width, in one pass over them."""
    rest = width - x.shape[-1]
    return torch.cat([x, x.new_zeros(1).expand(*x.shape[:-1], rest)], -1) if rest else x


def _foldable(visibility: Visibility) -> bool:
    """Return whether keys can carry what is added to logits, where kernels would want it as N x M numbers."""
    mask, is_causal, bias = visibility
    given = [tensor for tensor in (mask, bias) if tensor is not None]
    keys_only = bool(given) and all(tensor.shape[-2] == 1 for tensor in given)
    return keys_only and (is_causal or (bias is not None and bias.requires_grad))


def _fold(problem: Problem, query: Tensor, key: Tensor, unit: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the vectors with one more entry for what is added to the logits, in a unit, of each key.

    Also whether a query, ``(..., N or 1, 1)``, has no key that it may look at.
    """
    mask, is_causal, bias = problem.visibility
    extra = key.new_zeros(1, problem.keys) if bias is None else bias
    extra = (extra if mask is None else torch.where(mask, extra, -math.inf)).squeeze(-2)
    extra = extra.expand(*extra.shape[:-1], problem.keys)[..., None]
    seen = ~extra.isneginf()
    if is_causal:
        last = torch.arange(problem.queries, device=key.device).clamp_max(problem.keys - 1)
        seen = (seen.cumsum(-2) > 0)[..., last, :]
    else:
        seen = seen.any(-2, keepdim=True)
    extra = extra.clamp_min(_NEVER).to(key.dtype)
    shape = broadcast_shapes(key.shape[:-1], extra.shape[:-1])
    key = torch.cat([key.expand(*shape, key.shape[-1]), extra.expand(*shape, 1)], -1)
    return torch.cat([query, torch.full_like(query[..., :1], unit)], -1), key, ~seen


def _one_mask(allowed: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if bias is None:
        return allowed
    return bias.to(dtype) if allowed is None else torch.where(allowed, bias, -math.inf).to(dtype)


def _heads(x: Tensor, batch: torch.Size) -> Tensor:
    """Return ``(B, H, ·, ·)``, which fused kernels take, with the batch dimensions joined or added."""
    x = x.expand(*batch, *x.shape[-2:])
    if len(batch) < 2:
        return x.reshape(1, *((1,) * (1 - len(batch))), *x.shape)
    return x if len(batch) == 2 else x.flatten(0, len(batch) - 2)
