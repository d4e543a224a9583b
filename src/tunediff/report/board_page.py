"""Show a board of many runs: on the terminal, as JSON, in Markdown and as an HTML page.

    table = board_table(board)                           # columns with the heading first, at most twelve
    lines = board_lines(board, recipes, health)          # sentences: groups, the best run, recipes
    pages = board_pages(board, recipes, health)          # pages.markdown, pages.html

A rank is always printed with its interval, and the best run with the number of runs it was selected from.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from tunediff.compare.board import Board, Difference, Row
from tunediff.compare.board_health import Health
from tunediff.report.board_pictures import intervals_picture, tradeoff_picture
from tunediff.report.diff_page import Pages
from tunediff.report.notation import (
    bare_p_value,
    counted,
    decimal,
    interval,
    level,
    p_value,
    percent,
    points,
    points_interval,
    signed,
    whole,
)
from tunediff.report.page import board_html, markdown_page
from tunediff.runtime.files import visible

MOST_PARAMETERS = 6
MOST_SUSPECTED = 5
MOST_FLIPS = 20
FLIPS = {"stable_repair": "repaired by every seed", "stable_break": "broken by every seed", "lottery": "a lottery"}
HEALTH = ("spread", "noise", "noise_of", "signal_to_noise", "always_right", "always_wrong")
Figures = Mapping[str, Any]


def board_json(board: Board, recipes: Sequence[Figures], health: Health) -> dict[str, Any]:
    """Return the board as a JSON object; shares in 0..1, differences in -1..1, ranks from 1."""
    return {
        "measure": board.measure,
        "n": board.n,
        "confidence": board.confidence,
        "base": board.base,
        "runs": [_run(row) for row in board.rows],
        "pairs": [pair._asdict() for pair in board.pairs],
        "groups": [list(names) for names in board.groups.values()],
        "recipes": [dict(one) for one in recipes],
        "test_set": {name: getattr(health, name) for name in HEALTH} | {"agreed_against_label": len(health.suspected)},
        "notes": list(board.notes),
    }


def _run(row: Row) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in ("name", "n", "accuracy", "accuracy_low", "accuracy_high")},
        **{name: getattr(row, name) for name in ("rank_low", "rank_high")},
        "groups": list(row.groups),
        "to_base": row.to_base._asdict() if row.to_base else None,
        "to_best": row.to_best._asdict() if row.to_best else None,
        "over_baseline": row.over_baseline._asdict() if row.over_baseline else None,
        "forgotten": row.forgotten,
        "retained": {
            name: one._asdict() | {"difference": one.difference._asdict()} for name, one in row.retained.items()
        },
        "seconds": row.seconds,
        "parameters": {name: _plain(value) for name, value in row.parameters.items()},
        "on_frontier": row.on_frontier,
    }


def _plain(value: Any) -> Any:
    """A value of params.yaml for JSON, which has no dates, infinities or NaN."""
    fits = isinstance(value, str | int | None) or (isinstance(value, float) and isfinite(value))
    return value if fits else str(value)


def board_table(board: Board) -> list[list[str]]:
    """Return the columns of the table, with the heading first; columns without any value are omitted."""

    def to(difference: Difference | None) -> str:
        if difference is None:
            return "-"
        low, high = signed(100 * difference.low), signed(100 * difference.high)
        return f"{signed(100 * difference.gain)} ({low} to {high})"

    def adjusted(difference: Difference | None) -> str:
        return "-" if difference is None else bare_p_value(difference.p_adjusted)

    columns: dict[str, Callable[[Row], str]] = {
        "run": lambda row: visible(row.name),
        board.measure: lambda row: percent(row.accuracy),
        f"{level(board.confidence)} interval": lambda row: interval(row.accuracy_low, row.accuracy_high),
        "rank": lambda row: whole(row.rank_low) + (f"–{row.rank_high}" if row.rank_high > row.rank_low else ""),
        "group": lambda row: "".join(row.groups) if all(len(one) == 1 for one in row.groups) else " ".join(row.groups),
        "to base": lambda row: to(row.to_base),
        "p (base)": lambda row: adjusted(row.to_base),
        "to best": lambda row: to(row.to_best),
        "p (best)": lambda row: adjusted(row.to_best),
        "over baseline": lambda row: "-" if row.over_baseline is None else signed(100 * row.over_baseline.gain),
        "forgotten": lambda row: "-" if row.forgotten is None else percent(row.forgotten),
        "seconds": lambda row: "-" if row.seconds is None else decimal(row.seconds, 1),
    }
    table = [[name, *(cell(row) for row in board.rows)] for name, cell in columns.items()]
    return [column for column in table if set(column[1:]) != {"-"}]


def board_lines(board: Board, recipes: Sequence[Figures], health: Health) -> list[str]:
    """Return sentences that explain the table, one per line."""
    lines = [
        *_about(board),
        *(f"Group {letter}: {', '.join(names)}." for letter, names in board.groups.items()),
        *_best(board),
        *_parameters(board),
        *_retained(board),
        *(sentence for one in recipes for sentence in recipe_sentences(one, board.confidence)),
        *_health(health, board),
        *board.notes,
    ]
    # Names of runs come from files and branches, and may contain control characters.
    return [visible(line) for line in lines]


def _about(board: Board) -> Iterator[str]:
    shared = "" if board.clusters is None else ", accounting for cases that share a text"
    apart = sum(pair.separated for pair in board.pairs)
    yield (
        f"{counted(len(board.rows), 'run')} on the same {counted(board.n, 'case')}: {apart:,} of "
        f"{counted(len(board.pairs), 'pair')} differ significantly."
    )
    yield (
        f"By exact tests{shared}, adjusted over all pairs by Holm ({level(1 - board.confidence)}). Runs in the same "
        "group do not differ significantly; a rank is an interval."
    )


def _best(board: Board) -> Iterator[str]:
    """The best run, and the number of runs it was selected from."""
    best, second = board.rows[0], board.rows[1]
    ahead = second.to_best
    assert ahead is not None
    lead = (
        f"{best.name} is the most accurate of {counted(len(board.rows), 'run')}, selected on these same cases: "
        f"{points(-ahead.gain)} ahead of the next, {second.name} ({points_interval(-ahead.high, -ahead.low)}; "
        f"adjusted {p_value(ahead.p_adjusted)})"
    )
    if ahead.p_adjusted >= 1 - board.confidence:
        lead += ". This lead may be due to chance"
    yield f"{lead}."
    if best.to_base is not None:
        gain = best.to_base
        yield (
            f"Its gain over the base is {points(gain.gain)} ({points_interval(gain.low, gain.high)}; adjusted "
            f"{p_value(gain.p_adjusted)})."
        )


def _parameters(board: Board) -> Iterator[str]:
    for row in board.rows:
        if row.parameters:
            yield f"{row.name}: {parameters_text(row)}"


def parameters_text(row: Row) -> str:
    """Return the parameters of a run that differ between the runs, as one line of text."""
    texts = [f"{name} {'none' if value is None else value}" for name, value in row.parameters.items()]
    more = f", and {len(texts) - MOST_PARAMETERS} more" if len(texts) > MOST_PARAMETERS else ""
    return ", ".join(texts[:MOST_PARAMETERS]) + more


def _retained(board: Board) -> Iterator[str]:
    for row in board.rows:
        for name, one in row.retained.items():
            yield (
                f"{row.name} on {name}: {points(one.difference.gain)} "
                f"({points_interval(one.difference.low, one.difference.high)}); {one.forgotten:,} forgotten, "
                f"{one.gained:,} gained of {counted(one.n, 'case')}."
            )


def recipe_sentences(recipe: Figures, confidence: float) -> list[str]:
    """Return sentences about the gain of a recipe over its seeds."""
    seeds = len(recipe["seeds"])
    who = f"Recipe: {', '.join(recipe['runs'])} ({counted(seeds, 'seed')})"
    each = ", ".join(signed(100 * gain) for gain in recipe["gains"])
    if recipe["gain_low"] is None:
        first = f"{who}: {points(recipe['gain'])} on average ({each})"
        return [f"{first}; with fewer than three seeds, this describes these checkpoints and not the recipe."]
    low, high = recipe["gain_low"], recipe["gain_high"]
    drawn = points_interval(recipe["multi_bootstrap_low"], recipe["multi_bootstrap_high"])
    parts = {name: recipe[f"variance_{name}"] for name in ("seed", "case", "seed_case")}
    n = sum(recipe[kind] for kind in ("stable_repair", "stable_break", "lottery", "unchanged"))
    of_mean = {
        "seeds": parts["seed"] / seeds,
        "cases": parts["case"] / n,
        "randomness within cases": parts["seed_case"] / seeds / n,
    }
    total = sum(of_mean.values())
    shares = [f"{percent(value / total, 0)} by {name}" for name, value in of_mean.items()] if total else ["not"]
    needed = recipe["seeds_needed"]
    enough = (
        "no number of seeds suffices, because the cases vary too much"
        if needed is None
        else f"{whole(needed)} in total"
    )
    return [
        f"{who}: {points(recipe['gain'])} on average ({level(confidence)} interval over seeds and cases "
        f"{points_interval(low, high)}; multi-bootstrap {drawn}); by seed {each}.",
        f"The mean varies {', '.join(shares)}. A new seed would be worse than the base with probability "
        f"{percent(recipe['chance_worse'])}. Seeds needed for the requested interval: {enough}.",
        f"Repaired by every seed: {counted(recipe['stable_repair'], 'case')}; broken by every seed: "
        f"{whole(recipe['stable_break'])}; seed-dependent, flipped by some seeds but not by others: "
        f"{whole(recipe['lottery'])}.",
    ]


def page_table(title: str, columns: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a table for a page, given columns with the heading first."""
    return {
        "title": title,
        "heading": [column[0] for column in columns],
        "rows": list(zip(*(column[1:] for column in columns), strict=True)),
    }


