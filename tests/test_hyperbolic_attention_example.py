"""The example of attention over a hierarchy: its hierarchies, what it trains, its table and its picture."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("tqdm")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
if not (EXAMPLES / "hyperbolic_attention.py").is_file():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
sys.path.append(str(EXAMPLES))

import hierarchy  # noqa: E402
import hyperbolic_attention as example  # noqa: E402
from hierarchy import Hierarchy  # noqa: E402
from matplotlib import pyplot  # noqa: E402

NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
00000100 05 n 02 animal 0 beast 0 003 ~ 00000200 n 0000 ~ 00000300 n 0000 + 00009999 v 0101 | a living thing
00000200 05 n 01 cat 0 003 @ 00000100 n 0000 #p 00000300 n 0000 ~ 00000400 n 0000 | it meows | or not
00000300 05 n 0b dog 0 d2 0 d3 0 d4 0 d5 0 d6 0 d7 0 d8 0 d9 0 d10 0 d11 0 001 @ 00000100 n 0000 | it barks
00000400 05 n 01 toy_cat 0 002 @ 00000200 n 0000 @ 00000500 n 0000 | of two kinds
00000500 05 n 01 toy 0 002 @ 00000100 n 0000 ~ 00000400 n 0000 | below animals only here
00000600 18 n 01 Felix 0 001 @i 00000400 n 0000 | one of them
00000700 06 n 01 cat 1 001 @ 00000800 n 0000 | a whip, of which there is no more
00000800 06 n 01 thing 0 000 | unrelated
"""


