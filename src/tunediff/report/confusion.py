"""Draw confusion matrices as heat maps of gold label by answer, and their difference.

base, tuned = confusion_tables(results.cells, labels)
confusion_picture(labels, base, "base model", with_unlabelled=False)
difference_picture(labels, base, tuned, with_unlabelled=False)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from tunediff.metrics.accuracy import Counts
from tunediff.report.drawing import COLOURS, chart, picture
from tunediff.report.notation import percent, signed, whole
from tunediff.report.results import Cell
from tunediff.stats.bootstrap import Floats

NO_LABEL = "(no label)"
DARKEST = 0.5  # opacity of a full cell: text on it stays readable in both modes


def confusion_tables(cells: Sequence[Cell], labels: Sequence[str]) -> tuple[Counts, Counts]:
    """Return the confusion of both models, each of shape (n_labels, n_labels + 1); the last column: no label."""
    place: dict[str | None, int] = {label: at for at, label in enumerate(labels)}
    base, tuned = (np.zeros((len(labels), len(labels) + 1), dtype=np.int64) for _ in range(2))
    for cell in cells:
        base[place[cell.label], place.get(cell.before, -1)] += cell.cases
        tuned[place[cell.label], place.get(cell.after, -1)] += cell.cases
    return base, tuned


def confusion_picture(labels: Sequence[str], counts: Counts, who: str, with_unlabelled: bool) -> Markup:
    """Draw a heat map of gold label by answer; the shade is the share of the gold label's cases.

    Args:
        labels: the label list, of length n_labels.
        counts: of shape (n_labels, n_labels + 1); the last column is for answers without a label.
        who: name of the model, such as "base model".
        with_unlabelled: whether to show the last column.
    """
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = f"Confusion of the {who}"
    return _heat_map(labels, counts, share, with_unlabelled, title, whole, lambda part: percent(part, 0))


def difference_picture(labels: Sequence[str], base: Counts, tuned: Counts, with_unlabelled: bool) -> Markup:
    """Draw a heat map of the tuned model's confusion minus that of the base model."""
    share = (tuned - base) / np.maximum(base.sum(axis=1, keepdims=True), 1)

    def change(cases: float) -> str:
        return signed(cases, 0)

    title = "Change of the confusion"
    return _heat_map(
        labels, tuned - base, share, with_unlabelled, title, change, lambda part: f"{change(100 * part)} pts"
    )


def _heat_map(
    labels: Sequence[str],
    counts: Counts,
    shares: Floats,
    with_unlabelled: bool,
    title: str,
    cases_text: Callable[[float], str],
    share_text: Callable[[float], str],
) -> Markup:
    """Draw counts and their shares, both of shape (n_labels, n_labels + 1), each written by its function."""
    import altair as alt

    names = [*labels, NO_LABEL] if with_unlabelled else list(labels)
    rows = [
        {
            **{"gold": label, "predicted": name, "share": abs(float(part)), "sign": "more" if cases >= 0 else "fewer"},
            **{"text": cases_text(cases), "percent": share_text(part)},
        }
        for label, cells, parts in zip(labels, counts, shares, strict=True)
        for name, cases, part in zip(names, cells, parts, strict=False)
    ]
    summary = "; ".join(
        f"gold {label}: " + ", ".join(f"{row['text']} {row['predicted']}" for row in rows if row["gold"] == label)
        for label in labels
    )
    # Cells shrink with the number of labels; small cells lose the second line of text, then the first.
    cell = max(18, min(84, 330 // len(names)))
    axis: dict[str, Any] = {"domain": False, "ticks": False, "labelLimit": 110, "labelOverlap": False}
    flat = 6.5 * max(map(len, names)) <= cell + 4
    grid = chart(rows).encode(
        x=alt.X(
            "predicted:N",
            sort=list(names),
            title="answer",
            axis=alt.Axis(orient="top", labelAngle=0 if flat else -40, titlePadding=8, **axis),
        ),
        y=alt.Y("gold:N", sort=list(labels), title="gold label", axis=alt.Axis(titlePadding=8, **axis)),
    )
    drawn = grid.mark_rect(cornerRadius=2, stroke=COLOURS["line"]).encode(
        fill=alt.Fill(
            "sign:N",
            legend=None,
            scale=alt.Scale(domain=["more", "fewer"], range=[COLOURS["tuned"], COLOURS["broken"]]),
        ),
        fillOpacity=alt.FillOpacity("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, DARKEST])),
    )
    if cell >= 24:
        two_lines = cell >= 56
        size = 13 if cell >= 36 else 10
        drawn += grid.mark_text(color=COLOURS["ink"], fontSize=size, dy=-7 if two_lines else 0).encode(text="text:N")
        if two_lines:
            drawn += grid.mark_text(color=COLOURS["ink"], fontSize=11, dy=10).encode(text="percent:N")
    return picture(drawn.properties(width=cell * len(names), height=min(cell, 62) * len(labels)), title, summary)