def _health(health: Health, board: Board) -> Iterator[str]:
    """How well the test set distinguishes these runs."""
    ratio = "without noise" if health.signal_to_noise is None else f"{decimal(health.signal_to_noise, 1)} times"
    noise = "between seeds of one recipe" if health.noise_of == "seeds" else "due to the sampling of the cases"
    yield (
        f"The test set: the runs differ by {decimal(100 * health.spread, 1)} points (standard deviation), while a "
        f"single run varies by {decimal(100 * health.noise, 1)} {noise}: {ratio} the noise. All runs got "
        f"{counted(health.always_right, 'case')} right and all got {whole(health.always_wrong)} wrong; only the "
        f"other {whole(board.n - health.always_right - health.always_wrong)} distinguish the runs."
    )
    if len(health.suspected):
        first = [str(case_id) for case_id in health.suspected["case_id"].head(MOST_SUSPECTED)]
        more = ", ..." if len(health.suspected) > len(first) else ""
        sure = ", most confident first" if health.suspected["confidence"].notna().any() else ""
        yield (
            f"Labels to review: on {counted(len(health.suspected), 'case')} all {len(board.rows)} runs give the same "
            f"answer, which contradicts the label{sure}: {', '.join(first)}{more}."
        )


def recipe_headline(recipe: Figures, measure: str, confidence: float) -> str:
    """Return a headline about the gain of a recipe, as opposed to that of one checkpoint."""
    seeds, gain = counted(len(recipe["seeds"]), "seed"), recipe["gain"]
    if recipe["gain_low"] is None:
        return f"{points(gain)} of {measure} on average over {seeds}: the gain of these checkpoints, not of the recipe."
    ends = (
        f"{level(confidence)} interval over seeds and cases {points_interval(recipe['gain_low'], recipe['gain_high'])}"
    )
    if recipe["gain_low"] <= 0 <= recipe["gain_high"]:
        return f"No gain of this recipe was shown: {points(gain)} of {measure} on average over {seeds} ({ends})."
    what = "raises" if gain > 0 else "lowers"
    return f"This recipe {what} {measure} by {points(gain)} on average over {seeds} ({ends})."


