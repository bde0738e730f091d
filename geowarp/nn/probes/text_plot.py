"""Synapses over the time of a text, above its characters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from ...errors import GeowarpError
from .figure import COLOURS, drawing

__all__ = ["plot_synapse_activity"]

_LETTER, _LINE = 0.62, 1.35  # width of a monospaced letter and height of a line, over the font size
_READABLE, _LARGEST, _ROTATED = 6.0, 12.0, 8.0  # font sizes
_LONGEST = 24  # letters of a rotated word
_GAP = 5.0  # between the axis and the text, in points
_MARKED = 0.5  # of the growth of the strongest word, from which on words are in colour
_GREY = "#444444"


class _Word(NamedTuple):
    """Tokens ``start, …, stop − 1``; the colour of the synapse that grows most, and its share of the most."""

    start: int
    stop: int
    text: str
    colour: str
    growth: float


def plot_synapse_activity(
    activity: Tensor, text: str | bytes | Sequence[str], names: Sequence[object] = (), axes: Any = None
) -> Any:
    """Draw the strengths of synapses over a text that is written below, and return the axes.

    Words are shaded in the colour of the synapse that grows most during them, the more the darker. A text too
    long for its characters to be read is written as words, those first during which synapses grow most.

    Args:
        activity: ``(T,)`` or ``(K, T)``, from ``synapse_activity`` for one text.
        text: what the T tokens stand for: a string of T characters, or of T bytes in UTF-8, or T bytes, or T
            strings.
        names: of the K synapses, for the legend.
        axes: matplotlib axes to draw in; by default those of a new figure.

    Raises:
        GeowarpError: where the text or the names do not fit the activity, or matplotlib is not installed.

    Example:
        >>> from matplotlib import pyplot
        >>> axes = plot_synapse_activity(torch.tensor([0.0, 0.0, 2.0, 2.5]), "a £5")
        >>> axes.get_ylabel()
        'strength σ(i, j)'
        >>> pyplot.close(axes.figure)
    """
    curves = (activity.unsqueeze(0) if activity.ndim == 1 else activity).detach().double().cpu()
    labels = _labels(curves, text)
    if names and len(names) != len(curves):
        raise GeowarpError(f"plot_synapse_activity: {len(names)} names for {len(curves)} synapses")
    words = _words(curves, labels)
    with drawing(axes, (11, 3.6)) as axes:
        for m, curve in enumerate(curves.tolist()):
            name = str(names[m]) if names else None
            axes.step(range(len(labels) + 1), [*curve, curve[-1]], where="post", color=_colour(m), label=name)
        axes.set(title="Synapses over time", ylabel="strength σ(i, j)", xticks=[], xlim=(0, len(labels)))
        axes.set_ylim(bottom=0)
        if names:
            columns = min(len(names), 3)
            legend = axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, borderaxespad=0.2)
            for entry in legend.get_texts():
                entry.set_parse_math(False)
        _shade(axes, words)
        _write(axes, labels, words)
    return axes


def _colour(m: int) -> str:
    return COLOURS[m % len(COLOURS)]


def _labels(curves: Tensor, text: str | bytes | Sequence[str]) -> list[str]:
    if curves.ndim != 2 or curves.numel() == 0:
        raise GeowarpError(
            f"plot_synapse_activity: activity of shape {tuple(curves.shape)} is not that of one text, (K, T)"
        )
    length = curves.shape[-1]
    if isinstance(text, str) and len(text) != length:
        text = text.encode("utf-8")
    labels = _characters(text) if isinstance(text, bytes) else list(text)
    if len(labels) != length:
        raise GeowarpError(
            f"plot_synapse_activity: text has {len(labels)} entries for an activity of {length} tokens; give "
            "what was read, without padding"
        )
    return ["↵" if label == "\n" else label for label in labels]


def _characters(data: bytes) -> list[str]:
    """Return one entry per byte: a character stands at its first byte, and what is none is marked."""
    labels = []
    for character in data.decode("utf-8", "surrogateescape"):
        width = len(character.encode("utf-8", "surrogateescape"))
        known = character.isprintable() or character == "\n"
        labels += [character if known else "·"] + [""] * (width - 1)
    return labels


def _words(curves: Tensor, labels: Sequence[str]) -> list[_Word]:
    growth = curves.diff(dim=-1, prepend=curves.new_zeros(len(curves), 1)).clamp_min(0)
    spans = _spans(labels)
    sums = [growth[:, start:stop].sum(-1) for start, stop in spans]
    most = [max(float(s[m]) for s in sums) if sums else 0.0 for m in range(len(curves))]
    words = []
    for (start, stop), total in zip(spans, sums, strict=True):
        shares = [float(z) / top if top > 0 else 0.0 for z, top in zip(total, most, strict=True)]
        m = max(range(len(shares)), key=shares.__getitem__)
        letters = "".join(labels[start:stop]).replace("↵", "").strip()
        words.append(_Word(start, stop, letters, _colour(m), shares[m]))
    return words


def _spans(labels: Sequence[str]) -> list[tuple[int, int]]:
    """Return where words begin and end: the white space that ends one belongs to it."""
    spans: list[tuple[int, int]] = []
    inside = False
    for t, label in enumerate(labels):
        blank = label == "↵" or label.isspace()
        if (blank and spans) or (inside and not label[:1].isspace()):
            spans[-1] = (spans[-1][0], t + 1)
        elif not blank:
            spans.append((t, t + 1))
        inside = not blank
    return spans


def _shade(axes: Any, words: Sequence[_Word]) -> None:
    for word in words:
        if word.growth > 0.1:
            alpha = 0.3 * word.growth**2
            axes.axvspan(word.start, word.stop, color=word.colour, alpha=alpha, linewidth=0, zorder=0.5)


def _write(axes: Any, labels: Sequence[str], words: Sequence[_Word]) -> None:
    width = 72 * axes.figure.get_size_inches()[0] * axes.get_position().width
    size = width / len(labels) / (_LETTER * max(1, *map(len, labels)))
    if size >= _READABLE:
        size = min(size, _LARGEST)
        _write_characters(axes, labels, words, size)
        axes.set_xlabel("text", labelpad=_GAP + _LINE * size)
    else:
        longest = _write_words(axes, words, _ROTATED * _LINE * len(labels) / width)
        axes.set_xlabel("text", labelpad=_GAP + _LETTER * _ROTATED * longest)


def _write_characters(axes: Any, labels: Sequence[str], words: Sequence[_Word], size: float) -> None:
    word_of = {t: word for word in words for t in range(word.start, word.stop)}
    for t, label in enumerate(labels):
        if label.strip():
            _text(axes, t + 0.5, label.strip(), word_of.get(t), fontsize=size)


def _write_words(axes: Any, words: Sequence[_Word], distance: float) -> int:
    """Write words upright, at least ``distance`` tokens apart, the strongest first; return the longest."""
    taken: list[float] = []
    longest = 0
    for word in sorted(words, key=lambda word: -word.growth):
        centre = (word.start + word.stop) / 2
        if all(abs(centre - other) >= distance for other in taken):
            taken.append(centre)
            short = word.text if len(word.text) <= _LONGEST else word.text[: _LONGEST - 1] + "…"
            longest = max(longest, len(short))
            _text(axes, centre, short, word, fontsize=_ROTATED, rotation=90)
    return longest


def _text(axes: Any, place: float, text: str, word: _Word | None, **style: Any) -> None:
    marked = word is not None and word.growth >= _MARKED
    axes.annotate(
        text,
        (place, 0),
        (0, -_GAP),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        annotation_clip=False,
        color=word.colour if word is not None and marked else _GREY,
        weight="bold" if marked else "normal",
        family="monospace",
        ha="center",
        va="top",
        parse_math=False,
        **style,
    )
