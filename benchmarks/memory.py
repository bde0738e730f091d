"""The memory that one call adds at its highest: of the device, or of a process on the CPU."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def peak_megabytes(run: Callable[[], Any], device: torch.device) -> float | None:
    """Return how many megabytes a call of ``run`` adds at its highest, or None where that is not known."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed goes back to the system
        Path("/proc/self/clear_refs").write_text("5")  # forgets the highest resident size until now
    except (OSError, AttributeError):
        return None
    resident = _status("VmRSS")
    run()
    return (_status("VmHWM") - resident) / 1e3


def in_new_process(script: str, *arguments: str, **environment: str) -> float | None:
    """Return the number that a script prints last, or None where it prints none."""
    output = subprocess.run(
        [sys.executable, script, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout.split()
    return float(output[-1]) if output and output[-1] != "None" else None


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))
