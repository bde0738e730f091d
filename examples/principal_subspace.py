"""The principal subspace of data, found by a Riemannian optimiser on Grassmann, against the SVD.

python examples/principal_subspace.py [--n 200] [--k 5] [--steps 300] [--seed 0]

Prints the variance that the subspace explains and the geodesic distance to the leading singular subspace.
"""

import argparse

import torch
from tqdm import tqdm

from geowarp import ManifoldParameter
from geowarp.manifolds import Grassmann
from geowarp.optim import RiemannianAdam


def main() -> None:
    """Generate data with a decaying spectrum, fit the subspace by mini-batches, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=200, help="dimension of the data")
    parser.add_argument("--k", type=int, default=5, help="dimension of the subspace")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)

    scales = 0.8 ** torch.arange(arguments.n)
    rotation, _ = torch.linalg.qr(torch.randn(arguments.n, arguments.n))
    data = torch.randn(4096, arguments.n) * scales @ rotation.mT
    exact = torch.linalg.svd(data, full_matrices=False).Vh[: arguments.k].mT.contiguous()
    best = (data @ exact).square().sum() / data.square().sum()

    grassmann = Grassmann()
    basis = ManifoldParameter(grassmann.random(arguments.n, arguments.k), manifold=grassmann)
    optimizer = RiemannianAdam([basis], lr=0.05)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.steps, eta_min=1e-5)
    for _ in (bar := tqdm(range(arguments.steps))):
        batch = data[torch.randint(len(data), (512,))]
        optimizer.zero_grad()
        loss = 1 - (batch @ basis).square().sum() / batch.square().sum()
        loss.backward()
        optimizer.step()
        scheduler.step()
        bar.set_postfix(unexplained=f"{loss.item():.4f}")

    found = (data @ basis.detach()).square().sum() / data.square().sum()
    print(f"explained variance: {found:.5f}, by the SVD {best:.5f}")
    print(f"geodesic distance to the singular subspace: {grassmann.dist(basis.detach(), exact):.4f} rad")


if __name__ == "__main__":
    main()
