"""A language model of bytes: BDH on Stiefel, trained on long texts, interrupted, resumed, and asked to write.

python examples/bdh_language_model.py [--text PATH] [--steps 400] [--out bdh-language-model] [--seed 0]
python examples/bdh_language_model.py --resume --steps 800
python examples/bdh_language_model.py --resume --steps 0 --prompt "def " --temperature 0.7 --top-p 0.9

Learns a text, by default Python's own standard library. Writes to the folder ``--out`` a checkpoint, which
``--resume`` goes on from, and a picture of the synapses that grow most while the model reads; then the model
continues the prompt. Ctrl-C ends the step, saves and stops; a resumed run computes the same numbers as one
that was never stopped. Needs matplotlib and tqdm.

The text is cut into streams that are read side by side, window after window. What the model remembers of a
stream is handed on from each window to the next, but gradients end there: truncated backpropagation through
time. So the model learns to use a memory far longer than the windows that it is trained on.
"""

import argparse
import io
import math
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import matplotlib

matplotlib.use("Agg")
import torch
import torch.nn.functional as F
from matplotlib import pyplot
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from geowarp import GeowarpError
from geowarp.demo.files import publish
from geowarp.demo.stream import print_stream
from geowarp.demo.text import Text, read_file, read_standard_library
from geowarp.nn import BDH, BDHConfig, BDHState, GenerationSettings
from geowarp.nn.probes import most_active_synapses, plot_synapse_activity, synapse_activity
from geowarp.optim import RiemannianAdam, param_groups

BYTES = 256
SIZE = BDHConfig(n_layer=3, n_embd=64, dropout=0.0, n_head=4, mlp_internal_dim_multiplier=16)
CHECKPOINT, PICTURE = "checkpoint.pt", "synapses.png"


@dataclass(frozen=True)
class Recipe:
    """How to train; none of it depends on the number of steps, so that a run can be continued at will.

    Args:
        streams: parts of the text that are read side by side.
        window: bytes of each stream that a step reads.
        memory: windows after which what was read is forgotten, so that beginnings are learned, too.
        save_every: steps between checkpoints.
        judge: windows of the validation text, of each stream.
        factor_rate: highest learning rate of the factors on Stiefel, about the length of a step.
        diagonal_rate: of their diagonals.
        synapse_rate: of decays and strengths of the synapses.
        matrix_rate: of embedding, head and free factors.
        weight_decay: of those.
        warmup: steps in which the learning rates rise; afterwards they fall as the root of the step.
    """

    streams: int = 8
    window: int = 128
    memory: int = 16
    save_every: int = 50
    judge: int = 8
    factor_rate: float = 0.5
    diagonal_rate: float = 1e-2
    synapse_rate: float = 1e-1
    matrix_rate: float = 3e-2
    weight_decay: float = 0.1
    warmup: int = 40

    def rate_at(self, step: int) -> float:
        """Return the share of the learning rates that a step has."""
        return min((step + 1) / self.warmup, math.sqrt(self.warmup / (step + 1)))


@dataclass
class Run:
    """A model in training, and everything that its next step depends on beside the text."""

    recipe: Recipe
    model: BDH
    optimizer: RiemannianAdam
    schedule: LambdaLR
    step: int = 0
    memory: BDHState | None = None


# Training


def new_run(config: BDHConfig, recipe: Recipe, seed: int, device: torch.device) -> Run:
    """Return a model that has learned nothing, and its optimiser."""
    if config.vocab_size != BYTES:
        raise GeowarpError(f"a vocabulary of {config.vocab_size} does not fit bytes; give {BYTES}")
    torch.manual_seed(seed)
    model = BDH(config).to(device)
    optimizer = RiemannianAdam(parameter_groups(model, recipe))
    return Run(recipe, model, optimizer, LambdaLR(optimizer, recipe.rate_at))


