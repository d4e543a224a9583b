"""The report's pictures: altair charts as inline SVG, in the colours of the page they stand in.

picture = transitions_picture(results.diff_cases)
picture              # '<svg class="picture" role="img" ...'; no script, no font, no reference to elsewhere

Each colour in the SVG is a CSS variable of the page (`var(--repaired)`), so that one picture serves light mode, dark
mode and print. Blue and vermilion carry the meaning, which the common kinds of colour blindness tell apart; text and
dashes repeat it.
"""

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from tunediff.compare.transitions import TRANSITIONS
from tunediff.metrics.classification import Counts
from tunediff.report.notation import counted, decimal, percent, whole
from tunediff.report.results import Metrics, Row
from tunediff.report.tables import TagAccuracy

# The colours that altair draws with, and the CSS variable each becomes; the page's style defines the variables.
COLOURS = {
    "ink": "#1c2127",
    "muted": "#5b6571",
    "line": "#dde1e7",
    "repaired": "#0a6ebe",
    "broken": "#bd4b08",
    "both_right": "#8fb4d0",
    "both_wrong_same": "#9aa0a7",
    "both_wrong_changed": "#c3c8ce",
    "base": "#7d8791",
    "tuned": "#0b6fbf",
}
VARIABLES = {colour: f"var(--{name.replace('_', '-')})" for name, colour in COLOURS.items()}
TRANSITION_NAMES = {
    "both_right": "Right both times",
    "repaired": "Repaired: wrong, then right",
    "broken": "Broken: right, then wrong",
    "both_wrong_same": "Wrong both times, same answer",
    "both_wrong_changed": "Wrong both times, another answer",
}
STYLE = {
    "background": "transparent",
    # Fonts of one width everywhere: the SVG is laid out here and drawn with what the reader's machine has.
    "font": "Arial, Helvetica, Liberation Sans, sans-serif",
    "padding": 4,
    "aria": False,
    "view": {"stroke": None},
    "text": {"fontSize": 13},
    "axis": {
        "labelColor": COLOURS["muted"],
        "titleColor": COLOURS["muted"],
        "gridColor": COLOURS["line"],
        "tickColor": COLOURS["line"],
        "domainColor": COLOURS["line"],
        "labelFontSize": 13,
        "titleFontSize": 13,
        "titleFontWeight": "normal",
        "labelLimit": 260,
        "labelPadding": 6,
    },
    "legend": {"orient": "top", "title": None, "labelColor": COLOURS["ink"], "labelFontSize": 13, "labelLimit": 300},
}
MOST_TAGS = 40
DARKEST = 0.5  # opacity of a full cell: text on it stays readable in both modes


def transitions_picture(diff: Metrics) -> Markup:
    """Bars: how many cases took each transition."""
    import altair as alt

    rows = [
        {
            "name": TRANSITION_NAMES[key],
            "key": key,
            "cases": diff[key],
            "text": f"{whole(diff[key])} ({percent(diff[key] / diff['n'])})",
        }
        for key in TRANSITIONS
    ]
    bars = _chart(rows).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(domain=False, ticks=False, labelColor=COLOURS["ink"])),
        x=alt.X("cases:Q", axis=None, scale=alt.Scale(domain=[0, max(diff[key] for key in TRANSITIONS)])),
    )
    colour = alt.Color(
        "key:N", legend=None, scale=alt.Scale(domain=list(TRANSITIONS), range=[COLOURS[key] for key in TRANSITIONS])
    )
    chart = bars.mark_bar(height=20).encode(color=colour) + bars.mark_text(
        align="left", dx=7, color=COLOURS["ink"]
    ).encode(text="text:N")
    summary = ", ".join(f"{row['name']}: {row['text']}" for row in rows)
    return _picture(chart.properties(width=480, height=160), "Test cases by transition", summary)


