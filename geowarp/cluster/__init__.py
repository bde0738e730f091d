"""Estimators with scikit-learn's interface; needs ``pip install 'geowarp[cluster]'``."""

from .._extras import import_extra

import_extra("sklearn", "cluster", "geowarp.cluster")

from .multiview_subspace_clustering import MultiviewSubspaceClustering  # noqa: E402

__all__ = ["MultiviewSubspaceClustering"]