def test_nouns_below_a_word(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(NOUNS)
    animals = hierarchy.wordnet(tmp_path, "beast")
    assert animals.names[0] == "animal"
    up = {
        name: {animals.names[int(i)] for i in animals.ancestors[node].nonzero()}
        for node, name in enumerate(animals.names)
    }
    assert up == {
        "animal": set(),
        "cat": {"animal"},
        "dog": {"animal"},
        "toy": {"animal"},
        "toy cat": {"cat", "toy", "animal"},
        "Felix": {"toy cat", "cat", "toy", "animal"},
    }
    assert all(parent < node for node, parents in enumerate(animals.parents) for parent in parents)
    assert hierarchy.wordnet(tmp_path, "cat").names == ["cat", "toy cat", "Felix"]  # not the whip


def depths(tree: Hierarchy) -> list[int]:
    found = [0]
    for parents in tree.parents[1:]:
        found.append(1 + found[parents[0]])
    return found


def test_a_tree_and_what_is_hidden_of_it() -> None:
    tree = hierarchy.random_tree(80, 3)
    assert [len(parents) for parents in tree.parents] == [0] + [1] * 79
    assert tree.edges.sum(0).max() == 4  # children
    assert tree.ancestors.sum(-1).tolist() == depths(tree)
    two_up = tree.ancestors.float() @ tree.ancestors.float() > 0
    assert torch.equal(tree.edges | two_up, tree.ancestors)
    parts = hierarchy.split(tree, 0)
    hidden = torch.cat([parts.validation, parts.test])
    assert len(hidden.unique(dim=0)) == len(hidden) == round((sum(depths(tree)) - 79) / 2)
    assert abs(len(parts.validation) - len(parts.test)) <= 1
    both = parts.known.clone()
    both[hidden[:, 0], hidden[:, 1]] = True
    assert torch.equal(both, tree.ancestors)
    assert not parts.known[hidden[:, 0], hidden[:, 1]].any()
    assert (parts.known & tree.edges).sum() == 79


def test_scores_of_a_known_retrieval() -> None:
    chain = Hierarchy(list("abcd"), [[], [0], [0], [2]])
    model = example.NodeAttention(example.KINDS[1], 4, 1)
    with torch.no_grad():
        model.points.copy_(torch.tensor([[1.0], [4.0], [0.0], [3.5]]))
    pairs = torch.tensor([[3, 0]])  # from d at 3.5, a is at 2.5; of those that are no ancestors, b at 0.5
    found = example.evaluate(model, chain, pairs)
    assert (found.first, found.tau) == (0, 1)
    assert found.reciprocal_rank == pytest.approx(0.5)
    off = example.NodeAttention(example.KINDS[-1], 4, 1)
    expected = (0.5, 0.75, torch.tensor(3.0).log().item(), 1)  # a tie with b; three others to attend to
    assert tuple(example.evaluate(off, chain, pairs)) == pytest.approx(expected)


def test_loss_is_the_stated_one_and_a_node_does_not_attend_to_itself() -> None:
    torch.manual_seed(0)
    tree = hierarchy.random_tree(12, 0)
    known = hierarchy.split(tree, 0).known
    for kind in example.KINDS[:4]:
        model = example.NodeAttention(kind, 12, 2)
        nodes = torch.tensor([5, 11, 3])
        weights = model(nodes, torch.eye(12))
        torch.testing.assert_close(weights, model.logits(nodes).softmax(-1))
        assert weights[torch.arange(3), nodes].abs().max() == 0
        expected = []
        for row, node in zip(weights, nodes.tolist(), strict=True):
            rest = sum(row[j] for j in range(12) if j != node and not known[node, j])
            losses = [-(row[a] / (row[a] + rest)).log() for a in known[node].nonzero()]
            expected.append(sum(losses) / len(losses))
        torch.testing.assert_close(
            example.loss_of(model, nodes, known).reshape(1), torch.cat(expected).mean().reshape(1)
        )


def test_projected_queries_and_the_table() -> None:
    torch.manual_seed(0)
    model = example.NodeAttention(example.KINDS[3], 9, 3)
    assert model.projection is not None
    with torch.no_grad():
        model.projection.copy_(torch.randn(3, 3))
        model.log_tau.fill_(0.7)
        x = torch.Tensor(model.points)
        expected = (x[4:5] @ model.projection @ x.mT / torch.tensor(0.7).exp())[0]
        expected[4] = -torch.inf
        weights = model(torch.tensor([4]), torch.eye(9))[0]
    torch.testing.assert_close(weights, expected.softmax(-1))
    runs = [example.Scores(0.25, 0.5, 1.0, 2.0), example.Scores(0.75, 0.5, 3.0, 2.0)]
    line = example.table({("dot", 7): runs}).splitlines()[1].split()
    assert " ".join(line) == "dot 7 0.500 ± 0.354 0.500 ± 0.000 2.000 ± 1.414 2.000 ± 0.000"


def test_all_is_better_than_chance_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "ball.png"
    options = "--nodes 40 --seeds 1 --steps 40 --dimensions 2 5 --output"
    assert example.main([*options.split(), str(path)]) == 0
    printed = capsys.readouterr().out
    found = {
        (kind.name, int(numbers[0])): (float(numbers[1]), float(numbers[2]))
        for line in printed.splitlines()
        for kind in example.KINDS
        if line.startswith(f"{kind.name}  ") and len(numbers := line[len(kind.name) :].split()) == 5
    }
    assert len(found) == 10
    chance, random_rank = found["attention off", 5]
    assert all(found[kind.name, 5][1] > 1.5 * random_rank for kind in example.KINDS[:2])
    assert found["distance, Poincaré ball", 5][0] > 5 * chance
    pixels = pyplot.imread(path)[..., :3]
    quarters = [half for row in np.array_split(pixels, 2) for half in np.array_split(row, 2, axis=1)]
    for quarter in quarters:
        assert len(np.unique((255 * quarter).astype(int).reshape(-1, 3), axis=0)) > 20
    assert [entry.name for entry in path.parent.iterdir()] == ["ball.png"]


def test_a_dimension_given_twice_counts_once() -> None:
    assert example.parse(["--dimensions", "5", "2", "5"]).dimensions == [5, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "picture.xyz"], "must end in one of"),
        (["--nodes", "1"], "--nodes 1"),
        (["--nodes", "3"], "3 nodes has 1 pairs of a node and an ancestor above its parents, of which 0"),
        (["--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--dimensions", "2", "0"], "--dimensions 0 must be at least 1"),
        (["--wordnet", "nowhere"], "no data.noun"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["--output", str(tmp_path / "picture.png"), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert list(tmp_path.iterdir()) == []
