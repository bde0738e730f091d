"""Pictures of probes: what they say, and that their words can be read."""

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from matplotlib import pyplot
from torch import Tensor

from geowarp.errors import GeowarpError
from geowarp.nn import BDH, BDHConfig
from geowarp.nn.probes import (
    SynapseIndex,
    activation_density,
    factor_spectra,
    plot_activation_density,
    plot_factor_spectra,
    plot_synapse_activity,
)


def build() -> BDH:
    return BDH(BDHConfig(n_layer=3, n_embd=8, n_head=2, mlp_internal_dim_multiplier=4, vocab_size=13))


def tokens(length: int) -> Tensor:
    return torch.randint(13, (length,))


@pytest.fixture(autouse=True)
def _no_display() -> Iterator[None]:
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def drawn(axes: Any) -> list[str]:
    axes.figure.canvas.draw()
    return [text.get_text() for text in axes.texts]


def test_plots_of_densities_and_spectra() -> None:
    density = activation_density(build(), tokens(50))
    axes = plot_activation_density(density)
    assert len(drawn(axes)) == 6
    assert [bar.get_height() for bar in axes.patches] == [*density.x.tolist(), *density.y.tolist()]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("layer", "Active neurons")
    spectra = factor_spectra(build())
    axes = plot_factor_spectra(spectra)
    drawn(axes)
    assert axes.get_xlabel() == "index"
    assert axes.get_ylabel() == "singular value / the largest"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["$D_x$, condition 1", "$D_y$, condition 1", "$E$, condition 1", "$X$ alone"]


def test_plots_draw_where_they_are_told() -> None:
    _, given = pyplot.subplots(3)
    assert plot_activation_density(activation_density(build(), tokens(9)), given[0]) is given[0]
    assert plot_factor_spectra(factor_spectra(build()), axes=given[1]) is given[1]
    assert plot_synapse_activity(torch.rand(2, 4), "text", axes=given[2]) is given[2]
    assert len(pyplot.get_fignums()) == 1
    assert all(drawn(axes) or axes.lines for axes in given)


def test_a_text_stands_below_its_synapses() -> None:
    activity = torch.tensor([[0.0, 0, 0, 5, 6, 6, 6], [0.0, 1, 1, 1, 1, 1, 1]])
    axes = plot_synapse_activity(activity, "at £5\n", [SynapseIndex(1, 2, 3), "other"])  # £ is two bytes
    assert drawn(axes) == ["a", "t", "£", "5", "↵"]
    assert [text.get_position()[1] for text in axes.texts] == [-5.0] * 5
    assert [text.xy[0] for text in axes.texts] == [0.5, 1.5, 3.5, 5.5, 6.5]
    assert [text.get_color() for text in axes.texts[:4]] == ["#c8553d"] * 2 + ["#0b6e8a"] * 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["σ(2, 3) of layer 1", "other"]
    assert axes.lines[0].get_ydata().tolist() == [0, 0, 0, 5, 6, 6, 6, 6]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("text", "strength σ(i, j)")


def test_long_texts_are_written_in_words_that_do_not_overlap() -> None:
    text = " ".join(f"word{m}" for m in range(200))
    activity = torch.rand(len(text)).cumsum(0)
    activity[text.index("word77") :] += 50
    axes = plot_synapse_activity(activity, text)
    words = drawn(axes)
    assert 20 < len(words) < 100
    assert words[0] == "word77"
    boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda box: box.x0)
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))


def test_names_are_written_as_they_are() -> None:
    axes = plot_synapse_activity(torch.ones(3), "abc", [r"£5 or $5_$ \frac{"])
    drawn(axes)
    assert axes.get_legend().get_texts()[0].get_text() == r"£5 or $5_$ \frac{"


@pytest.mark.parametrize("text", ["$a $b", b"\xff\x00ab ", ["The", " Pou", "nd", ".", ""], "     "])
def test_any_text_can_be_drawn(text: Any) -> None:
    drawn(plot_synapse_activity(torch.zeros(5), text))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_synapse_activity(torch.ones(4), "abc"), "3 entries for an activity of 4 tokens"),
        (lambda: plot_synapse_activity(torch.ones(2, 3), "abc", ["a"]), "1 names for 2 synapses"),
        (lambda: plot_synapse_activity(torch.ones(2, 2, 3), "abc"), r"\(2, 2, 3\) is not that of one text"),
        (lambda: plot_synapse_activity(torch.ones(0), ""), r"\(1, 0\) is not that of one text"),
    ],
)
def test_plots_refuse(call: Any, message: str) -> None:
    with pytest.raises(GeowarpError, match=message):
        call()


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    calls: list[Callable[[], Any]] = [
        lambda: plot_activation_density(activation_density(build(), tokens(3))),
        lambda: plot_factor_spectra(factor_spectra(build())),
        lambda: plot_synapse_activity(torch.ones(3), "abc"),
    ]
    for call in calls:
        with pytest.raises(GeowarpError, match=r"pip install 'geowarp\[plot\]'"):
            call()