def _flips(flips: Sequence[Figures]) -> list[tuple[str, ...]]:
    """The first cases of each kind: kind, case, and the numbers of seeds that repair and break it."""
    rows: list[tuple[str, ...]] = []
    for kind, words in FLIPS.items():
        for one in [flip for flip in flips if flip["kind"] == kind][:MOST_FLIPS]:
            by = (f"{one['repaired']} of {one['seeds']}", f"{one['broken']} of {one['seeds']}")
            rows.append((words, visible(str(one["case_id"])), *by))
    return rows


def board_pages(board: Board, recipes: Sequence[Figures], health: Health, flips: Sequence[Figures] = ()) -> Pages:
    """Return the board as an HTML page and in Markdown.

    If all runs except the base are seeds of one recipe, the page is about the recipe.

    Args:
        board: the board.
        recipes: figures of the recipes (`tunediff.compare.recipes.recipe_figures`).
        health: quality of the test set.
        flips: cases that seeds flip (`tunediff.compare.recipes.case_lines`).
    """
    lines, title = board_lines(board, recipes, health), "Which runs differ"
    if len(recipes) == 1 and {row.name for row in board.rows} - {board.base} == set(recipes[0]["runs"]):
        title = "The gain of this recipe"
        lines = [recipe_headline(recipes[0], board.measure, board.confidence), *lines]
    contents = {
        "title": title,
        "tables": [page_table("All runs", board_table(board))],
        "lines": lines,
        "flips": _flips(flips),
        "pairs": [pair for pair in board.pairs if pair.separated],
        "pictures": [picture for picture in (intervals_picture(board), tradeoff_picture(board)) if picture is not None],
    }
    return Pages(board_html(contents), markdown_page(contents, "board.md.j2"))
