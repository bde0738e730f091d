"""Attention of Hugging Face transformers by logits that are fair to groups of words."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..._extras import import_extra
from ...errors import GeowarpError
from ...manifolds.linalg.precision import autocast_off
from .parity import ParityMode, group_divergences, parity_prototypes, parity_values

__all__ = [
    "KEYWORD",
    "NAME",
    "FairLayer",
    "Setting",
    "Words",
    "recorded_keys",
    "recorded_weights",
    "register_fair_attention",
]

NAME = "geowarp_fair"
KEYWORD = (
    "geowarp_words"  # the argument by which a model hands Words on to attention, also when layers run anew
)
_ATTRIBUTE = "_geowarp_fair"
_keys: ContextVar[dict[nn.Module, Tensor] | None] = ContextVar("keys", default=None)
_weights: ContextVar[list[Tensor] | None] = ContextVar("weights", default=None)


@dataclass
class Setting:
    """What all layers of a model share: α, the mode, and how many keys of each group are known.

    Example:
        >>> Setting(0.1, "mean", [2, 2]).alpha
        0.1
    """

    alpha: float
    mode: ParityMode
    sizes: list[int]


class Words:
    """The groups of the tokens of a text, ``(B, N)``, −1 for none, and whether any is of one.

    Example:
        >>> Words(torch.tensor([[-1, -1]])).present
        False
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels, self.present = labels, bool((labels >= 0).any())


class FairLayer:
    """The fair attention of one layer.

    Args:
        setting: of the model.
        references: the keys of the words of the groups, ``(heads, n, d)``.

    Example:
        >>> layer = FairLayer(Setting(2.0, "mean", [1, 1]), torch.tensor([[[3.0], [1.0]]]))
        >>> key, words = torch.tensor([[[[0.0], [3.0], [1.0]]]]), Words(torch.tensor([[-1, 0, 1]]))
        >>> query, key = layer.warped(torch.ones(1, 1, 1, 1), key, 1.0, words)
        >>> query @ key.mT
        tensor([[[[0., 0., 0.]]]])
    """

    def __init__(self, setting: Setting, references: Tensor) -> None:
        self.setting, self.references = setting, references

    def attach(self, module: nn.Module) -> None:
        """Let a module of attention use it."""
        module.__dict__[_ATTRIBUTE] = self

    @staticmethod
    def detach(module: nn.Module) -> None:
        """Let a module of attention use it no longer."""
        module.__dict__.pop(_ATTRIBUTE, None)

    def changes(self, key: Tensor, words: Words | None) -> bool:
        """Return whether α and the words of the text change anything, after checking that these are known."""
        if self.setting.alpha == 0:
            return False
        _check_words(key, words)
        return words is not None and words.present

    def warped(self, query: Tensor, key: Tensor, scaling: float, words: Words) -> tuple[Tensor, Tensor]:
        """Return queries and keys of G dimensions more, at least, a multiple of 8 in all."""
        setting, groups = self.setting, len(self.setting.sizes)
        dtype = torch.promote_types(query.dtype, torch.float32)
        prototypes = parity_prototypes(groups, dtype=dtype, device=query.device)
        with autocast_off(query):
            height = self._potential(query.to(dtype), scaling, prototypes)
        labels = words.labels.to(key.device)
        of_keys = torch.where((labels >= 0)[..., None], prototypes[labels.clamp_min(0)], 0.0)[:, None]
        lowered = -setting.alpha * of_keys.square().sum(-1, keepdim=True)
        rest = -(query.shape[-1] + groups) % 8
        one = torch.full_like(height[..., :1], 1 / scaling)
        first = torch.cat([2 * setting.alpha / scaling * height, one], -1).to(query.dtype)
        second = torch.cat([of_keys, lowered], -1).to(key.dtype).expand(*key.shape[:3], groups)
        return F.pad(torch.cat([query, first], -1), (0, rest)), F.pad(torch.cat([key, second], -1), (0, rest))

    def _potential(self, query: Tensor, scaling: float, prototypes: Tensor) -> Tensor:
        """Return b, ``(B, H, N, G − 1)``: logits less ``α‖b − P_g‖²`` are equally large for all groups."""
        self.references = references = self.references.to(query.device)
        references = references.to(query.dtype)
        references = references.repeat_interleave(query.shape[1] // references.shape[0], 0)
        logits = scaling * query @ references.mT
        divergences = group_divergences(logits.split(self.setting.sizes, -1), self.setting.mode, 1.0)
        return parity_values(divergences, self.setting.alpha, prototypes)


def _check_words(key: Tensor, words: Words | None) -> None:
    expected, given = (key.shape[0], key.shape[2]), None if words is None else tuple(words.labels.shape)
    if given != expected:
        raise GeowarpError(
            f"fair_transformer: the keys are of {expected[0]} sequences of {expected[1]} tokens, and the "
            f"words that are known of {given}; call the whole model, with use_cache=False"
        )


def fair_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return what transformers' ``sdpa`` does, by fair logits: the function that is registered."""
    words, found = options.pop(KEYWORD, None), _keys.get()
    if found is not None:
        _record(found, module, key, words)
        return _plain(module, query, key, value, attention_mask, dropout, scaling, is_causal, **options)
    layer = module.__dict__.get(_ATTRIBUTE)
    if not isinstance(layer, FairLayer):
        raise GeowarpError(
            f"fair_transformer: {type(module).__name__} has attention {NAME!r}, and no groups; call "
            "fair_transformer(model, tokenizer, groups, alpha)"
        )
    width, scaling = value.shape[-1], query.shape[-1] ** -0.5 if scaling is None else scaling
    if layer.changes(key, words):
        query, key = layer.warped(query, key, scaling, words)
        value = F.pad(value, (0, max(0, key.shape[-1] - width)))
    weights = _weights.get()
    if weights is not None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        weights.append(_softmax(query.detach(), key.detach(), scaling, attention_mask, causal))
    output, _ = _plain(module, query, key, value, attention_mask, dropout, scaling, is_causal, **options)
    return output[..., :width], None


def _record(found: dict[nn.Module, Tensor], module: nn.Module, key: Tensor, words: Words | None) -> None:
    if words is None:
        raise GeowarpError(
            f"fair_transformer: the model hands {type(module).__name__} no options of its call"
        )
    if module in found:
        raise GeowarpError(
            f"fair_transformer: {type(module).__name__} is in several layers, with other keys in each; "
            "parity needs a module for each layer"
        )
    found[module] = key.detach()


def _plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    is_causal: bool | None,
    **options: Any,
) -> tuple[Tensor, None]:
    sdpa = import_extra("transformers.integrations.sdpa_attention", "transformers", "fair_transformer")
    given = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
    result: tuple[Tensor, None] = sdpa.sdpa_attention_forward(
        module, query, key, value, mask, **given, **options
    )
    return result


