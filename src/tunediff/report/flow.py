"""Draw the transitions as bands from outcome before to outcome after, as SVG.

    flow_picture([Flow("right", "right", "both_right", 39), Flow("wrong", "right", "repaired", 49)])

The thickness of a band is proportional to its number of cases. Altair has no such chart.
"""

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.data.cases import OUTCOMES
from tunediff.report.drawing import TRANSITION_NAMES
from tunediff.report.notation import counted, percent, whole
from tunediff.report.results import Flow

WIDTH, HEIGHT, GAP, BAR = 720.0, 240.0, 26.0, 12.0
LEFT, RIGHT = 150.0, 570.0
# Minimum thickness of a band, and thickness from which a band has a label.
THINNEST, READABLE = 1.5, 15.0
SHORT = {
    "both_right": "stayed right",
    "repaired": "repaired",
    "broken": "broken",
    "both_wrong_same": "same wrong answer",
    "both_wrong_changed": "another wrong answer",
}


def flow_picture(flows: Sequence[Flow]) -> Markup:
    """Draw the bands.

    Args:
        flows: numbers of cases by outcome before, outcome after and transition; at least one case.
    """
    drawn = [flow for flow in sorted(flows, key=_order) if flow.cases]
    n = sum(flow.cases for flow in drawn)
    nodes = {side: _nodes(drawn, side) for side in ("before", "after")}
    room = HEIGHT - GAP * (max(map(len, nodes.values())) - 1)
    tops = {side: _tops(counts, n, room) for side, counts in nodes.items()}
    parts = [_band(flow, height, *ends) for flow, height, *ends in _bands(drawn, tops, n, room)]
    for side, counts in nodes.items():
        for outcome, cases in counts.items():
            parts.append(_node(side, outcome, cases, n, tops[side][outcome], _height(cases, n, room)))
    summary = "; ".join(
        f"{TRANSITION_NAMES[name]}: {counted(cases, 'case')}"
        for name in TRANSITIONS
        if (cases := sum(flow.cases for flow in drawn if flow.transition == name))
    )
    title = "Outcome of each case before and after"
    return Markup(  # noqa: S704  (words and numbers of this module, nothing of a data set)
        f'<svg class="picture flow" role="img" aria-label="{escape(title)}. {escape(summary)}." width="{WIDTH:.0f}" '
        f'height="{HEIGHT + 40:.0f}" viewBox="0 -28 {WIDTH:.0f} {HEIGHT + 40:.0f}"><title>{escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


def _order(flow: Flow) -> tuple[int, int, int]:
    return OUTCOMES.index(flow.before), OUTCOMES.index(flow.after), TRANSITIONS.index(flow.transition)


def _nodes(flows: Sequence[Flow], side: str) -> dict[str, int]:
    """The number of cases of each outcome that occurs."""
    counts = {outcome: sum(flow.cases for flow in flows if getattr(flow, side) == outcome) for outcome in OUTCOMES}
    return {outcome: cases for outcome, cases in counts.items() if cases}


def _tops(counts: Mapping[str, int], n: int, room: float) -> dict[str, float]:
    tops, top = {}, 0.0
    for outcome, cases in counts.items():
        tops[outcome] = top
        top += _height(cases, n, room) + GAP
    return tops


def _height(cases: int, n: int, room: float) -> float:
    return max(THINNEST, room * cases / n)


def _bands(
    flows: Sequence[Flow], tops: Mapping[str, Mapping[str, float]], n: int, room: float
) -> list[tuple[Flow, float, float, float]]:
    """Each flow with the height, start and end of its band, stacked at both nodes."""
    start, end = dict(tops["before"]), dict(tops["after"])
    bands = []
    for flow in flows:
        height = room * flow.cases / n
        bands.append((flow, max(THINNEST, height), start[flow.before], end[flow.after]))
        start[flow.before] += height
        end[flow.after] += height
    return bands


def _band(flow: Flow, height: float, start: float, end: float) -> str:
    left, right, middle = LEFT + BAR, RIGHT, (LEFT + BAR + RIGHT) / 2
    name = flow.transition.replace("_", "-")
    path = (
        f"M{left} {start:.1f}C{middle} {start:.1f} {middle} {end:.1f} {right} {end:.1f}V{end + height:.1f}"
        f"C{middle} {end + height:.1f} {middle} {start + height:.1f} {left} {start + height:.1f}Z"
    )
    drawn = f'<path d="{path}" fill="var(--{name})" fill-opacity=".5"></path>'
    if height < READABLE:
        return drawn
    text = f"{whole(flow.cases)} {SHORT[flow.transition]}"
    return f'{drawn}<text x="{left + 10}" y="{start + height / 2 + 4.5:.1f}" fill="var(--ink)">{text}</text>'


def _node(side: str, outcome: str, cases: int, n: int, top: float, height: float) -> str:
    x, at, anchor = (LEFT, LEFT - 10, "end") if side == "before" else (RIGHT, RIGHT + BAR + 10, "start")
    middle = top + height / 2
    return (
        f'<rect x="{x}" y="{top:.1f}" width="{BAR}" height="{height:.1f}" fill="var(--muted)"></rect>'
        f'<text x="{at}" y="{middle - 3:.1f}" text-anchor="{anchor}" fill="var(--ink)">{outcome} {side}</text>'
        f'<text x="{at}" y="{middle + 13:.1f}" text-anchor="{anchor}" fill="var(--muted)">'
        f"{whole(cases)} ({percent(cases / n)})</text>"
    )
