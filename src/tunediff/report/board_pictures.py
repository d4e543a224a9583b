"""Draw the charts of a board: runs with intervals and groups, and gain over cost.

intervals_picture(board), tradeoff_picture(board)
"""

from typing import Any

from markupsafe import Markup

from tunediff.compare.board import Board
from tunediff.report.drawing import COLOURS, chart, picture
from tunediff.report.notation import interval, percent, points, whole
from tunediff.runtime.files import visible

MOST_RUNS = 60
MOST_GROUPS = 26
TRADES = {"forgotten": "forgotten, % of other test sets' cases", "seconds": "seconds of training"}


def intervals_picture(board: Board) -> Markup:
    """Draw a dot with its interval for each run, best first, next to a bar for each group of ties."""
    import altair as alt

    first = board.rows[:MOST_RUNS]
    rows = [
        {
            "run": visible(row.name),
            "share": 100 * row.accuracy,
            "low": 100 * row.accuracy_low,
            "high": 100 * row.accuracy_high,
            "kind": "base" if row.name == board.base else "tuned",
        }
        for row in first
    ]
    names: Any = [visible(row.name) for row in first]
    order = alt.Y("run:N", sort=names, title=None)
    kinds: Any = alt.Scale(domain=["base", "tuned"], range=[COLOURS["base"], COLOURS["tuned"]])
    base = chart(rows).encode(y=order)
    across = alt.X("share:Q", title=f"{board.measure}, %", scale=alt.Scale(zero=False))
    whiskers = base.mark_rule(color=COLOURS["ink"]).encode(x=alt.X("low:Q", scale=alt.Scale(zero=False)), x2="high:Q")
    dots = base.mark_circle(size=70, opacity=1).encode(x=across, color=alt.Color("kind:N", scale=kinds, legend=None))
    drawn = alt.layer(whiskers, dots).properties(width=420, height=24 * len(rows))
    groups = list(board.groups)[:MOST_GROUPS]
    cells = [
        {"run": visible(name), "group": letter}
        for letter in groups
        for name in board.groups[letter]
        if visible(name) in names
    ]
    bars = (
        chart(cells)
        .mark_bar(width=8, color=COLOURS["both_right"])
        .encode(
            y=alt.Y("run:N", sort=names, title=None, axis=None),
            x=alt.X("group:N", sort=groups, title="group", axis=alt.Axis(orient="top", labelAngle=0)),
        )
        .properties(width=max(24, 18 * len(groups)), height=24 * len(rows))
    )
    summary = "; ".join(
        f"{row.name}: {percent(row.accuracy)} ({interval(row.accuracy_low, row.accuracy_high)}), rank "
        f"{whole(row.rank_low)} to {whole(row.rank_high)}, group {' '.join(row.groups)}"
        for row in first
    )
    return picture(alt.hconcat(drawn, bars, spacing=12), "Runs by interval, groups of ties as bars", summary)


def tradeoff_picture(board: Board) -> Markup | None:
    """Draw the gain over the base against forgotten cases and training time; None if unknown for at least two runs.

    Runs on the Pareto frontier are filled and joined. They include only runs that beat the base.
    """
    import altair as alt

    known = [row for row in board.rows if row.to_base is not None]
    parts, summaries = [], []
    for key, title in TRADES.items():
        rows = [
            {
                "run": visible(row.name),
                "gain": 100 * row.to_base.gain,
                "cost": 100 * value if key == "forgotten" else value,
                "kind": "frontier" if row.on_frontier else "other",
            }
            for row in known
            if row.to_base is not None and (value := getattr(row, key)) is not None
        ]
        if len(rows) < 2:
            continue
        scale: Any = alt.Scale(domain=["frontier", "other"], range=[COLOURS["tuned"], COLOURS["base"]])
        base = chart(rows).encode(
            x=alt.X("cost:Q", title=title, scale=alt.Scale(zero=False, padding=20)),
            y=alt.Y("gain:Q", title="gain over the base, points", scale=alt.Scale(zero=False, padding=20)),
        )
        line = base.transform_filter("datum.kind == 'frontier'").mark_line(color=COLOURS["tuned"], strokeDash=[4, 3])
        dots = base.mark_circle(size=80, opacity=1).encode(color=alt.Color("kind:N", scale=scale))
        names = base.mark_text(align="left", dx=8, color=COLOURS["ink"]).encode(text="run:N")
        parts.append(alt.layer(line, dots, names).properties(width=320, height=260))
        summaries.append(f"{title}: " + ", ".join(f"{row['run']} {row['cost']:.4g}" for row in rows))
    if not parts:
        return None
    front = [row.name for row in known if row.on_frontier]
    gains = ", ".join(f"{row.name} {points(row.to_base.gain)}" for row in known if row.to_base is not None)
    summary = f"Gain: {gains}; {'; '.join(summaries)}; on the frontier: {', '.join(front) or 'no run'}"
    return picture(alt.hconcat(*parts, spacing=24), "Gain against cost", summary)
