"""Attention by hyperbolic distance through FlexAttention: the logits are computed inside of its kernel."""

import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from ...errors import UnavailableError
from .causal_blocks import causal_blocks
from .methods import Method
from .problem import Problem
from .reference import average_by_matrix
from .scores import DistanceScore
from .unit_hyperboloid import is_hyperbolic, radius_squared, unit_hyperboloid

__all__ = ["FlexAttention"]

_LEAST_WIDTH = 16  # of a head in the kernels
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FlexAttention(Method):
    """By ``torch.nn.attention.flex_attention``: scores of hyperbolic distances, on both models.

    The kernel's products are ``z = −⟨q, k⟩`` of points of the unit hyperboloid, and its ``score_mod`` makes
    them ``s(√k log(z + √(z² − 1))) / τ``, with bias and mask. On CUDA it is compiled, and has memory O(N + M)
    there and back, beside a mask or bias that depends on query and key; causal blocks without pairs are left
    out. It is not measured on a GPU, and nothing takes it by default.

    Products have the dtype of the scores. In float32 a logit is wrong by up to the rounding unit times
    ``k exp(2r)/τ`` for points at distances ``√k r`` from the origin, and by more where
    ``torch.set_float32_matmul_precision`` allows products of fewer digits.

    On the CPU torch has no gradient of it, and computes it by the matrix of weights: it is for tests there.

    Raises:
        UnavailableError: on other manifolds, for other scores, and for gradients on the CPU.

    References:
        Dong, Feng, Guessous, Liang, He, Flex attention: a programming model for generating optimized
        attention kernels, MLSys (2025).

    Example:
        >>> from geowarp.manifolds import PoincareBall
        >>> from geowarp.nn import manifold_attention
        >>> x = torch.tensor([[0.0, 0.0], [0.5, 0.0]])
        >>> manifold_attention(x, x, torch.eye(2), PoincareBall(), method=FlexAttention())
        tensor([[0.7698, 0.2302],
                [0.2302, 0.7698]])
    """

    def average(self, problem: Problem, values: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the averages by FlexAttention."""
        manifold, score = problem.manifold, problem.score
        if not is_hyperbolic(manifold) or not isinstance(score, DistanceScore):
            raise UnavailableError(
                f"FlexAttention: {score!r} on {manifold!r} is no function of the hyperbolic distance; use "
                "Blockwise(), or leave the method to manifold_attention"
            )
        batch = problem.batch(values.shape[:-2])
        if 0 in (batch.numel(), problem.queries, problem.keys):
            return average_by_matrix(problem, values)
        x = unit_hyperboloid(manifold, problem.query, dtype, mirrored=True)
        y = unit_hyperboloid(manifold, problem.key, dtype)
        root = torch.as_tensor(radius_squared(manifold), dtype=dtype, device=x.device).sqrt()
        logits = _Logits.of(problem, score, root, batch)
        width = max(_LEAST_WIDTH, -(-max(x.shape[-1], values.shape[-1]) // 8) * 8)
        heads = [
            _heads(F.pad(vectors.to(dtype), (0, width - vectors.shape[-1])), batch)
            for vectors in (x, y, values)
        ]
        average = _attend(heads, logits, problem)
        return average.reshape(*batch, problem.queries, width)[..., : values.shape[-1]]


class _Added(NamedTuple):
    """A mask or bias ``(B, H, N, M)``, in which any of these may be 1, and the steps of its indices."""

    tensor: Tensor
    steps: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor | None, batch: torch.Size) -> "_Added | None":
        if tensor is None:
            return None
        if math.prod(tensor.shape[:-3]) > 1:
            four = _heads(tensor, batch)
        else:
            four = tensor.reshape(1, math.prod(tensor.shape[:-2]), *tensor.shape[-2:])
        return cls(four, tuple(int(size > 1) for size in four.shape))

    def at(self, *indices: Tensor) -> Tensor:
        return self.tensor[tuple(index * step for index, step in zip(indices, self.steps, strict=True))]


class _Logits(NamedTuple):
    """What makes logits of products; root and scale are ``(B, H)``."""

    score: DistanceScore
    root: Tensor
    scale: Tensor
    bias: _Added | None
    mask: _Added | None

    @classmethod
    def of(cls, problem: Problem, score: DistanceScore, root: Tensor, batch: torch.Size) -> "_Logits":
        mask, _, bias = problem.visibility
        root, scale = (
            _heads(number.expand(*batch, 1, 1), batch).flatten(1) for number in (root, problem.scale)
        )
        return cls(score, root, scale, _Added.of(bias, batch), _Added.of(mask, batch))

    def tensors(self) -> list[Tensor]:
        """Return those that may want a gradient."""
        return [self.root, self.scale, *([] if self.bias is None else [self.bias.tensor])]

    def score_mod(self) -> ScoreMod:
        """Return the function of one product and its indices."""
        score, root, scale, bias, mask = self

        def logit(product: Tensor, b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            value = score.of_distance(root[b, h] * _arc(product)) * scale[b, h]
            if bias is not None:
                value = value + bias.at(b, h, query, key)
            return value if mask is None else torch.where(mask.at(b, h, query, key), value, -math.inf)

        return logit


def _arc(cosh: Tensor) -> Tensor:
    """Return ``arcosh``, 0 below 1; there its gradient is 0 and not infinite."""
    rise = cosh - 1
    apart = rise > 0
    safe = torch.where(apart, rise, 1.0)
    return torch.where(apart, torch.log1p(safe + torch.sqrt(safe * (safe + 2))), 0.0)


def _attend(heads: list[Tensor], logits: _Logits, problem: Problem) -> Tensor:
    _check_gradient(*heads, *logits.tensors())
    device = heads[0].device
    blocks = causal_blocks(problem.queries, problem.keys, device) if problem.visibility.is_causal else None
    plain = device.type == "cpu" or torch.compiler.is_compiling()
    attend: Callable[..., Any] = flex_attention
    if not plain:
        attend = _compiled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        average: Tensor = attend(*heads, score_mod=logits.score_mod(), block_mask=blocks, scale=1.0)
    return average


def _check_gradient(*tensors: Tensor) -> None:
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if wanted and tensors[0].device.type == "cpu":
        raise UnavailableError("FlexAttention: torch has no gradient of it on the CPU; use Blockwise()")


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)


def _heads(x: Tensor, batch: torch.Size) -> Tensor:
    """Return ``(B, H, ·, ·)``, with the batch dimensions joined or added."""
    x = x.expand(*batch, *x.shape[-2:])
    return x.reshape(math.prod(batch[:-1]), batch[-1] if batch else 1, *x.shape[-2:])
