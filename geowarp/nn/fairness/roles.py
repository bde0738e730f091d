"""Which embeddings are members of groups, gendered, in pairs, and targets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ...errors import GeowarpError
from .vocabulary import Places, Words

__all__ = ["Pairs", "Roles", "find_roles"]

Pairs = Sequence[tuple[str, str]] | Sequence[tuple[int, int]] | Tensor | np.ndarray[Any, Any]
"""Pairs of words of a vocabulary, or of places in it."""


class Roles(NamedTuple):
    """The places of embeddings by role; each place counts once in a group, and a target is in no other role.

    Example:
        >>> Roles({"a": [0], "b": [1]}, gendered=[0, 1, 2], exempt=[2], pairs=[[0, 1]], targets=[3]).exempt
        [2]
    """

    groups: dict[str, list[int]]
    gendered: list[int]
    """Members of groups, words of pairs, and others that are gendered."""
    exempt: list[int]
    """Gendered, and in no group."""
    pairs: list[list[int]]
    targets: list[int]


def find_roles(
    groups: Mapping[str, Words],
    places: Places,
    *,
    targets: Words | None = None,
    gendered: Words | None = None,
    pairs: Pairs | None = None,
) -> Roles:
    """Return the places of words.

    Raises:
        GeowarpError: as ``Places.find``, for groups without names, a word in two groups, a target with
            another role, no targets, and pairs that are none.

    Example:
        >>> from geowarp.nn.fairness.vocabulary import read_vocabulary
        >>> places = read_vocabulary(["she", "he", "nurse"], 3)
        >>> find_roles({"female": ["she"], "male": ["he"]}, places).targets
        [2]
    """
    if not isinstance(groups, Mapping):
        raise GeowarpError(
            f"debias: the groups are a {type(groups).__name__}; they must be a mapping of names to words"
        )
    wanted: dict[str, Any] = {f"group {name!r}": words for name, words in groups.items()}
    others = {"targets": targets, "gendered": gendered, "pairs": None if pairs is None else _flat(pairs)}
    found = places.find(wanted | {name: words for name, words in others.items() if words is not None})
    members = {name: list(dict.fromkeys(found[name])) for name in wanted}
    owners = _owners(members, places)
    paired = found.get("pairs", [])
    rest = list(
        dict.fromkeys(place for place in (*found.get("gendered", []), *paired) if place not in owners)
    )
    chosen = found.get("targets")
    if chosen is None:
        chosen = [place for place in range(places.size) if place not in owners.keys() | set(rest)]
    _check_targets(chosen, owners, rest, places)
    pairs_found = [paired[start : start + 2] for start in range(0, len(paired), 2)]
    named = dict(zip(groups, members.values(), strict=True))
    return Roles(named, [*owners, *rest], rest, pairs_found, chosen)


def _flat(pairs: Iterable[Any]) -> list[Any]:
    rows = pairs.tolist() if isinstance(pairs, Tensor | np.ndarray) else list(pairs)
    for row in rows:
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) != 2:
            raise GeowarpError(f"debias: pairs has {row!r}, which is no pair of words or places")
    if not rows:
        raise GeowarpError("debias: pairs is empty; the reflection needs one or more")
    return [word for row in rows for word in row]


def _owners(members: Mapping[str, list[int]], places: Places) -> dict[int, str]:
    owners: dict[int, str] = {}
    for name, group in members.items():
        for place in group:
            if owners.setdefault(place, name) != name:
                raise GeowarpError(
                    f"debias: {places.name(place)} is in {owners[place]} and {name}; it can be in one only"
                )
    return owners


def _check_targets(targets: list[int], owners: Mapping[int, str], exempt: list[int], places: Places) -> None:
    others = dict.fromkeys(exempt, "the gendered words or pairs") | dict(owners)
    for place in targets:
        if place in others:
            raise GeowarpError(
                f"debias: {places.name(place)} is in the targets and in {others[place]}, which keep their "
                "bias; leave it out of the targets"
            )
    if not targets:
        raise GeowarpError("debias: there are no targets to report on; every embedding is in a group")
