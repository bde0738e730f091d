"""Attention over a hierarchy: by distance in the Poincaré ball, in flat space, by dot products, and off.

python examples/hyperbolic_attention.py [--nodes 300] [--dimensions 2 5 10] [--seeds 3] [--output PICTURE]
python examples/hyperbolic_attention.py --wordnet /usr/share/wordnet [--root carnivore]

Each node of a tree has a property of its own, which all nodes below it inherit. A node knows its parent and
some of the ancestors above, and is to retrieve the properties of those that are hidden from it. It can,
because others know them: what a parent inherits, its children do. Nodes are points, and a node's properties
are its attention to all other nodes, whose values are their own properties. All kinds of attention have the
same parameters, a point per node and τ, one of them a matrix for queries besides. All have the same loss,
``−log w_a / (w_a + Σ w_j)`` of each known ancestor a against all nodes j that are not known to be one, and
the same steps, of which those with the best mean reciprocal rank on validation pairs count. Score, learning
rate and start of each were chosen by that rank too, on two other random trees, over 2, 5 and 10 dimensions.

Prints how often the property of a hidden ancestor comes before those of all nodes that are no ancestors, over
test pairs; the mean reciprocal rank; the entropy of a row of attention, in nats; and τ: means and sample
standard deviations over seeds, each with its own tree, or with WordNet its own hidden pairs. Where 2 is among
the dimensions, draws what one node attends to. ``--wordnet`` is a directory with the ``data.noun`` of WordNet
3.0, such as Debian's package wordnet-base installs. Needs the extra ``examples``.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import hyperbolic_attention_picture as picture
import torch
from hierarchy import Hierarchy, Split, random_tree, split, wordnet
from torch import Tensor, nn
from tqdm import tqdm

from geowarp import GeowarpError, ManifoldParameter
from geowarp.manifolds import Euclidean, Manifold, PoincareBall
from geowarp.nn import Distance, Score, Uniform, manifold_attention
from geowarp.optim import RiemannianAdam, param_groups


@dataclass(frozen=True)
class DotProduct(Score):
    """The logits ``qᵀk``."""

    def logits(self, manifold: Manifold, q: Tensor, k: Tensor) -> Tensor:
        """Return all inner products ``(..., N, M)``."""
        return q @ k.mT

    def features(self, manifold: Manifold, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors themselves: attention is one fused kernel."""
        return q, k


@dataclass(frozen=True)
class Kind:
    """A kind of attention.

    Args:
        name: for the table.
        manifold: of the points.
        score: of pairs of them.
        rate: of learning; 0 for none.
        spread: standard deviation of the points at the start, times the square root of the dimension.
        projected: whether queries are the points times a matrix of its own, at the start the identity.
    """

    name: str
    manifold: Manifold
    score: Score
    rate: float
    spread: float
    projected: bool = False


KINDS = [
    Kind("distance, Poincaré ball", PoincareBall(), Distance(), rate=0.3, spread=0.1),
    Kind("distance, flat space", Euclidean(1), Distance(), rate=0.1, spread=1.0),
    Kind("dot product", Euclidean(1), DotProduct(), rate=0.03, spread=1.0),
    Kind("dot product, projected queries", Euclidean(1), DotProduct(), rate=0.1, spread=1.0, projected=True),
    Kind("attention off", Euclidean(1), Uniform(), rate=0.0, spread=1.0),
]


class NodeAttention(nn.Module):
    """Attention of nodes to all other nodes.

    Args:
        kind: what the weights come from.
        nodes: how many.
        dimension: of their points.
    """

    def __init__(self, kind: Kind, nodes: int, dimension: int) -> None:
        super().__init__()
        self.kind = kind
        start = kind.spread / dimension**0.5 * torch.randn(nodes, dimension)
        points = kind.manifold.expmap(torch.zeros_like(start), start)
        self.points = ManifoldParameter(points, manifold=kind.manifold)
        self.projection = nn.Parameter(torch.eye(dimension)) if kind.projected else None
        self.log_tau = nn.Parameter(torch.zeros(()))

    def queries(self, nodes: Tensor) -> Tensor:
        """Return the queries of some of the nodes, which are their points unless they are projected."""
        points: Tensor = self.points[nodes]
        return points if self.projection is None else points @ self.projection

    def logits(self, nodes: Tensor) -> Tensor:
        """Return the logits ``(n, N)`` of some of the nodes, of a node to itself −∞."""
        found = self.kind.score.logits(self.kind.manifold, self.queries(nodes), self.points)
        return (found / self.log_tau.exp()).masked_fill(~self.others(nodes), -torch.inf)

    def others(self, nodes: Tensor) -> Tensor:
        """Return ``(n, N)``: whether two nodes differ."""
        return nodes[:, None] != torch.arange(len(self.points))

    def forward(self, nodes: Tensor, values: Tensor) -> Tensor:
        """Return the values ``(n, d)`` that some of the nodes retrieve from all others, ``(N, d)``."""
        return manifold_attention(
            self.queries(nodes),
            self.points,
            values,
            self.kind.manifold,
            self.log_tau.exp(),
            score=self.kind.score,
            mask=self.others(nodes),
        )


# Training


def loss_of(model: NodeAttention, nodes: Tensor, known: Tensor) -> Tensor:
    """Return the mean of ``−log w_a / (w_a + Σ w_j)`` over the known ancestors of each node."""
    logits, positive = model.logits(nodes), known[nodes]
    negative = logits.masked_fill(positive, -torch.inf).logsumexp(-1)
    node, ancestor = positive.nonzero().unbind(-1)
    own = logits[node, ancestor]
    losses = (torch.logaddexp(own, negative[node]) - own) / positive.sum(-1)[node]
    return losses.sum() / len(nodes)


