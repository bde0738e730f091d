"""Views of three well separated clusters, and a small estimator for them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geowarp.cluster import MultiviewSubspaceClustering

Views = list[NDArray[Any]]
LABELS = np.random.default_rng(5).permutation(np.repeat([0, 1, 2], 30))


def vectors(width: int = 8, seed: int = 0) -> NDArray[Any]:
    """Return a view ``(90, width)``: a centre for each cluster, a tenth of noise."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(3, width))
    return np.asarray(centres[LABELS] + 0.1 * random.normal(size=(len(LABELS), width)))


def images(*shape: int, seed: int = 1) -> NDArray[Any]:
    """Return a view ``(90, *shape)`` of grey values: a picture for each cluster, and noise."""
    random = np.random.default_rng(seed)
    pictures = random.uniform(60, 190, size=(3, *shape))[LABELS]
    return np.asarray(pictures + 8 * random.normal(size=pictures.shape), dtype=np.uint8)


def two_views() -> Views:
    return [vectors(seed=0), vectors(seed=1)]


def estimator(**parameters: Any) -> MultiviewSubspaceClustering:
    """Return an estimator of three clusters that trains for a moment only, unless told otherwise."""
    return MultiviewSubspaceClustering(**{"n_clusters": 3, "max_epochs": 2, "random_state": 0, **parameters})
