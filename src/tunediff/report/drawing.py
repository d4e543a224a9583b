"""Render altair charts as inline SVG, in the colours of the page.

drawn = picture(chart(rows).mark_bar().encode(...), "Seconds by stage", "train: 00:03:02, ...")
drawn                # '<svg class="picture" role="img" ...'; no scripts, fonts or external references

Each colour in the SVG is a CSS variable of the page (`var(--repaired)`), so that a picture works in light mode, dark
mode and print. Blue and vermilion remain distinct for common kinds of colour blindness; text and dashes repeat their
meaning.
"""

import re
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from tunediff.report.results import Record

# The CSS variable of each colour, and the colour that altair draws with; style.css defines the variables.
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
WHEN = {"base": "before", "tuned": "after"}
TRANSITION_NAMES = {
    "both_right": "Right both times",
    "repaired": "Repaired: wrong, then right",
    "broken": "Broken: right, then wrong",
    "both_wrong_same": "Wrong both times, same answer",
    "both_wrong_changed": "Wrong both times, another answer",
}
STYLE = {
    "background": "transparent",
    # Fonts with the same metrics, because the layout is computed here and the reader's machine draws it.
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


def chart(rows: Sequence[Record]) -> Any:
    """Return an altair chart of rows."""
    import altair as alt

    return alt.Chart(alt.Data(values=list(rows)))  # type: ignore[no-untyped-call]


def picture(chart: Any, title: str, summary: str) -> Markup:
    """Render a chart as SVG, with title and summary for screen readers."""
    import vl_convert

    # altair's schema check takes a second, and the tests cover our charts.
    svg = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), config=STYLE, allowed_base_urls=[])
    return inline(svg, title, summary)


def inline(svg: str, title: str, summary: str) -> Markup:
    """Return an SVG for inline use in HTML: labelled for screen readers, with CSS variables, without namespaces."""
    opening, rest = svg.split(">", 1)
    size = re.search(r'width="\S+" height="\S+" viewBox="[^"]+"', opening)
    rest = re.sub(r'(?<==")#[0-9a-f]{6}(?=")', lambda match: VARIABLES.get(match.group(), match.group()), rest)
    return Markup(  # noqa: S704  (the SVG writer escapes text; what is added here is escaped here)
        f'<svg class="picture" role="img" aria-label="{escape(title)}. {escape(summary)}." '
        f"{size.group() if size else ''}><title>{escape(title)}</title>{rest}"
    )
