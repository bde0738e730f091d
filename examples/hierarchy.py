"""Hierarchies for ``hyperbolic_attention.py``: random trees, and parts of WordNet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from geowarp import GeowarpError

NOUNS = "data.noun"


@dataclass(frozen=True)
class Hierarchy:
    """Nodes with names, of which each but the first has parents, all of them before it.

    Args:
        names: of the nodes.
        parents: the numbers of the parents of each node.
    """

    names: list[str]
    parents: list[list[int]]

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.names)

    @cached_property
    def edges(self) -> Tensor:
        """Return ``(N, N)``: whether the second node is a parent of the first."""
        found = torch.zeros(len(self), len(self), dtype=torch.bool)
        for node, parents in enumerate(self.parents):
            found[node, parents] = True
        return found

    @cached_property
    def ancestors(self) -> Tensor:
        """Return ``(N, N)``: whether the second node is an ancestor of the first."""
        found = self.edges.clone()
        for node, parents in enumerate(self.parents):
            if parents:
                found[node] |= found[parents].any(0)
        return found


def random_tree(nodes: int, seed: int, most: int = 4) -> Hierarchy:
    """Return a tree grown level by level, in which a node has one to ``most`` children."""
    if nodes < 2:
        raise GeowarpError(f"--nodes {nodes}: a hierarchy needs at least 2")
    generator = torch.Generator().manual_seed(seed)
    parents: list[list[int]] = [[]]
    node = 0
    while len(parents) < nodes:
        children = int(torch.randint(1, most + 1, (), generator=generator))
        parents += [[node]] * min(children, nodes - len(parents))
        node += 1
    return Hierarchy([str(number) for number in range(nodes)], parents)


def wordnet(directory: Path, root: str) -> Hierarchy:
    """Return what WordNet's nouns have below a word, by the dictionary's ``data.noun``.

    Of the senses of the word, the one with the most below it. Hypernyms and instances both count.
    """
    try:
        text = (directory / NOUNS).read_text(encoding="utf-8")
    except OSError as error:
        raise GeowarpError(f"--wordnet {directory}: no {NOUNS} of a WordNet dictionary in there") from error
    return below(root, dict(synsets(text)))


def synsets(text: str) -> Iterator[tuple[str, tuple[list[str], list[str]]]]:
    """Yield the offset of each synset of a ``data.noun``, its words, and the offsets of its hypernyms.

    A line is ``offset file type count word id ... count symbol offset part source ... | gloss``, the count of
    words hexadecimal; the licence at the top is indented.
    """
    for line in text.splitlines():
        if not line[:1].isdigit():
            continue
        fields = line.split(" | ", 1)[0].split()
        end = 4 + 2 * int(fields[3], 16)
        pointers = fields[end + 1 : end + 1 + 4 * int(fields[end])]
        hypernyms = [pointers[i + 1] for i in range(0, len(pointers), 4) if pointers[i] in ("@", "@i")]
        yield fields[0], (fields[4:end:2], hypernyms)


def below(root: str, nouns: dict[str, tuple[list[str], list[str]]]) -> Hierarchy:
    """Return the synsets below the sense of a word that has the most of them."""
    children: dict[str, list[str]] = {}
    for offset, (_, hypernyms) in nouns.items():
        for hypernym in hypernyms:
            children.setdefault(hypernym, []).append(offset)
    senses = [offset for offset, (words, _) in nouns.items() if root in words]
    if not senses:
        raise GeowarpError(f"--root {root}: no noun of the dictionary; spaces are underscores")
    found = max((_descendants(sense, children.get) for sense in senses), key=len)
    order = _parents_first(found, {offset: nouns[offset][1] for offset in found})
    place = {offset: number for number, offset in enumerate(order)}
    parents = [[place[up] for up in nouns[offset][1] if up in place] for offset in order]
    return Hierarchy([nouns[offset][0][0].replace("_", " ") for offset in order], parents)


def _descendants(sense: str, children: Callable[[str], list[str] | None]) -> list[str]:
    found = [sense]
    seen = {sense}
    for offset in found:  # which grows
        new = [child for child in dict.fromkeys(children(offset) or []) if child not in seen]
        seen.update(new)
        found += new
    return found


def _parents_first(offsets: list[str], hypernyms: dict[str, list[str]]) -> list[str]:
    """Return the offsets in an order in which the parents of each come before it."""
    order: list[str] = []
    placed: set[str] = set()
    waiting = offsets
    while waiting:
        ready = [o for o in waiting if all(up in placed or up not in hypernyms for up in hypernyms[o])]
        order += ready
        placed.update(ready)
        waiting = [offset for offset in waiting if offset not in placed]
    return order


@dataclass(frozen=True)
class Split:
    """What attention is trained with, and pairs of a node and an ancestor that it has not seen.

    Args:
        known: ``(N, N)``: all parents, and some of the ancestors above them.
        validation: pairs ``(P, 2)``.
        test: pairs ``(P, 2)``.
    """

    known: Tensor
    validation: Tensor
    test: Tensor


def split(hierarchy: Hierarchy, seed: int, hidden: float = 0.5) -> Split:
    """Return a random split that hides a share of the pairs of nodes and ancestors above their parents.

    Half of them are for validation.

    Raises:
        GeowarpError: where there are none for validation or test.
    """
    pairs = (hierarchy.ancestors & ~hierarchy.edges).nonzero()
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))
    count = round(hidden * len(pairs))
    validation, test = pairs[order[: count // 2]], pairs[order[count // 2 : count]]
    if not len(validation):
        raise GeowarpError(
            f"a hierarchy of {len(hierarchy)} nodes has {len(pairs)} pairs of a node and an ancestor above "
            f"its parents, of which {count} are hidden, too few to validate and test with; take more "
            "--nodes, or a --root with more below it"
        )
    known = hierarchy.ancestors.clone()
    for unseen in (validation, test):
        known[unseen[:, 0], unseen[:, 1]] = False
    return Split(known, validation, test)