def parameter_groups(model: BDH, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the parameters by learning rate; matrices are decayed, gains and points on Stiefel are not."""
    flat, *points = param_groups(model)
    rates = {"synapse": recipe.synapse_rate, "diagonal": recipe.diagonal_rate, "matrix": recipe.matrix_rate}
    groups = []
    for kind, rate in rates.items():
        pairs = [(name, parameter) for name, parameter in flat["params"] if kind_of(name) == kind]
        decay = recipe.weight_decay if kind == "matrix" else 0.0
        groups.append({**flat, "params": pairs, "lr": rate, "weight_decay": decay})
    groups += [{**group, "lr": recipe.factor_rate} for group in points]
    return [group for group in groups if group["params"]]  # free factors have no diagonals


def kind_of(name: str) -> str:
    """Return whether a parameter without a manifold is of a synapse, a diagonal of a factor or a matrix."""
    if name.startswith("synapse."):
        return "synapse"
    return "diagonal" if name.endswith(".diagonal") else "matrix"


def as_streams(data: Tensor, recipe: Recipe, device: torch.device) -> Tensor:
    """Cut a part of a text into streams ``(streams, length)`` of which each goes on where it was left."""
    length = len(data) // recipe.streams
    if length <= recipe.window:
        needed = recipe.streams * (recipe.window + 1)
        raise GeowarpError(
            f"a part of the text has {len(data)} bytes, and {recipe.streams} streams of windows of "
            f"{recipe.window} bytes need {needed}; a tenth of the text is for validation; give a longer one"
        )
    return data[: recipe.streams * length].view(recipe.streams, length).to(device)


def window_of(streams: Tensor, step: int, recipe: Recipe) -> tuple[Tensor, bool]:
    """Return the window ``(streams, window + 1)`` of a step, and whether it goes on from the one before."""
    number = step % ((streams.shape[1] - 1) // recipe.window)  # after the last window comes the first again
    start = number * recipe.window
    return streams[:, start : start + recipe.window + 1].long(), number % recipe.memory > 0


def window_loss(model: BDH, window: Tensor, memory: BDHState | None) -> tuple[Tensor, BDHState]:
    """Return the mean cross-entropy of every byte but the first, and the memory, cut off from its past."""
    logits, memory = model(window[:, :-1], memory)
    return F.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten()), memory.detach()


def train_step(run: Run, streams: Tensor) -> float:
    """Learn from the next window, and return its loss in bits per byte."""
    window, continues = window_of(streams, run.step, run.recipe)
    loss, memory = window_loss(run.model, window, run.memory if continues else None)
    run.optimizer.zero_grad()
    loss.backward()
    run.optimizer.step()
    run.schedule.step()
    run.step, run.memory = run.step + 1, memory
    return loss.item() / math.log(2)


@torch.no_grad()
def bits_per_byte(model: BDH, streams: Tensor, recipe: Recipe) -> float:
    """Return the mean loss in bits of the first windows of a text, read as in training, without dropout."""
    model.eval()
    losses, memory = [], None
    for step in range(min(recipe.judge, (streams.shape[1] - 1) // recipe.window)):
        window, continues = window_of(streams, step, recipe)
        loss, memory = window_loss(model, window, memory if continues else None)
        losses.append(loss)
    model.train()
    return torch.stack(losses).mean().item() / math.log(2)


def train(run: Run, text: Text, steps: int, out: Path, stop: Event) -> None:
    """Train up to a number of steps in all, or until ``stop`` is set; save and judge the model on the way."""
    device = run.model.lm_head.device
    streams = as_streams(text.train, run.recipe, device)
    validation = as_streams(text.validation, run.recipe, device)
    if run.step >= steps:
        print(f"trained for {run.step} steps already")
        return
    save(run, text, out)  # a folder that cannot be written to is refused before the training
    progress = tqdm(range(run.step, steps), initial=run.step, total=steps, unit="step", dynamic_ncols=True)
    for _ in progress:
        progress.set_postfix_str(f"{train_step(run, streams):.2f} bits/byte", refresh=False)
        if run.step % run.recipe.save_every == 0 or run.step == steps or stop.is_set():
            save(run, text, out)
            bits = bits_per_byte(run.model, validation, run.recipe)
            progress.write(f"step {run.step}: {bits:.3f} bits per byte of the validation text, saved")
        if stop.is_set():
            break


@contextmanager
def interruptible() -> Iterator[Event]:
    """Let the first Ctrl-C set an event instead of ending the program; the second one ends it."""
    stop = Event()

    def interrupted(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


# Checkpoints


def identity(run: Run, text: Text) -> dict[str, Any]:
    """Return what must be the same for a run to be continued."""
    return {**asdict(run.model.config), **asdict(run.recipe), "sha256 of the text": text.sha256}


def save(run: Run, text: Text, out: Path) -> None:
    """Write the run to ``out``, all or nothing: an older checkpoint is replaced by a complete one only."""
    device = run.model.lm_head.device
    content = {
        "identity": identity(run, text),
        "step": run.step,
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "memory": None if run.memory is None else run.memory.state_dict(),
        "random": torch.get_rng_state(),
        "random on cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    publish(out, {CHECKPOINT: partial(write_checkpoint, content)})


def write_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint, through a file of Python's: torch's own raises no OSError on a full disk."""
    with path.open("wb") as file:
        torch.save(content, file)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint; nothing in it is executed."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise GeowarpError(f"cannot read {path}: {error.strerror}; train without --resume first") from error
    except Exception as error:  # torch.load raises what pickle, zip and its own reader happen to raise
        raise GeowarpError(f"{path} is no checkpoint of this program") from error
    if not isinstance(content, dict) or "identity" not in content:
        raise GeowarpError(f"{path} is no checkpoint of this program")
    return content


def restore(run: Run, text: Text, out: Path) -> None:
    """Bring a new run to where the checkpoint in ``out`` was saved."""
    content = read_checkpoint(out / CHECKPOINT)
    for name, here in identity(run, text).items():
        there = content["identity"].get(name)
        if there != here:
            raise GeowarpError(
                f"{out / CHECKPOINT} was trained with {name} = {there!r}, not {here!r}; give the same "
                "options and text, or train anew in another folder --out"
            )
    device = run.model.lm_head.device
    run.model.load_state_dict(content["model"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.schedule.load_state_dict(content["schedule"])
    run.step = content["step"]
    if content["memory"] is not None:
        run.memory = BDHState.from_state_dict(content["memory"]).to(device)
    torch.set_rng_state(content["random"])
    if device.type == "cuda" and content["random on cuda"] is not None:
        torch.cuda.set_rng_state(content["random on cuda"], device)


# What a trained model can be asked


def as_tokens(text: bytes, model: BDH) -> Tensor:
    """Return bytes as tokens ``(T,)`` on the device of the model."""
    return torch.tensor(list(text), dtype=torch.long, device=model.lm_head.device)


def write_text(model: BDH, prompt: Tensor, length: int, sampling: GenerationSettings) -> None:
    """Print the prompt and what the model makes of it, each character as soon as it is drawn."""
    print_stream(prompt)
    print("│", end="", flush=True)
    print_stream(model.stream(prompt, length, **sampling))
    print()


def draw_synapses(model: BDH, text: bytes, path: Path) -> None:
    """Draw three strong synapses of the last layer over the time in which the model reads a text."""
    tokens = as_tokens(text, model)
    strongest = most_active_synapses(model, tokens, model.config.n_layer - 1, k=100).synapses
    first_of_neuron = {synapse.i: synapse for synapse in reversed(strongest)}
    shown = [synapse for synapse in strongest if first_of_neuron[synapse.i] == synapse][:3]
    names = [f"neuron {synapse.i} → {synapse.j}" for synapse in shown]
    axes = plot_synapse_activity(synapse_activity(model, tokens, shown), text, names)
    axes.figure.savefig(path, dpi=120, format="png")
    pyplot.close(axes.figure)


# The command line


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, help="file to learn (default: Python's own standard library)")
    parser.add_argument("--steps", type=int, default=400, help="steps in all, earlier ones counted")
    parser.add_argument("--out", type=Path, default=Path("bdh-language-model"), help="folder to write")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--synapse", default="gated_delta", help="hebbian, decay, delta or gated_delta")
    parser.add_argument("--factors", default="stiefel", help="stiefel or euclidean")
    parser.add_argument("--prompt", help="what to continue (default: the beginning of the validation text)")
    parser.add_argument("--length", type=int, default=400, help="bytes to write")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-p", type=float, default=0.95)
    return parser.parse_args(argv)


def start(arguments: argparse.Namespace, text: Text) -> Run:
    """Return a new run, or the one that ``--resume`` goes on from."""
    if arguments.steps < 0:
        raise GeowarpError(f"--steps {arguments.steps} must be at least 0")
    if not 0 <= arguments.seed < 2**63:
        raise GeowarpError(f"--seed {arguments.seed} must be at least 0 and below 2**63")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = replace(SIZE, synapse=arguments.synapse, factors=arguments.factors)
    run = new_run(config, Recipe(), arguments.seed, device)
    if arguments.resume:
        restore(run, text, arguments.out)
    elif (arguments.out / CHECKPOINT).exists():
        raise GeowarpError(f"{arguments.out} holds a checkpoint; add --resume, or name another folder --out")
    return run


def language_model(arguments: argparse.Namespace) -> int:
    """Train or resume, draw and write, and return the exit code."""
    text = read_standard_library() if arguments.text is None else read_file(arguments.text)
    run = start(arguments, text)
    begin = (
        bytes(text.validation[:64].tolist()) if arguments.prompt is None else os.fsencode(arguments.prompt)
    )
    prompt, sampling = as_tokens(begin, run.model), sampling_of(arguments, run.model)
    run.model.stream(
        prompt, arguments.length, **sampling
    )  # refuses wrong settings now, not after the training
    with interruptible() as stop:
        train(run, text, arguments.steps, arguments.out, stop)
    if stop.is_set():
        print(f"stopped after step {run.step}; --resume goes on from there")
        return 130
    publish(
        arguments.out, {PICTURE: partial(draw_synapses, run.model, bytes(text.validation[:120].tolist()))}
    )
    print(f"drawn: {arguments.out / PICTURE}\n")
    write_text(run.model, prompt, arguments.length, sampling)
    return 0


def sampling_of(arguments: argparse.Namespace, model: BDH) -> GenerationSettings:
    """Return how tokens are drawn."""
    generator = torch.Generator(model.lm_head.device).manual_seed(arguments.seed)
    return {"temperature": arguments.temperature, "top_p": arguments.top_p, "generator": generator}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the model may write what the terminal cannot show
    try:
        return language_model(parse(argv))
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the last checkpoint is whole", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
