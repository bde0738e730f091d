"""Token indices and their padding: checks, and batches of texts of several lengths."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import GeowarpError

if TYPE_CHECKING:
    from .state import BDHState

__all__ = ["check_mask", "check_tokens", "pad_left"]


def pad_left(sequences: Sequence[Tensor], pad_token: int = 0) -> tuple[Tensor, Tensor]:
    """Return texts of several lengths as one batch ``(B, T)``, and its mask, False where it is padding.

    Args:
        sequences: token indices, each ``(T_i,)``.
        pad_token: what stands in the padding; any token of the vocabulary.

    Raises:
        GeowarpError: for no sequences, or one that is not one-dimensional.

    Example:
        >>> tokens, mask = pad_left([torch.tensor([1, 2, 3]), torch.tensor([4])])
        >>> tokens, mask[1]
        (tensor([[1, 2, 3],
                [0, 0, 4]]), tensor([False, False,  True]))
    """
    if not sequences:
        raise GeowarpError("pad_left: there are no sequences")
    for i, sequence in enumerate(sequences):
        if sequence.ndim != 1:
            raise GeowarpError(f"pad_left: sequence {i} has shape {tuple(sequence.shape)}, not (T,)")
    length = max(map(len, sequences))
    tokens = torch.stack([torch.cat((s.new_full((length - len(s),), pad_token), s)) for s in sequences])
    lengths = torch.tensor([len(s) for s in sequences], device=tokens.device)
    return tokens, torch.arange(length, device=tokens.device) >= length - lengths[:, None]


def check_tokens(tokens: Tensor, vocabulary: int, *, wait: bool = False) -> None:
    """Raise GeowarpError for tokens that are no indices of the vocabulary.

    Values are looked at on the CPU, and on another device only with ``wait``.

    Example:
        >>> check_tokens(torch.tensor([3, 300]), 256)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: token 300 is outside the vocabulary of 256, 0 to 255
    """
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise GeowarpError(f"tokens have dtype {tokens.dtype}; give integers, as tokens.long()")
    if tokens.ndim == 0:
        raise GeowarpError("tokens have no dimension; give (..., T), or call step for one token")
    if torch.compiler.is_compiling() or tokens.numel() == 0 or not (wait or tokens.device.type == "cpu"):
        return
    low, high = (int(z) for z in tokens.long().aminmax())
    if low < 0 or high >= vocabulary:
        wrong = low if low < 0 else high
        raise GeowarpError(f"token {wrong} is outside the vocabulary of {vocabulary}, 0 to {vocabulary - 1}")


def check_mask(mask: Tensor, tokens: Tensor, state: "BDHState | None") -> None:
    """Raise GeowarpError for a mask that is not one of padding on the left of texts that begin.

    Example:
        >>> check_mask(torch.tensor([True, False]), torch.tensor([72, 105]), None)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: mask: padding must be on the left of each text; pad_left does that
    """
    if mask.dtype != torch.bool or mask.shape != tokens.shape:
        raise GeowarpError(
            f"mask has dtype {mask.dtype} and shape {tuple(mask.shape)}; it must be bool of the tokens' "
            f"shape {tuple(tokens.shape)}"
        )
    if state is not None and state.position > 0:
        raise GeowarpError(
            f"mask: padding is for the beginning of texts, and the state has read {state.position} tokens"
        )
    if torch.compiler.is_compiling() or mask.is_meta:
        return
    if (mask[..., :-1] & ~mask[..., 1:]).any():
        raise GeowarpError("mask: padding must be on the left of each text; pad_left does that")
