"""A pretrained transformer of Hugging Face whose attention is fair to groups of words."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ..probes.evaluation import evaluating
from .alpha import checked_alpha
from .parity import ParityMode, check_mode
from .transformer_attention import (
    KEYWORD,
    NAME,
    FairLayer,
    Setting,
    Words,
    recorded_keys,
    recorded_weights,
    register_fair_attention,
)
from .word_labels import WordLabels

__all__ = ["FairTransformer", "fair_transformer"]


class FairTransformer:
    """The fair attention of a model, until ``remove()``; ``fair_transformer`` returns it.

    As a context manager it removes itself at the end. ``alpha`` can be set at any time.

    Example:
        >>> def embeddings(model, tokenizer, text):
        ...     with fair_transformer(model, tokenizer, {"she": ["she"], "he": ["he"]}) as fair:
        ...         fair.alpha = 0.2
        ...         return model(**tokenizer(text, return_tensors="pt")).last_hidden_state
    """

    def __init__(
        self, model: Any, tokenizer: Any, words: WordLabels, setting: Setting, templates: Sequence[str]
    ) -> None:
        self.model, self.tokenizer, self.templates = model, tokenizer, tuple(templates)
        self._words, self._setting = words, setting
        self._modules: list[nn.Module] = []
        self._removed = False
        self._before: str = model.config._attn_implementation
        self._hook = model.base_model.register_forward_pre_hook(self._read, with_kwargs=True)
        try:
            model.set_attn_implementation(NAME)
            if model.config._attn_implementation != NAME:
                raise GeowarpError(
                    f"fair_transformer: {type(model).__name__} has its own attention functions"
                )
            self.refresh()
        except BaseException:
            self.remove()
            raise

    @property
    def alpha(self) -> float:
        """α, in units of the logits."""
        return self._setting.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self._setting.alpha = checked_alpha("fair_transformer", value)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The words of the groups."""
        return dict(self._words.words)

    def labels(self, input_ids: Tensor) -> Tensor:
        """Return the number of the group of each token, −1 for none: ``(..., N)``."""
        return self._words(input_ids)

    def refresh(self) -> "FairTransformer":
        """Take the keys of the words of the groups anew, which training changes, and return the handle."""
        self._check_attached()
        with evaluating(self.model):
            found = [
                [self._keys_of(text.replace("{}", word), group) for text in self.templates for word in words]
                for group, words in enumerate(self._words.words.values())
            ]
        self._setting.sizes[:] = [sum(keys[0].shape[1] for keys in group) for group in found]
        every = [keys for group in found for keys in group]
        for place, module in enumerate(self._modules):
            FairLayer(self._setting, torch.cat([keys[place] for keys in every], 1)).attach(module)
        return self

    @torch.no_grad()
    def attention_weights(self, **inputs: Tensor) -> list[Tensor]:
        """Return the weights ``(B, heads, N, N)`` of all layers for the inputs of the model.

        Those of a query that may look at no key are 0.
        """
        self._check_attached()
        with recorded_weights() as weights:
            self.model(**inputs)
        return weights

    def remove(self) -> None:
        """Give the model its own attention back, unless it has it already."""
        if self._removed:
            return
        self._removed = True
        self._hook.remove()
        for module in self._modules:
            FairLayer.detach(module)
        if self.model.config._attn_implementation == NAME:
            self.model.set_attn_implementation(self._before)

    def __enter__(self) -> "FairTransformer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _check_attached(self) -> None:
        if self._removed:
            raise GeowarpError(
                "fair_transformer: this was removed from the model; call fair_transformer again"
            )

    def _keys_of(self, text: str, group: int) -> list[Tensor]:
        """Return the keys ``(heads, n, d)`` of the words of a group in a text, of all layers."""
        tokens = self.tokenizer(text, return_tensors="pt")["input_ids"].to(self.model.device)
        place = self.labels(tokens)[0] == group
        if not bool(place.any()):
            raise GeowarpError(
                f"fair_transformer: no token of {text!r} is a word of {self._words.names[group]!r}: the "
                "template makes another word of it"
            )
        with recorded_keys() as keys:
            self.model.base_model(input_ids=tokens)
        if not keys or (self._modules and list(keys) != self._modules):
            raise GeowarpError(f"fair_transformer: {type(self.model).__name__} does not call attention")
        self._modules = list(keys)
        return [key[0][:, place] for key in keys.values()]

    def _read(
        self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        tokens = named.get("input_ids", arguments[0] if arguments else None)
        if tokens is None:
            raise GeowarpError(
                "fair_transformer: the model gets no input_ids, and inputs_embeds say no words; give them"
            )
        return arguments, {**named, KEYWORD: Words(self.labels(tokens))}


def fair_transformer(
    model: Any,
    tokenizer: Any,
    groups: Mapping[str, Sequence[str]],
    alpha: float = 0.1,
    mode: ParityMode = "mean",
    *,
    templates: Sequence[str] = ("{}",),
) -> FairTransformer:
    """Let a pretrained transformer attend to all groups of words alike, in every layer and head.

    The logits ``ℓ = qᵀk / √d`` become ``ℓ − α‖b(q) − b(k)‖²``, by G dimensions more of the heads in one call
    of ``scaled_dot_product_attention``. The keys that the words of the groups have in each layer and head,
    each word alone or in templates, are taken once, and b(q) is the value for which the mean of the changed
    logits over the keys of a group, or in mode "softmax" the attention's mass on them, is the same for all
    groups. Tokens that are words of group g have ``b(k) = P_g``, a vertex of a regular simplex.

    All others have b(k) = 0: a dot product scores no key against a key, and 0 is the value of a query that
    prefers no group. Between them nothing changes, since ``α‖b(q)‖²`` is the same for all keys of a query: a
    batch without a word of a group gives what it gave, bit for bit. What a query prefers among groups is gone
    on average over the reference keys, and any word of a group gets less weight by ``exp(−α)`` before
    normalisation. α sets this price, and a small one does. In a sentence keys differ from the references by
    context and position: parity there is close, not exact, and less so with rotary positions. Templates like
    the texts of interest bring it nearer.

    Encoders, and decoders with ``use_cache=False``, whose attention goes through
    ``transformers.AttentionInterface``; it is registered there by the name "geowarp_fair". Masks, dropout and
    grouped keys are those of "sdpa". With α = 0 the numbers are those of "sdpa". As with "sdpa",
    ``output_attentions`` gives none: ``FairTransformer.attention_weights`` does.

    Tokenizers of bytes, as of RoBERTa and GPT-2, have one token for a word at the beginning of a text and
    another for it after a space: templates with the word inside give the keys of the latter.

    Measured on the encoder all-MiniLM-L6-v2, with sentences such as "the nurse said that she was late" for 40
    professions, "she" and "he" as groups, and α = 0.1: the mean over layers and heads of the absolute
    logarithm of the ratio of both attentions fell from 0.46 to 0.26 with words alone as references, to 0.21
    with templates of other content, and to 0.17 with templates that are alike. With eight words in each
    group, whose average is what is equal, it fell to 0.32. Embeddings of these sentences had a mean cosine of
    0.999 with what they were.

    What it does not do: the vectors of the words, and what a head passes on from them, are what they were,
    and so is any association in the embedding of a word, or in weights between other tokens. In the
    measurement above a linear probe read "she" or "he" from the last state of the profession in 93 of 100
    cases, before and after, and the similarity of "the nurse is here" to "a woman is here" was what it was.

    Args:
        model: a ``PreTrainedModel``.
        tokenizer: its tokenizer.
        groups: words by name of the group. Each is one token of the vocabulary.
        alpha: α, not negative, in units of the logits.
        mode: "mean" or "softmax".
        templates: texts with ``{}`` in place of a word.

    Returns:
        The handle, which takes it off again: ``remove()``, or the end of a ``with`` block.

    Raises:
        GeowarpError: for words that are no single token, one group, an empty one, a negative α, a model with
            a decoder that looks at an encoder, with attention of its own, whose layers hand it no
            options of the call, or with one module for several layers; the model is then what it was.
            Later, in the forward pass, for a cache of keys, and inputs without ``input_ids``.
        MissingExtraError: where transformers is not installed.

    References:
        Vaswani et al., Attention is all you need, NeurIPS (2017). The warp is geowarp's own, inspired by CAFA
        (Riemannian geometry for fairness in attention mechanisms of language models, ICSC 2025).

    Example:
        >>> fair_transformer(None, None, {"she": ["she"], "he": ["he"]}, alpha=-1.0)
        Traceback (most recent call last):
        geowarp.errors.GeowarpError: fair_transformer: alpha = -1.0; it stretches, and is a num...
    """
    check_mode("fair_transformer", mode, 1.0)
    setting = Setting(checked_alpha("fair_transformer", alpha), mode, [])
    templates = (templates,) if isinstance(templates, str) else templates
    register_fair_attention()
    if not hasattr(model, "set_attn_implementation"):
        raise GeowarpError(f"fair_transformer: {type(model).__name__} is no PreTrainedModel of transformers")
    if getattr(model.config, "is_encoder_decoder", False) and model.get_encoder() is not model:
        raise GeowarpError(
            f"fair_transformer: {type(model).__name__} has a decoder that looks at an encoder, whose words "
            "are others; give an encoder, such as model.get_encoder(), or a decoder alone"
        )
    if model.config._attn_implementation == NAME:
        raise GeowarpError("fair_transformer: the model is fair already; remove() that first")
    if not templates or not all("{}" in template for template in templates):
        raise GeowarpError(f"fair_transformer: templates = {templates!r}; each has a {{}} for the word")
    return FairTransformer(model, tokenizer, WordLabels(tokenizer, groups), setting, templates)