def train(
    kind: Kind, hierarchy: Hierarchy, parts: Split, dimension: int, seed: int, steps: int, batch: int = 300
) -> NodeAttention:
    """Return attention after the steps that rank the validation pairs best."""
    torch.manual_seed(seed)
    model = NodeAttention(kind, len(hierarchy), dimension)
    if kind.rate == 0:
        return model
    optimizer = RiemannianAdam(param_groups(model), lr=kind.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.01 * kind.rate)
    nodes = parts.known.any(-1).nonzero().squeeze(-1)
    best, kept = -1.0, deepcopy(model.state_dict())
    for step in range(1, steps + 1):
        some = nodes[torch.randperm(len(nodes))[:batch]] if len(nodes) > batch else nodes
        optimizer.zero_grad()
        loss_of(model, some, parts.known).backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps:
            rank = evaluate(model, hierarchy, parts.validation).reciprocal_rank
            if rank > best:
                best, kept = rank, deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model


# Evaluation


class Scores(NamedTuple):
    """Of pairs of a node and a hidden ancestor."""

    first: float
    """The share of pairs whose ancestor comes before all nodes that are none; ties are shared."""
    reciprocal_rank: float
    """The mean of one over its rank among them, its mean too where ranks are shared."""
    entropy: float
    """The mean over nodes of that of their attention, in nats."""
    tau: float


@torch.no_grad()
def evaluate(model: NodeAttention, hierarchy: Hierarchy, pairs: Tensor) -> Scores:
    """Score what attention retrieves when each node has a property of its own."""
    node, ancestor = pairs.unbind(-1)
    properties = torch.eye(len(hierarchy))
    retrieved = model(torch.arange(len(hierarchy)), properties)
    own = retrieved[node, ancestor][:, None]
    others = retrieved[node].masked_fill(hierarchy.ancestors[node], -1)
    others[torch.arange(len(node)), node] = -1
    better, equal = (others > own).sum(-1), (others == own).sum(-1)
    first = torch.where(better == 0, 1 / (1 + equal), 0).mean()
    above, below = (torch.digamma(1.0 + count) for count in (better, better + equal + 1))
    rank = ((below - above) / (1 + equal)).mean()  # of 1/r over the ranks r that ties share
    entropy = torch.special.entr(retrieved).sum(-1).mean()
    return Scores(float(first), float(rank), float(entropy), float(model.log_tau.exp()))


Results = dict[tuple[str, int], list[Scores]]


def table(results: Results) -> str:
    """Return means and sample standard deviations over seeds, one line per kind and dimension."""
    width = max(len(name) for name, _ in results) + 2
    titles = ("hidden ancestor first", "reciprocal rank", "entropy", "τ")
    lines = [" " * width + "dimension" + "".join(f"{title:>23s}" for title in titles)]
    for (name, dimension), runs in results.items():
        cells = "".join(f"{_spread(values):>23s}" for values in zip(*runs, strict=True))
        lines.append(f"{name:{width}s}{dimension:9d}{cells}")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    scatter = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{scatter}"


# The command line


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=300, help="of the random tree")
    parser.add_argument("--wordnet", type=Path, metavar="DIRECTORY", help="the dictionary, instead of a tree")
    parser.add_argument("--root", default="carnivore", help="the noun on top")
    parser.add_argument("--dimensions", type=int, nargs="+", default=[2, 5, 10])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("hyperbolic_attention.png"))
    arguments = parser.parse_args(argv)
    arguments.dimensions = list(dict.fromkeys(arguments.dimensions))
    return arguments


def check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be run."""
    for name in ("seeds", "steps"):
        if getattr(arguments, name) < 1:
            raise GeowarpError(f"--{name} {getattr(arguments, name)} must be at least 1")
    if min(arguments.dimensions) < 1:
        raise GeowarpError(f"--dimensions {min(arguments.dimensions)} must be at least 1")
    picture.check(arguments.output)


def compare(arguments: argparse.Namespace) -> None:
    """Train all kinds of attention, print the table, and draw a row of each."""
    check(arguments)
    whole = wordnet(arguments.wordnet, arguments.root) if arguments.wordnet else None
    trees = [whole or random_tree(arguments.nodes, seed) for seed in range(arguments.seeds)]
    splits = [split(tree, seed) for seed, tree in enumerate(trees)]
    results: Results = {(kind.name, d): [] for d in arguments.dimensions for kind in KINDS}
    panels: list[picture.Panel] = []
    runs = [(s, d, k) for s in range(arguments.seeds) for d in arguments.dimensions for k in KINDS]
    for seed, dimension, kind in (bar := tqdm(runs, leave=False)):
        bar.set_postfix_str(f"{kind.name}, {dimension} dimensions")
        hierarchy, parts = trees[seed], splits[seed]
        model = train(kind, hierarchy, parts, dimension, seed, arguments.steps)
        results[kind.name, dimension].append(evaluate(model, hierarchy, parts.test))
        if seed == 0 and dimension == 2 and kind.rate > 0 and not kind.projected:
            panels.append(panel(model, picture.query_of(hierarchy, parts)))
    print(f"\n{table(results)}")
    if panels:
        picture.save(picture.figure_of(panels, trees[0], splits[0]), arguments.output)
        print(f"\ndrawn: {arguments.output}")


@torch.no_grad()
def panel(model: NodeAttention, node: int) -> picture.Panel:
    """Return what to draw of the attention of a node."""
    weights = model(torch.tensor([node]), torch.eye(len(model.points)))[0]
    points = model.points.detach().as_subclass(Tensor)
    return picture.Panel(model.kind.name, model.kind.manifold, points, weights)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; what the user can put right is one line."""
    try:
        compare(parse(argv))
    except GeowarpError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
