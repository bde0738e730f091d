"""What the training of a network is measured by: its clusters and the time after every epoch."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from geowarp.metrics import clustering_accuracy

Labels = NDArray[Any]


class Outcome(NamedTuple):
    """Labels ``(N,)`` at the end, accuracy and seconds of each epoch, and the number of parameters."""

    labels: Labels
    accuracies: list[float]
    seconds: list[float]
    parameters: int | None = None


class Curve:
    """Accuracies and seconds of epochs, the first of which begins now; ``predict`` is no part of them."""

    def __init__(self, truth: Labels, predict: Callable[[], Labels]) -> None:
        self.truth, self.predict = truth, predict
        self.labels: Labels = truth[:0]
        self.accuracies: list[float] = []
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def __call__(self, loss: float = 0.0) -> None:
        """End an epoch and begin the next one."""
        self.seconds.append(time.perf_counter() - self._start)
        self.labels = self.predict()
        self.accuracies.append(clustering_accuracy(self.truth, self.labels))
        self._start = time.perf_counter()

    def outcome(self, parameters: int) -> Outcome:
        """Return what was measured."""
        return Outcome(self.labels, self.accuracies, self.seconds, parameters)
