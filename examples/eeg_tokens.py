"""Recordings as sequences of positive definite matrices: second moments of windows in time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from eeg_data import Recordings, Series
from numpy.typing import NDArray
from torch import Tensor

from geowarp.manifolds import AffineInvariantSPD, GyrovectorSpace
from geowarp.metrics import frechet_mean, recenter


class Tokens(NamedTuple):
    """Matrices ``(N, m, n, n)``, m for each recording, and the labels ``(N,)``."""

    points: Tensor
    labels: Tensor

    def part(self, which: Tensor) -> "Tokens":
        """Return those of some recordings."""
        return Tokens(self.points[which], self.labels[which])


def windows(series: Series, count: int) -> list[Series]:
    """Return ``count`` windows of one length from first to last sample, each half over the one before."""
    time = series.shape[-1]
    length = min(time, max(1, round(2 * time / (count + 1))))
    starts = np.linspace(0, time - length, count).round().astype(int)
    return [series[..., start : start + length] for start in starts]


def second_moment(window: Series, shrinkage: float) -> NDArray[np.float64]:
    """Return ``(1 − s) Z Zᵀ / T + s I`` for ``Z = [X; 1]``, with X the channels ``(n − 1, T)``.

    It holds the covariance and the mean of the channels: ``[[C + μ μᵀ, μ], [μᵀ, 1]]``, the embedding of a
    normal distribution into the positive definite matrices.

    References:
        Calvo, Oller, A distance between multivariate normal distributions based in an embedding into the
        Siegel group, J. Multivar. Anal. 35 (1990).
    """
    z = np.vstack([window, np.ones((1, window.shape[1]))])
    moment: NDArray[np.float64] = (1 - shrinkage) * (z @ z.T) / z.shape[1] + shrinkage * np.eye(len(z))
    return moment


def second_moments(recordings: Recordings, count: int, scale: float, shrinkage: float) -> Tokens:
    """Return the second moments of the windows of all recordings, which are divided by ``scale``."""
    moments = [
        [second_moment(window / scale, shrinkage) for window in windows(series, count)]
        for series in recordings.series
    ]
    return Tokens(torch.from_numpy(np.array(moments)), torch.from_numpy(recordings.labels))


def tokens(train: Recordings, test: Recordings, count: int, shrinkage: float) -> tuple[Tokens, Tokens]:
    """Return the tokens of both, moved so that the mean of those to train with is the identity.

    The recordings are divided by one number, the root mean square of those to train with.

    Args:
        train: the recordings that mean and scale are from.
        test: others of the same channels.
        count: m, windows in a recording.
        shrinkage: s from 0 to 1, the share of the identity.
    """
    scale = root_mean_square(train.series)
    own, other = (second_moments(part, count, scale, shrinkage) for part in (train, test))
    spd, flat = AffineInvariantSPD(), own.points.flatten(0, 1)
    mean = frechet_mean(spd, flat)
    moved = (recenter(spd, part.points.flatten(0, 1), mean=mean) for part in (own, other))
    first, second = (
        Tokens(points.unflatten(0, (-1, count)), part.labels)
        for points, part in zip(moved, (own, other), strict=True)
    )
    return first, second


def root_mean_square(series: Sequence[Series]) -> float:
    """Return the root of the mean square of all samples of all channels."""
    return float(np.sqrt(np.square(np.concatenate(series, 1)).mean()))


def coordinates(manifold: GyrovectorSpace, points: Tensor) -> Tensor:
    """Return the logarithms at the identity of matrices ``(..., n, n)`` as vectors ``(..., n(n+1)/2)``.

    Entries off the diagonal are scaled by √2, so that norms are those of the matrices.
    """
    n = points.shape[-1]
    identity = manifold.identity_element(n, n, dtype=points.dtype, device=points.device)
    u = manifold.logmap(identity, points)
    row, column = torch.triu_indices(n, n, device=points.device)
    return u[..., row, column] * torch.where(row == column, 1.0, 2.0**0.5).to(u)
