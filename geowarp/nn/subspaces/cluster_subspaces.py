"""Clusters of samples with several views, each cluster a subspace for each view."""

import torch
from torch import Tensor, nn

from ...errors import GeowarpError
from ...manifolds import Grassmann
from ...manifolds.linalg import full_precision
from ...manifolds.linalg.leading_subspace import leading_left_singular_vectors
from ...manifolds.parameter import ManifoldParameter
from .finite_input import require_finite

__all__ = ["ClusterSubspaces"]

_SHARPNESS = 4.0  # of the squared distance to the own cluster, over the temperature, at the start


class ClusterSubspaces(nn.Module):
    """Logits ``−d(U_v, C_vc)² / τ`` of the views of a sample, with the chordal distance d.

    Their sum over the views is the logit of the consensus: the squared distance in the product of the
    manifolds of all views. Where V views share the subspaces C_c, the squared distances add up to V times
    that of the mean projector, ``‖P − C_c C_cᵀ‖² / 2`` with ``P = Σ_v U_v U_vᵀ / V``, and a constant that is
    the same for all clusters; the leading eigenvectors of P are the chordal mean of the views.

    ``subspaces`` are points of Grassmann, ``(V or 1, num_clusters, n, k)``, at random at the start;
    ``fit_clusters`` puts them where given clusters are. τ is learned, as its logarithm.

    Args:
        n: the size of the vectors.
        k: the dimension of the subspaces.
        num_clusters: how many clusters.
        views: how many views have subspaces of their own; None for subspaces that all views share.

    Raises:
        GeowarpError: for sizes out of range.

    References:
        Zhang, Zhu, Heath, Huang, Grassmannian learning: embedding geometry awareness in shallow and deep
        learning, arXiv 1808.02229 (2018), for clusters by chordal means.

    Example:
        >>> head = ClusterSubspaces(4, 2, 3)
        >>> head(torch.eye(4)[:, :2].expand(5, 6, 4, 2)).shape  # five views of six samples
        torch.Size([5, 6, 3])
    """

    def __init__(self, n: int, k: int, num_clusters: int, views: int | None = None) -> None:
        super().__init__()
        if not 1 <= k <= n:
            raise GeowarpError(f"ClusterSubspaces: k = {k} must be between 1 and n = {n}")
        if num_clusters < 2 or (views is not None and views < 1):
            raise GeowarpError(
                f"ClusterSubspaces: num_clusters = {num_clusters} must be at least 2, and views = {views} at "
                "least 1, or None"
            )
        subspaces = Grassmann().random(1 if views is None else views, num_clusters, n, k)
        self.subspaces = ManifoldParameter(subspaces, manifold=Grassmann())
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def temperature(self) -> Tensor:
        """τ."""
        return self.log_temperature.exp()

    def forward(self, bases: Tensor) -> Tensor:
        """Return the logits ``(V, B, num_clusters)`` of orthonormal bases ``(V, B, n, k)``.

        Raises:
            GeowarpError: for bases of another shape.
        """
        return -self.squared_distances(bases) / self.temperature

    def squared_distances(self, bases: Tensor) -> Tensor:
        """Return ``d(U_v, C_vc)²`` to rounding, ``(V, B, num_clusters)``."""
        self._check_bases(bases)
        squares: Tensor = _squares(bases, self.subspaces)
        return squares

    @torch.no_grad()
    def fit_clusters(self, bases: Tensor, labels: Tensor) -> None:
        """Move each subspace to the chordal mean of a cluster, and set τ by how far its members are from it.

        Args:
            bases: ``(V, B, n, k)``.
            labels: the cluster of each sample, ``(B,)``, integers; the subspace of a cluster without members
                stays, and so does τ without samples.

        Raises:
            GeowarpError: for bases or labels of another shape, and labels that are not in range.
            NonFiniteError: for bases that are infinite or not a number.
        """
        self._check_bases(bases)
        self._check_labels(labels, bases.shape[1])
        require_finite("ClusterSubspaces", bases)
        if not len(labels):
            return
        found, own = labels.unique(return_inverse=True)
        means = torch.stack([self._mean(bases[:, own == place]) for place in range(len(found))], 1)
        distance = _paired_squares(bases, means[:, own].expand_as(bases)).sum(0).mean()
        floor = torch.finfo(distance.dtype).eps * bases.shape[-1]
        self.subspaces[:, found] = means.to(self.subspaces.dtype)
        self.log_temperature.copy_((distance.clamp_min(floor) / _SHARPNESS).log())

    def extra_repr(self) -> str:
        """Return the sizes, for ``repr``."""
        views, clusters, n, k = self.subspaces.shape
        return f"n={n}, k={k}, num_clusters={clusters}, views={None if views == 1 else views}"

    def _mean(self, members: Tensor) -> Tensor:
        """Return the chordal means of ``(V, M, n, k)``: of each view, or of all where they share one."""
        shared = len(self.subspaces) == 1
        mean: Tensor = _chordal_mean(members.flatten(0, 1).unsqueeze(0) if shared else members)
        return mean

    def _check_bases(self, bases: Tensor) -> None:
        views, _, n, k = self.subspaces.shape
        if bases.ndim != 4 or bases.shape[-2:] != (n, k) or (views != 1 and len(bases) != views):
            raise GeowarpError(
                f"ClusterSubspaces: the bases have the shape {tuple(bases.shape)}; it needs "
                f"({'V' if views == 1 else views}, B, {n}, {k})"
            )

    def _check_labels(self, labels: Tensor, samples: int) -> None:
        clusters = self.subspaces.shape[1]
        integer = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
        if labels.shape != (samples,) or not integer or bool(((labels < 0) | (labels >= clusters)).any()):
            raise GeowarpError(
                f"ClusterSubspaces: the labels have the shape {tuple(labels.shape)} and the dtype "
                f"{labels.dtype}; an integer from 0 to {clusters - 1} is needed for each of {samples} samples"
            )


@full_precision
def _squares(bases: Tensor, clusters: Tensor) -> Tensor:
    """Return ``k − ‖UᵀC‖²`` through k x k products, ``(V, B, K)``."""
    views, samples, n, k = bases.shape
    left = bases.mT.reshape(views, samples * k, n)
    right = clusters.transpose(1, 2).reshape(len(clusters), n, -1)
    products = (left @ right).view(views, samples, k, clusters.shape[1], k)
    return k - products.square().sum((2, 4))


@full_precision
def _chordal_mean(bases: Tensor) -> Tensor:
    """Return the chordal mean of each row of ``(V, M, n, k)``: what all columns together span best."""
    return leading_left_singular_vectors(bases.transpose(1, 2).flatten(2), bases.shape[-1]).basis


@full_precision
def _paired_squares(bases: Tensor, others: Tensor) -> Tensor:
    """Return the squared distances ``(V, B)`` of ``(V, B, n, k)`` and as many others."""
    return bases.shape[-1] - (bases.mT @ others).square().sum((-2, -1))