def confusion_picture(labels: Sequence[str], counts: Counts, who: str, with_invalid: bool) -> Markup:
    """Heat map of gold label by prediction; the shade is the share of the gold label's cases.

    Args:
        labels: the label list, of length n_labels.
        counts: of shape (n_labels, n_labels + 1), the last column being the invalid answers.
        who: whose predictions they are, such as "base".
        with_invalid: whether to show the last column.
    """
    import altair as alt

    names = [*labels, "(invalid)"] if with_invalid else list(labels)
    rows = [
        {
            "gold": label,
            "predicted": name,
            "cases": int(cases),
            "share": float(cases / max(row.sum(), 1)),
            "text": whole(cases),
            "percent": percent(cases / max(row.sum(), 1), 0),
        }
        for label, row in zip(labels, counts, strict=True)
        for name, cases in zip(names, row, strict=False)
    ]
    # Cells shrink with the number of labels; small cells lose the second line of text, then the first.
    cell = max(18, min(84, 330 // len(names)))
    axis: dict[str, Any] = {
        "domain": False,
        "ticks": False,
        "labelLimit": 110,
        "labelOverlap": False,
        "titlePadding": 8,
    }
    grid = _chart(rows).encode(
        x=alt.X(
            "predicted:N",
            sort=names,
            title="predicted",
            axis=alt.Axis(orient="top", labelAngle=0 if 6.5 * max(map(len, names)) <= cell + 4 else -40, **axis),
        ),
        y=alt.Y("gold:N", sort=list(labels), title="gold label", axis=alt.Axis(**axis)),
    )
    chart = grid.mark_rect(color=COLOURS["tuned"], cornerRadius=2, stroke=COLOURS["line"]).encode(
        fillOpacity=alt.FillOpacity("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, DARKEST]))
    )
    if cell >= 24:
        two_lines = cell >= 56
        size = 13 if cell >= 36 else 10
        chart += grid.mark_text(color=COLOURS["ink"], fontSize=size, dy=-7 if two_lines else 0).encode(text="text:N")
        if two_lines:
            chart += grid.mark_text(color=COLOURS["ink"], fontSize=11, dy=10).encode(text="percent:N")
    summary = "; ".join(
        f"gold {label}: " + ", ".join(f"{whole(cases)} {name}" for name, cases in zip(names, row, strict=False))
        for label, row in zip(labels, counts, strict=True)
    )
    return _picture(
        chart.properties(width=cell * len(names), height=min(cell, 62) * len(labels)),
        f"Confusion of the {who} model",
        summary,
    )


def loss_picture(log: Sequence[Row]) -> Markup:
    """Lines: training and validation loss by epoch."""
    import altair as alt

    series = {"train_loss": "training (mean over the epoch)", "validation_loss": "validation"}
    rows = [
        {"epoch": row["epoch"], "loss": row[key], "of": name}
        for key, name in series.items()
        for row in log
        if row[key] is not None
    ]
    epochs = [row["epoch"] for row in log]
    names, colours = list(series.values()), [COLOURS["base"], COLOURS["tuned"]]
    chart = (
        _chart(rows)
        .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=2)
        .encode(
            x=alt.X(
                "epoch:Q",
                scale=alt.Scale(domain=[min(epochs), max(epochs)], nice=False, padding=16),
                axis=alt.Axis(values=epochs[:: -(-len(epochs) // 12)], format="~g", grid=False, title="epoch"),
            ),
            y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "of:N",
                scale=alt.Scale(domain=names, range=colours),
                legend=alt.Legend(symbolType="stroke", symbolSize=500, symbolStrokeWidth=2),
            ),
            strokeDash=alt.StrokeDash("of:N", scale=alt.Scale(domain=names, range=[[5, 4], [1, 0]])),
        )
    )
    summary = "; ".join(
        f"{name}: " + ", ".join(decimal(row["loss"]) for row in rows if row["of"] == name) for name in names
    )
    return _picture(chart.properties(width=720, height=220), "Loss by epoch", summary)


def tags_picture(tags: Sequence[TagAccuracy]) -> Markup:
    """Two dots a tag: accuracy before and after. Of more than `MOST_TAGS` tags, those with the most cases."""
    import altair as alt

    if len(tags) > MOST_TAGS:
        most = set(sorted(tags, key=lambda row: (-row.n, row.tag))[:MOST_TAGS])
        tags = [row for row in tags if row in most]
    rows = [{"tag": f"{row.tag} ({whole(row.n)})", "base": row.base, "tuned": row.tuned} for row in tags]
    names: list[Any] = ["base", "tuned"]
    colours = [COLOURS["base"], COLOURS["tuned"]]
    chart = _chart(rows).encode(
        y=alt.Y(
            "tag:N",
            sort=None,
            title=None,
            axis=alt.Axis(domain=False, ticks=False, labelLimit=260, labelOverlap=False, labelColor=COLOURS["ink"]),
        )
    )
    across = alt.X(
        "base:Q",
        title="accuracy",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(
            values=[0, 0.25, 0.5, 0.75, 1], labelExpr="round(100 * datum.value) + ' %'", labelFlush=False, domain=False
        ),
    )
    dots = (
        chart.transform_fold(names, as_=["model", "accuracy"])
        .mark_point(size=90, opacity=1, filled=True)
        .encode(
            x=alt.X("accuracy:Q"),
            color=alt.Color("model:N", scale=alt.Scale(domain=names, range=colours)),
            shape=alt.Shape("model:N", scale=alt.Scale(domain=names, range=["diamond", "circle"])),
        )
    )
    lines = chart.mark_rule(strokeWidth=2, color=COLOURS["both_wrong_changed"]).encode(x=across, x2="tuned:Q")
    summary = "; ".join(
        f"{row.tag}, {counted(row.n, 'case')}: {percent(row.base)} before, {percent(row.tuned)} after" for row in tags
    )
    return _picture(
        (lines + dots).properties(width=540, height=24 * len(rows)), "Accuracy before and after by tag", summary
    )


def _chart(rows: Sequence[Row]) -> Any:
    import altair as alt

    return alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]


def _picture(chart: Any, title: str, summary: str) -> Markup:
    import vl_convert

    # A chart of ours is checked by its test, so the second that altair's schema check takes is saved here.
    svg = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), config=STYLE, allowed_base_urls=[])
    return _inline(svg, title, summary)


def _inline(svg: str, title: str, summary: str) -> Markup:
    """The SVG for use inside HTML: named for screen readers, colours as CSS variables, no namespace addresses."""
    opening, rest = svg.split(">", 1)
    size = re.search(r'width="\S+" height="\S+" viewBox="[^"]+"', opening)
    rest = re.sub(r'(?<==")#[0-9a-f]{6}(?=")', lambda match: VARIABLES.get(match.group(), match.group()), rest)
    return Markup(  # noqa: S704  (the SVG writer escapes text; what is added here is escaped here)
        f'<svg class="picture" role="img" aria-label="{escape(title)}. {escape(summary)}." '
        f"{size.group() if size else ''}><title>{escape(title)}</title>{rest}"
    )
