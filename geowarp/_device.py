"""Devices that a user names."""

from typing import Any

import torch

from .errors import GeowarpError

__all__ = ["usable_device"]


def usable_device(device: Any, label: str, *others: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """Return a device that can hold a tensor here.

    Args:
        device: what ``torch.device`` takes.
        label: of the argument, which begins the message.
        others: further values that the argument may have, for the message.
        dtype: of the tensor.

    Raises:
        GeowarpError: for any other, with those that there are.

    Example:
        >>> usable_device("cpu", "device =")
        device(type='cpu')
    """
    try:
        found = torch.device(device)
        torch.zeros(1, dtype=dtype, device=found).item()
    except (AssertionError, RuntimeError, NotImplementedError, TypeError) as error:
        available = [*others, "cpu", *["cuda"] * torch.cuda.is_available()]
        raise GeowarpError(
            f"{label} {device!r} cannot be used here; there is: {', '.join(available)}"
        ) from error
    return found
