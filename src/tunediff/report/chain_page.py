"""Show a chain of variants: on the terminal, as JSON, in Markdown and as an HTML page.

variants, steps = chain_tables(chain)        # columns with the heading first
lines = chain_lines(chain)                   # sentences
pages = chain_pages(chain)                   # pages.markdown, pages.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tunediff.compare.chain import Chain
from tunediff.report.board_page import page_table
from tunediff.report.diff_page import Pages
from tunediff.report.notation import (
    NBSP,
    bare_p_value,
    counted,
    interval,
    level,
    p_value,
    percent,
    points,
    points_interval,
    whole,
)
from tunediff.report.page import board_html, markdown_page
from tunediff.runtime.files import visible

Step = Mapping[str, Any]
Columns = list[list[str]]


def chain_json(chain: Chain) -> dict[str, Any]:
    """Return the chain as one JSON object; shares in 0..1, differences in -1..1."""
    return {
        "measure": chain.measure,
        "n": chain.n,
        "confidence": chain.confidence,
        "variants": [dict(one) for one in chain.variants],
        "steps": [dict(one) for one in chain.steps],
        "there_and_back": chain.there_and_back,
        "notes": list(chain.notes),
    }


def step_name(step: Step) -> str:
    """The name of a step, safe for a terminal."""
    return f"{visible(step['before'])} -> {visible(step['after'])}"


def chain_tables(chain: Chain) -> tuple[Columns, Columns]:
    """Return the tables of the variants and of the steps, as columns with the heading first."""
    wide = f"{level(chain.confidence)} interval"

    def share(step: Step, name: str) -> str:
        return f"{whole(step[name])} ({interval(step[f'{name}_low'], step[f'{name}_high'])})"

    def difference(step: Step) -> str:
        low, high = step["difference_low"], step["difference_high"]
        return f"{points(step['difference'])} ({points_interval(low, high).removesuffix(f'{NBSP}points')})"

    variants = [
        ["variant", *(visible(str(one["name"])) for one in chain.variants)],
        [chain.measure, *(percent(one["accuracy"]) for one in chain.variants)],
        [wide, *(interval(one["accuracy_low"], one["accuracy_high"]) for one in chain.variants)],
        ["invalid", *(whole(one["invalid"]) for one in chain.variants)],
    ]
    steps = [
        ["step", *map(step_name, chain.steps)],
        ["changed", *(whole(step["changed"]) for step in chain.steps)],
        *([name, *(share(step, name) for step in chain.steps)] for name in ("flips", "repaired", "broken")),
        ["difference", *map(difference, chain.steps)],
        ["p", *(bare_p_value(step["p"]) for step in chain.steps)],
        *(
            [["p adjusted", *(bare_p_value(step["p_adjusted"]) for step in chain.steps)]]
            if len(chain.steps) > 1
            else []
        ),
    ]
    return variants, steps


def chain_lines(chain: Chain) -> list[str]:
    """Return sentences that explain the tables, one per line."""
    # Names of variants come from files and models, and may contain control characters.
    return [visible(line) for line in _lines(chain)]


def _lines(chain: Chain) -> Iterator[str]:
    shared = ", accounting for cases that share a text" if any("cluster" in one for one in chain.frames) else ""
    steps = chain.steps
    adjusted = f", adjusted over {whole(len(steps))} steps by Holm" if len(steps) > 1 else ""
    yield (
        f"{counted(len(chain.variants), 'variant')} on the same {counted(chain.n, 'case')}. A flip is a case that "
        "exactly one of the two variants gets right; changed counts every differing answer. Intervals "
        f"({level(chain.confidence)}{shared}): exact for shares of the cases, Tango's for differences. p: McNemar's "
        f"exact test{adjusted}."
    )
    if not any(step["changed"] for step in steps):
        yield f"Nothing differs: all variants answer all {counted(chain.n, 'case')} identically."
        return
    for step in steps:
        yield f"{step_name(step)}: {_step_sentence(step, 1 - chain.confidence)}"
    if len(chain.variants) > 2:
        yield f"Of the cases that flip along the way, {whole(chain.there_and_back)} end as they began."
    yield from chain.notes


def _step_sentence(step: Step, alpha: float) -> str:
    n = counted(step["n"], "case")
    if not step["changed"]:
        return f"nothing differs, all {n} are answered identically."
    if not step["flips"]:
        return f"{whole(step['changed'])} of {n} are answered differently, and none flips."
    found = f"of {n} {whole(step['flips'])} flip ({whole(step['repaired'])} repaired, {whole(step['broken'])} broken)"
    if step["p_adjusted"] < alpha:
        return f"{found}: the two differ by {points(step['difference'])} (adjusted {p_value(step['p_adjusted'])})."
    return f"{found}; neither is significantly better (adjusted {p_value(step['p_adjusted'])})."


def chain_pages(chain: Chain) -> Pages:
    """Return the chain as an HTML page and in Markdown."""
    variants, steps = chain_tables(chain)
    # An arrow, because escaping ">" would make the Markdown hard to read.
    steps = [[cell.replace("->", "→") for cell in column] for column in steps]
    contents = {
        "title": "What each step changed",
        "tables": [page_table("Variants", variants), page_table("Steps", steps)],
        "lines": [line.replace("->", "→") for line in chain_lines(chain)],
        "pictures": [],
        "flips": [],
    }
    return Pages(board_html(contents), markdown_page(contents, "board.md.j2"))
