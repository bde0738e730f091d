"""Means, medians and principal geodesics of diffusion tensors: what a metric does to real matrices.

python examples/means_and_distances.py [--out means_and_distances.png]

Takes the diffusion MRI volume of 10 x 10 x 10 voxels that dipy ships, in each of which the diffusion of water
is a symmetric positive definite 3 x 3 matrix. Prints, for the tensors of tissue, the mean under five metrics,
what outliers do to mean and median, and the principal geodesics; draws the tensors as ellipses. Needs the
extra ``examples``.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from dipy.core.gradients import gradient_table
from dipy.data import get_fnames
from dipy.io.gradients import read_bvals_bvecs
from dipy.io.image import load_nifti
from dipy.reconst.dti import TensorModel
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from torch import Tensor
from tqdm import tqdm

from geowarp.manifolds import (
    AffineInvariantSPD,
    BuresWassersteinSPD,
    Euclidean,
    LogCholeskySPD,
    LogEuclideanSPD,
    Manifold,
)
from geowarp.metrics import (
    frechet_mean,
    frechet_variance,
    geodesic,
    geometric_median,
    nearest,
    pairwise_distance,
    tangent_pca,
)

METRICS: dict[str, Manifold] = {
    "Euclidean": Euclidean(2),
    "affine-invariant": AffineInvariantSPD(),
    "log-Euclidean": LogEuclideanSPD(),
    "log-Cholesky": LogCholeskySPD(),
    "Bures–Wasserstein": BuresWassersteinSPD(),
}


def diffusion_tensors() -> Tensor:
    """Return the tensors (10, 10, 10, 3, 3) of the volume that dipy ships, in µm²/ms."""
    image, values, vectors = get_fnames(name="small_64D")
    data, _ = load_nifti(image)
    strengths, directions = read_bvals_bvecs(values, vectors)
    gradients = gradient_table(strengths, bvecs=np.nan_to_num(directions))  # unweighted: no direction
    return torch.from_numpy(1e3 * TensorModel(gradients).fit(data).quadratic_form)


def tissue(tensors: Tensor) -> Tensor:
    """Return whether a voxel is tissue: no free water, and no eigenvalue that the fit cut off at 0."""
    eigenvalues = torch.linalg.eigvalsh(tensors)
    inside: Tensor = (eigenvalues.mean(-1) < 1.5) & (eigenvalues[..., 0] > 0.05)
    return inside


def anisotropy(tensors: Tensor) -> Tensor:
    """Return the fractional anisotropy, 0 for a sphere and 1 for a line."""
    eigenvalues = torch.linalg.eigvalsh(tensors)
    spread = eigenvalues - eigenvalues.mean(-1, keepdim=True)
    value: Tensor = (1.5 * spread.square().sum(-1) / eigenvalues.square().sum(-1)).sqrt()
    return value


def print_means(x: Tensor) -> dict[str, Tensor]:
    """Print the mean under each metric, and return them."""
    means, lines = {}, []
    for name, manifold in tqdm(METRICS.items(), desc="means", leave=False):
        mean = means[name] = frechet_mean(manifold, x)
        spread = frechet_variance(manifold, x, mean=mean), pairwise_distance(manifold, x).median()
        numbers = "".join(f"{float(number):12.4f}" for number in (mean.det(), anisotropy(mean), *spread))
        lines.append(f"{name:20s}{numbers}")
    print(f"mean of {len(x)} tensors      det  anisotropy    variance  median distance of two")
    print("\n".join(lines))
    print(f"{'median of the points':20s}{x.det().median():12.4f}{anisotropy(x).median():12.4f}")
    return means


def print_median(x: Tensor, outliers: Tensor) -> None:
    """Print how far outliers move the mean and the median of the affine-invariant metric."""
    manifold = AffineInvariantSPD()
    spoiled = torch.cat([x, outliers])
    print(f"\n{len(outliers)} voxels of free water among {len(x)} of tissue move")
    for name, centre in (("mean", frechet_mean), ("median", geometric_median)):
        print(f"  the {name:7s} by {manifold.dist(centre(manifold, x), centre(manifold, spoiled)):.3f}")


def print_components(x: Tensor) -> None:
    """Print what the principal geodesics explain, and the voxel most like the mean."""
    manifold = AffineInvariantSPD()
    components = tangent_pca(manifold, x)
    share = ", ".join(f"{100 * float(part):.0f} %" for part in components.explained_ratio)
    print(f"\nprincipal geodesics explain {share} of the variance")
    found = nearest(manifold, components.mean[None], x)
    print(f"the tensor nearest to the mean is number {int(found.indices)}, at {float(found.distances):.3f}")


def draw(axes: Axes, tensors: Tensor, places: Tensor, size: float) -> None:
    """Draw tensors as the shadows of their ellipsoids on the first two axes, coloured by anisotropy."""
    shadow = tensors[..., :2, :2].reshape(-1, 2, 2)
    values, vectors = torch.linalg.eigh(shadow)
    axes_lengths = size * values.clamp_min(0).sqrt()
    angle = torch.rad2deg(torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1]))
    ellipses = EllipseCollection(
        axes_lengths[:, 1].numpy(),
        axes_lengths[:, 0].numpy(),
        angle.numpy(),
        units="x",
        offsets=places.reshape(-1, 2).numpy(),
        offset_transform=axes.transData,
        array=anisotropy(tensors).reshape(-1).numpy(),
        cmap="viridis",
        clim=(0, 1),
        edgecolors="white",
        linewidths=0.3,
    )
    axes.add_collection(ellipses)
    axes.set(aspect="equal", xticks=[])
    axes.tick_params(length=0)


def grid(columns: Tensor, rows: Tensor) -> Tensor:
    """Return the places (rows, columns, 2) of a grid."""
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).double()


def draw_slice(axes: Axes, tensors: Tensor) -> None:
    """Draw a slice of the volume."""
    count = len(tensors)
    draw(axes, tensors, grid(torch.arange(count), torch.arange(count)), 0.6)
    axes.set(xlim=(-1, count), ylim=(-1, count), yticks=[], title="one slice of the volume")


def draw_paths(axes: Axes, x: Tensor, y: Tensor) -> None:
    """Draw the geodesic between two tensors under each metric."""
    t = torch.linspace(0, 1, 9, dtype=x.dtype)
    for row, manifold in enumerate(METRICS.values()):
        draw(axes, geodesic(manifold, t, x, y), grid(torch.arange(9), torch.tensor([row])), 0.6)
    axes.set(xlim=(-1, 9), ylim=(len(METRICS) - 0.2, -0.8), title="geodesics between two tensors")
    axes.set_yticks(range(len(METRICS)), list(METRICS))


def draw_means(axes: Axes, means: dict[str, Tensor], median: Tensor) -> None:
    """Draw the means and the median side by side."""
    centres = {**means, "affine-invariant\nmedian": median}
    places = grid(torch.arange(len(centres)), torch.tensor([0]))
    draw(axes, torch.stack(list(centres.values())), places, 0.8)
    names = [name.replace("-", "-\n", 1).replace("–", "–\n") for name in centres]
    axes.set(xlim=(-0.8, len(centres) - 0.2), ylim=(-0.8, 0.8), yticks=[], title="means")
    axes.set_xticks(range(len(centres)), names)


def draw_components(axes: Axes, x: Tensor) -> None:
    """Draw the mean, moved along the first principal geodesics by up to two standard deviations."""
    components = tangent_pca(AffineInvariantSPD(), x, n_components=3)
    steps = torch.linspace(-2, 2, 9, dtype=x.dtype)
    for row in range(3):
        scores = torch.zeros(9, 3, dtype=x.dtype)
        scores[:, row] = steps * components.variances[row].sqrt()
        draw(axes, components.inverse_transform(scores), grid(torch.arange(9), torch.tensor([row])), 0.5)
    axes.set(xlim=(-1, 9), ylim=(2.8, -0.8), title="principal geodesics, −2 to 2 standard deviations")
    axes.set_yticks(range(3), [f"component {row}" for row in (1, 2, 3)])


def main() -> None:
    """Compute, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("means_and_distances.png"))
    path = parser.parse_args().out
    tensors = diffusion_tensors()
    mask = tissue(tensors)
    x, water = tensors[mask], tensors[torch.linalg.eigvalsh(tensors)[..., 0] > 2.5]
    means = print_means(x)
    print_median(x, water)
    print_components(x)
    figure, panels = plt.subplots(2, 2, figsize=(14, 9), layout="constrained", height_ratios=(2, 1))
    draw_slice(panels[0, 0], tensors[:, :, 5])
    directions = torch.linalg.eigh(x).eigenvectors[:, :2, 2].abs() * anisotropy(x)[:, None]
    draw_paths(panels[0, 1], *x[directions.argmax(0)])
    draw_means(panels[1, 0], means, geometric_median(AffineInvariantSPD(), x))
    draw_components(panels[1, 1], x)
    figure.colorbar(panels[0, 0].collections[0], ax=panels, label="fractional anisotropy", shrink=0.6)
    figure.savefig(path, dpi=120)
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
