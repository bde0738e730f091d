"""The demonstration from its arguments to its files."""

import time
from functools import partial
from typing import Any

import torch

from .. import __version__
from .arguments import Arguments
from .files import publish
from .picture import save_picture
from .report import results, save_checkpoint, save_results, table
from .settings import Settings
from .stream import print_stream
from .text import Text, read_file, read_standard_library
from .training import Contender, build_contenders, train

__all__ = ["run"]

_PROMPT = 64
_SAMPLE = 200


def run(arguments: Arguments, settings: Settings | None = None) -> dict[str, Any]:
    """Train both models, print the table and a sample, write the files, and return the numbers.

    Args:
        arguments: checked arguments.
        settings: sizes and learning rates.

    Raises:
        GeowarpError: where the text cannot be read or is too short, or the results cannot be written.
    """
    start = time.perf_counter()
    settings = Settings() if settings is None else settings
    text = read_standard_library() if arguments.text is None else read_file(arguments.text)
    text.require(settings.context + 1)
    _introduce(text, settings, arguments)
    contenders = build_contenders(settings, arguments.steps, arguments.seed, arguments.device)
    train(contenders, text, settings, arguments.steps, arguments.seed, arguments.device)
    numbers = results(contenders, text, settings, arguments)
    print(f"\n{table(numbers)}\n\nsample of the Stiefel model, after a prompt from the validation text:\n")
    numbers["sample"] = _sample(contenders[0], text, arguments)
    numbers["seconds"] = seconds = time.perf_counter() - start
    publish(
        arguments.out,
        {
            **{f"{c.name}.safetensors": partial(save_checkpoint, c) for c in contenders},
            "results.json": partial(save_results, numbers),
            "curves.png": partial(save_picture, numbers),
        },
    )
    print(f"{seconds:.0f} s; wrote checkpoints, results.json and curves.png to {arguments.out}/")
    return numbers


def _introduce(text: Text, settings: Settings, arguments: Arguments) -> None:
    sizes = settings.config
    threads = f", {torch.get_num_threads()} threads" if arguments.device.type == "cpu" else ""
    lines = (
        f"geowarp {__version__}, torch {torch.__version__}, on {arguments.device}{threads}",
        f"text: {text.source}",
        f"      {len(text.train):,} bytes to learn, {len(text.validation):,} for validation",
        f"      sha256 {text.sha256}",
        f"model: BDH, {sizes.n_layer} layers with one set of weights, {sizes.n_neurons} neurons in "
        f"{sizes.n_head} heads, rank {sizes.n_embd}, synapses: {sizes.synapse.replace('_', ' ')}",
    )
    print("\n".join(lines), flush=True)


def _sample(contender: Contender, text: Text, arguments: Arguments) -> str:
    """Print a prompt and what the model makes of it, each character as it is drawn, and return both."""
    prompt = text.validation[:_PROMPT].long().to(arguments.device)
    generator = torch.Generator(arguments.device).manual_seed(arguments.seed)
    begin = print_stream(prompt)
    print("│", end="", flush=True)
    continuation = print_stream(contender.model.stream(prompt, _SAMPLE, temperature=0.8, generator=generator))
    print("\n")
    return begin + continuation
