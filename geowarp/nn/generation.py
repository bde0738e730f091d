"""Text from a BDH model, token by token, from its state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import TypedDict, Unpack

from ..errors import GeowarpError
from .decoding import Decoder
from .sampling import check_sampling, sample_tokens
from .state import BDHState
from .tokens import check_tokens

if TYPE_CHECKING:
    from .bdh import BDH

__all__ = ["Generation", "GenerationSettings"]


class GenerationSettings(TypedDict, total=False):
    """How ``BDH.generate`` and ``BDH.stream`` choose tokens, and from where they go on; all are optional.

    Args:
        temperature: divides the logits; 0 takes the likeliest token. By default 1.
        top_k: draw from the k likeliest tokens only.
        top_p: draw from the fewest likeliest tokens whose probability together reaches p, in (0, 1].
        stop_token: a row ends with its first stop token, and is filled up with it; where all rows have
            ended, so does the result.
        mask: ``(..., T)``, False where the prompt is padding on the left, as from ``pad_left``.
        state: what was read before the prompt; by default nothing.
        sparse: whether to touch only the rows of active neurons, which is exact; by default where that is
            cheaper.
        generator: source of randomness, on the device of the model.

    Example:
        >>> GenerationSettings(temperature=0.8, top_p=0.95)
        {'temperature': 0.8, 'top_p': 0.95}
    """

    temperature: float
    top_k: int | None
    top_p: float | None
    stop_token: int | None
    mask: Tensor | None
    state: BDHState | None
    sparse: bool | None
    generator: torch.Generator | None


class Generation:
    """One text in the making: iterating draws its tokens ``(...)``, without dropout and without gradients.

    Args:
        model: a BDH model.
        prompt: token indices ``(..., T)``.
        max_new_tokens: how many tokens to draw at most.
        settings: see ``GenerationSettings``.

    Raises:
        GeowarpError: see ``BDH.generate``.
    """

    def __init__(
        self, model: "BDH", prompt: Tensor, max_new_tokens: int, **settings: Unpack[GenerationSettings]
    ) -> None:
        unknown = sorted(settings.keys() - GenerationSettings.__annotations__.keys())
        if unknown:
            raise TypeError(f"BDH.generate: unknown setting {unknown[0]!r}")
        self._temperature = settings.get("temperature", 1.0)
        self._top_k, self._top_p = settings.get("top_k"), settings.get("top_p")
        check_sampling(self._temperature, self._top_k, self._top_p)
        check_tokens(prompt, model.config.vocab_size, wait=True)
        _check_prompt(prompt, settings.get("mask"))
        _check_numbers(max_new_tokens, settings.get("stop_token"), model.config.vocab_size)
        self._model, self._left, self._settings = model, max_new_tokens, settings
        with self._inference():
            logits, state = model(prompt, settings.get("state"), settings.get("mask"))
        self._read_so_far: BDHState | Decoder = state
        self._logits: Tensor | None = logits[..., -1, :]
        self._unread: Tensor | None = None
        self._ended = torch.zeros_like(prompt[..., 0], dtype=torch.bool)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the tokens ``(...)``, each as soon as it is drawn."""
        while self._left > 0 and not self._over():
            self._left -= 1
            yield self._draw()

    def state(self) -> BDHState:
        """Return the state after the prompt and all tokens that were drawn."""
        self._read()
        read = self._read_so_far
        return read.state() if isinstance(read, Decoder) else read

    def _over(self) -> bool:
        return self._settings.get("stop_token") is not None and bool(self._ended.all())

    def _draw(self) -> Tensor:
        logits, stop = self._read(), self._settings.get("stop_token")
        token = sample_tokens(
            logits,
            temperature=self._temperature,
            top_k=self._top_k,
            top_p=self._top_p,
            generator=self._settings.get("generator"),
        )
        if stop is not None:
            token = token.masked_fill(self._ended, stop)
            self._ended = self._ended | (token == stop)
        self._unread, self._logits = token, None
        return token

    def _read(self) -> Tensor:
        """Return the logits of the next token, after reading the last one that was drawn."""
        if self._logits is None:
            assert self._unread is not None
            self._logits = self._decoder().step(self._unread)
        return self._logits

    def _decoder(self) -> Decoder:
        if isinstance(self._read_so_far, BDHState):
            self._read_so_far = Decoder(self._model, self._read_so_far, self._settings.get("sparse"))
        return self._read_so_far

    @contextmanager
    def _inference(self) -> Iterator[None]:
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._model.train(training)


def _check_prompt(prompt: Tensor, mask: Tensor | None) -> None:
    if prompt.shape[-1] == 0:
        raise GeowarpError("BDH.generate: the prompt is empty; give at least one token")
    if mask is not None and mask.shape == prompt.shape and not mask[..., -1].all():
        raise GeowarpError("BDH.generate: a row of the prompt is all padding; give each at least one token")


def _check_numbers(max_new_tokens: int, stop_token: int | None, vocabulary: int) -> None:
    if max_new_tokens < 0:
        raise GeowarpError(f"BDH.generate: max_new_tokens = {max_new_tokens} is negative")
    if stop_token is not None and not 0 <= stop_token < vocabulary:
        raise GeowarpError(
            f"BDH.generate: stop_token = {stop_token} is outside the vocabulary of {vocabulary}, "
            f"0 to {vocabulary - 1}; give None to draw all tokens"
        )
