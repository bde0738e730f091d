"""Randomness that leaves the global generators as they were."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

from ..errors import GeowarpError

__all__ = ["draw_seed", "isolated_randomness"]

_GENERATORS = threading.RLock()


def draw_seed(random_state: object) -> int:
    """Return a seed: the same for the same int, drawn from a ``RandomState``, or from numpy's own for None.

    Raises:
        GeowarpError: for anything else.

    Example:
        >>> draw_seed(3) == draw_seed(3)
        True
    """
    try:
        state = check_random_state(random_state)
    except ValueError as error:
        raise GeowarpError(
            f"random_state = {random_state!r}: pass an int of at least 0 and below 2**32, a "
            "numpy.random.RandomState or None"
        ) from error
    return int(state.randint(np.iinfo(np.int32).max))


@contextmanager
def isolated_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators of the CPU and of a device, and put back their states afterwards.

    The generators belong to the process, so threads wait for each other.

    Example:
        >>> before = torch.get_rng_state()
        >>> with isolated_randomness(0, torch.device("cpu")):
        ...     first = torch.rand(2)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    if device.type == "cpu":
        with _GENERATORS, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = torch.get_device_module(device)
    index = module.current_device() if device.index is None else device.index
    with _GENERATORS, torch.random.fork_rng(devices=[index], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        module.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), index)
        yield