def _softmax(query: Tensor, key: Tensor, scaling: float, mask: Tensor | None, causal: bool) -> Tensor:
    logits = scaling * query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).mT
    if mask is None and causal and query.shape[2] > 1:
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    return logits.softmax(-1).masked_fill(logits.amax(-1, keepdim=True) == -torch.inf, 0)


def register_fair_attention() -> None:
    """Register the attention function, and the mask of ``sdpa`` for it, with transformers.

    Example:
        >>> NAME
        'geowarp_fair'
    """
    transformers = import_extra("transformers", "transformers", "fair_transformer")
    masks = import_extra("transformers.masking_utils", "transformers", "fair_transformer")
    transformers.AttentionInterface.register(NAME, fair_attention_forward)
    transformers.AttentionMaskInterface.register(NAME, masks.sdpa_mask)


@contextmanager
def recorded_keys() -> Iterator[dict[nn.Module, Tensor]]:
    """Let attention be that of ``sdpa``, and yield the keys ``(B, heads, M, d)`` of each module.

    Example:
        >>> with recorded_keys() as keys:
        ...     keys
        {}
    """
    found: dict[nn.Module, Tensor] = {}
    token = _keys.set(found)
    try:
        yield found
    finally:
        _keys.reset(token)


@contextmanager
def recorded_weights() -> Iterator[list[Tensor]]:
    """Yield the weights ``(B, heads, N, M)`` of the modules that are called, one after another.

    Example:
        >>> with recorded_weights() as weights:
        ...     weights
        []
    """
    found: list[Tensor] = []
    token = _weights.set(found)
    try:
        yield found
    finally:
        _weights.reset(token)
