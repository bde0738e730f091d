"""Seeds every test and doctest, and names torch in the doctests."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores


def pytest_collection_finish() -> None:
    """Keep what the tests are made of, some millions of objects, out of every garbage collection."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed(doctest_namespace: dict[str, Any]) -> Iterator[None]:
    """Seed the CPU's generator alone: ``torch.manual_seed`` takes three stack traces for other devices."""
    doctest_namespace["torch"] = torch
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
