"""Sentences about forgotten and gained cases of other test sets."""

from tunediff.report.notation import (
    counted,
    decimal,
    interval,
    level,
    p_value,
    percent,
    points,
    points_interval,
    whole,
)
from tunediff.report.results import Record, Results


def retention_sentences(results: Results) -> str:
    """Return sentences about forgotten and gained cases of all further test sets."""
    return " ".join(_retained(row, results) for row in results.retention)


def _retained(row: Record, results: Results) -> str:
    n, sure = int(row["n"]), level(results.confidence)
    several = f", adjusted for {whole(len(results.retention))} test sets" if len(results.retention) > 1 else ""
    sentences = [
        f"On {row['set']} ({counted(n, 'case')}) {row['measure']} went from {percent(row['accuracy_base'])} to "
        f"{percent(row['accuracy_tuned'])}: {points(row['delta'])} ({sure} interval "
        f"{points_interval(row['low'], row['high'])}; exact McNemar test, {p_value(row['p_holm'])}{several}).",
        f"{_share_of(row, 'forgotten', n)} forgotten, {_share_of(row, 'gained', n)} gained (exact {sure} intervals).",
    ]
    if row["forgotten"] == row["gained"] == 0:
        most = f"up to {percent(row['forgotten_high'])} either way (exact {sure} interval)"
        sentences[1] = (
            f"No case was forgotten or gained; the true rates may be {most}."
            if row["accuracy_base"]
            else "No case was right before, so none could be forgotten."
        )
    elif row["forgotten_above_chance"] is not None:
        forgotten, gained = (percent(max(0.0, row[f"{key}_above_chance"])) for key in ("forgotten", "gained"))
        sentences.append(
            f"Corrected for guessing among {whole(row['choices'])} labels, {forgotten} were forgotten and {gained} "
            "gained."
        )
    if row["format"] is not None and (row["forgotten"] or row["gained"]):
        form, rest = (
            f"{points(row[key])} ({points_interval(row[f'{key}_low'], row[f'{key}_high'])})"
            for key in ("format", "rest")
        )
        share = f", {percent(row['format'] / row['delta'], 0)} of the change," if abs(row["delta"]) > 1e-12 else ""
        sentences.append(f"The answer format accounts for {form}{share} and everything else for {rest}.")
    if row["kl"] is not None:
        ends = "" if row["kl_low"] is None else f", {decimal(row['kl_low'])} to {decimal(row['kl_high'])}"
        sentences.append(
            f"The probabilities of the choices moved by {decimal(row['kl'])} nats per case{ends} "
            "(Kullback-Leibler divergence, base to tuned)."
        )
    return " ".join(sentences)


def _share_of(row: Record, key: str, n: int) -> str:
    count = int(row[key])
    return (
        f"{counted(count, 'case')} ({percent(count / n)}, {interval(row[f'{key}_low'], row[f'{key}_high'])}) "
        f"{'was' if count == 1 else 'were'}"
    )
