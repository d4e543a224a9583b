"""Draw the charts of the report: parts of the gain, slices, loss, confidence, cost.

    gain_picture(results.gain, task.parts, task.words.measure)

Colours are blue and vermilion, which remain distinct for common kinds of colour blindness; text repeats their meaning.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tunediff.report.drawing import COLOURS, WHEN, chart, picture
from tunediff.report.notation import counted, decimal, duration, percent, points, points_interval, whole
from tunediff.report.results import Record

MOST_SLICES = 25


def loss_picture(log: Sequence[Record]) -> Markup:
    """Draw training and validation loss by epoch."""
    import altair as alt

    series = {"train_loss": "training (mean over the epoch)", "validation_loss": "validation"}
    rows = [
        {"epoch": row["epoch"], "loss": row[key], "series": name}
        for key, name in series.items()
        for row in log
        if row[key] is not None
    ]
    epochs = [row["epoch"] for row in log]
    names, colours = list(series.values()), [COLOURS["base"], COLOURS["tuned"]]
    drawn = (
        chart(rows)
        .mark_line(point=alt.OverlayMarkDef(size=45), strokeWidth=2)
        .encode(
            x=alt.X(
                "epoch:Q",
                scale=alt.Scale(domain=[min(epochs), max(epochs)], nice=False, padding=16),
                axis=alt.Axis(values=epochs[:: -(-len(epochs) // 12)], format="~g", grid=False, title="epoch"),
            ),
            y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "series:N",
                scale=alt.Scale(domain=names, range=colours),
                legend=alt.Legend(symbolType="stroke", symbolSize=500, symbolStrokeWidth=2),
            ),
            strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=[[5, 4], [1, 0]])),
        )
    )
    summary = "; ".join(
        f"{name}: " + ", ".join(decimal(row["loss"]) for row in rows if row["series"] == name) for name in names
    )
    return picture(drawn.properties(width=720, height=220), "Loss by epoch", summary)


def gain_picture(gain: Sequence[Record], names: Mapping[str, str], measure: str) -> Markup:
    """Draw a waterfall chart of the parts of the change with their intervals, and of the sum.

    Args:
        gain: rows with part, points, low and high, in percentage points.
        names: names of the parts for readers.
        measure: name of the metric.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    at = 0.0
    for row in gain:
        text = f"{points(row['points'] / 100)} ({points_interval(row['low'] / 100, row['high'] / 100)})"
        end = at + row["points"]
        ends = {"start": at, "end": end, "low": at + row["low"], "high": at + row["high"]}
        kind = "repaired" if row["points"] >= 0 else "broken"
        rows.append({"name": names.get(row["part"], row["part"]), "kind": kind, "text": text, **ends})
        at = end
    rows.append(
        {"name": "together", "kind": "base", "text": points(at / 100), "start": 0.0, "end": at, "low": at, "high": at}
    )
    kinds: list[Any] = ["repaired", "broken", "base"]
    lowest, highest = (pick(row[key] for row in rows for key in ("start", "end", "low", "high")) for pick in (min, max))
    base = chart(rows).encode(y=alt.Y("name:N", sort=None, title=None, axis=_names_axis()))
    across = alt.X(
        "start:Q",
        title=f"points of {measure}",
        scale=alt.Scale(domain=[min(lowest, 0), max(highest, 0, lowest + 1)], nice=True),
        axis=alt.Axis(tickCount=6, domain=False),
    )
    colour = alt.Color("kind:N", legend=None, scale=alt.Scale(domain=kinds, range=[COLOURS[kind] for kind in kinds]))
    bars = base.mark_bar(height=18).encode(x=across, x2="end:Q", color=colour)
    whiskers = base.mark_rule(color=COLOURS["ink"], strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q")
    labels = base.mark_text(align="left", dx=8, color=COLOURS["ink"]).encode(x=alt.X("most:Q"), text="text:N")
    drawn = (bars + whiskers + labels).transform_calculate(most="max(datum.start, datum.end, datum.high)")
    summary = "; ".join(f"{row['name']}: {row['text']}" for row in rows)
    return picture(drawn.properties(width=380, height=30 * len(rows)), "Parts of the change", summary)


def slices_picture(slices: Sequence[Record], measure: str) -> Markup:
    """Draw accuracy (named `measure`) before and after as two dots per slice, for the first `MOST_SLICES` slices."""
    import altair as alt

    first = slices[:MOST_SLICES]
    rows = [
        {
            "name": f"{slice_name(row)} ({whole(row['n'])})",
            "before": row["accuracy_base"],
            "after": row["accuracy_tuned"],
        }
        for row in first
    ]
    names: list[Any] = [*WHEN.values()]
    drawn = chart(rows).encode(y=alt.Y("name:N", sort=None, title=None, axis=_names_axis()))
    dots = (
        drawn.transform_fold(names, as_=["model", "accuracy"])
        .mark_point(size=90, opacity=1, filled=True)
        .encode(x=alt.X("accuracy:Q"), color=_model_colour(), shape=_model_shape())
    )
    across = alt.X("before:Q", title=measure, scale=alt.Scale(domain=[0, 1]), axis=_share_axis())
    lines = drawn.mark_rule(strokeWidth=2, color=COLOURS["both_wrong_changed"]).encode(x=across, x2="after:Q")
    summary = "; ".join(
        f"{slice_name(row)}, {counted(int(row['n']), 'case')}: {percent(row['accuracy_base'])} before, "
        f"{percent(row['accuracy_tuned'])} after"
        for row in first
    )
    drawn = (lines + dots).properties(width=500, height=24 * len(rows))
    return picture(drawn, f"{measure.capitalize()} before and after by slice", summary)


def slice_name(row: Record) -> str:
    """Return the name of a slice in pictures and cases."""
    return f"{row['family']}: {row['value']}"


def reliability_picture(reliability: Sequence[Record]) -> Markup:
    """Draw accuracy over confidence by bin, with intervals; a calibrated model is on the diagonal."""
    import altair as alt

    rows = [{**row, "model": WHEN[row["model"]], "least": row["low"], "most": row["high"]} for row in reliability]
    share = alt.Scale(domain=[0, 1])
    across = alt.X("confidence:Q", title="confidence, mean of the bin", scale=share, axis=_share_axis())
    up = alt.Y("accuracy:Q", title="accuracy", scale=share, axis=_share_axis())
    drawn = chart(rows).encode(x=across, color=_model_colour())
    ideal = (
        chart([{"at": 0.0}, {"at": 1.0}])
        .mark_line(color=COLOURS["muted"], strokeDash=[4, 4], strokeWidth=1)
        .encode(x=alt.X("at:Q"), y=alt.Y("at:Q"))
    )
    layers = (
        ideal
        + drawn.mark_rule(strokeWidth=1.5).encode(y=alt.Y("least:Q"), y2="most:Q")
        + drawn.mark_line(strokeWidth=1.5).encode(y=up)
        + drawn.mark_point(size=70, filled=True, opacity=1).encode(y=up, shape=_model_shape())
    )
    summary = "; ".join(
        f"{row['model']}, {counted(int(row['cases']), 'case')}: {percent(row['confidence'])} confidence, "
        f"{percent(row['accuracy'])} right"
        for row in rows
    )
    return picture(layers.properties(width=330, height=280), "Reliability before and after", summary)


def coverage_picture(coverage: Sequence[Record]) -> Markup:
    """Draw the accuracy on the most confident cases over the share of cases answered."""
    import altair as alt

    share = alt.Scale(domain=[0, 1])
    rows = [{**row, "model": WHEN[row["model"]]} for row in coverage]
    lines = chart(rows).encode(
        x=alt.X("coverage:Q", title="share of cases answered, most confident first", scale=share, axis=_share_axis()),
        y=alt.Y("accuracy:Q", title="accuracy on those", scale=share, axis=_share_axis()),
        color=_model_colour(),
    )
    last = {row["model"]: row for row in rows}
    summary = "; ".join(f"{name}: {percent(row['accuracy'])} when all are answered" for name, row in last.items())
    drawn = lines.mark_line(strokeWidth=2) + lines.mark_point(size=12, filled=True, opacity=1).encode(
        shape=_model_shape()
    )
    return picture(drawn.properties(width=330, height=280), "Accuracy by share of cases answered", summary)


def change_picture(rows: Sequence[Record], x: str, title: str) -> Markup:
    """Draw the change from the base over the column `x`, with its interval; one panel per test set (`set`)."""
    import altair as alt

    summary = "; ".join(
        f"{row['set']}, {x} {row[x]:g}: {points(row['delta'])} ({points_interval(row['low'], row['high'])})"
        for row in rows
    )
    shown = [{**row, **{key: 100 * row[key] for key in ("delta", "low", "high")}} for row in rows]
    values = sorted({row[x] for row in rows})
    axis = alt.Axis(values=values[:: -(-len(values) // 12)], format="~g", grid=False)
    drawn = chart(shown).encode(
        x=alt.X(f"{x}:Q", title=x, axis=axis, scale=alt.Scale(zero=False, nice=False, padding=12)),
        y=alt.Y("low:Q", title="change, points", axis=alt.Axis(format="+~g", tickCount=5)),
    )
    line = drawn.encode(y="delta:Q")
    layers = drawn.mark_rule(strokeWidth=2, color=COLOURS["both_right"]).encode(y2="high:Q")
    layers += line.mark_line(strokeWidth=2, color=COLOURS["tuned"])
    layers += line.mark_point(size=45, filled=True, opacity=1, color=COLOURS["tuned"])
    header = alt.Header(labelFontSize=13, labelColor=COLOURS["ink"])
    names = list(dict.fromkeys(row["set"] for row in rows))
    facet = alt.Facet("set:N", title=None, sort=names, header=header)
    return picture(layers.properties(width=220, height=160).facet(facet=facet, columns=2), title, summary)


def cost_picture(costs: Mapping[str, Record]) -> Markup:
    """Draw the time of each stage as bars."""
    import altair as alt

    rows = [
        {"stage": name, "seconds": cost["seconds"], "text": duration(cost["seconds"])} for name, cost in costs.items()
    ]
    most = max((cost["seconds"] for cost in costs.values()), default=1.0) or 1.0
    bars = chart(rows).encode(
        y=alt.Y("stage:N", sort=None, title=None, axis=_names_axis()),
        x=alt.X("seconds:Q", axis=None, scale=alt.Scale(domain=[0, most])),
    )
    labels = bars.mark_text(align="left", dx=7, color=COLOURS["ink"]).encode(text="text:N")
    drawn = bars.mark_bar(height=16, color=COLOURS["tuned"]) + labels
    summary = "; ".join(f"{row['stage']}: {row['text']}" for row in rows)
    return picture(drawn.properties(width=480, height=26 * len(rows)), "Time by stage", summary)


def _names_axis() -> Any:
    import altair as alt

    return alt.Axis(domain=False, ticks=False, labelLimit=260, labelOverlap=False, labelColor=COLOURS["ink"])


def _share_axis() -> Any:
    import altair as alt

    in_words = "round(100 * datum.value) + ' %'"
    return alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], labelExpr=in_words, labelFlush=False, domain=False)


def _model_colour() -> Any:
    import altair as alt

    return alt.Color("model:N", scale=alt.Scale(domain=[*WHEN.values()], range=[COLOURS[name] for name in WHEN]))


def _model_shape() -> Any:
    import altair as alt

    return alt.Shape("model:N", scale=alt.Scale(domain=[*WHEN.values()], range=["diamond", "circle"]))
