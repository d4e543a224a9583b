"""Write the report of `tunediff diff`: the page of the pipeline without results that need a pipeline.

pages = diff_pages(found, ("before.jsonl", "after.jsonl"))
pages.html, pages.markdown
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from tunediff.compare.comparison import Comparison
from tunediff.compare.effects.differences import Difference
from tunediff.compare.effects.slices import slices_of_cases
from tunediff.compare.effects.transitions import cube
from tunediff.compare.evidence import Evidence
from tunediff.compare.explanations.causes import plain
from tunediff.compare.raised import Models
from tunediff.config.report import Report
from tunediff.data.cases import INVALID, MODELS
from tunediff.report.explorer import chosen
from tunediff.report.page import html_page, markdown_page, page_contents
from tunediff.report.results import Cell, Flow, Results
from tunediff.runtime.files import visible
from tunediff.tasks.gold_answers import marked_answer

REPORT = Report(title="What changed, case by case", cases_per_transition=5)
FILES = Models("model before", "model after", "the change")


class Pages(NamedTuple):
    """The report as one self-contained HTML file, and as Markdown for a pull request."""

    html: str
    markdown: str


def diff_pages(found: Evidence, names: tuple[str, str]) -> Pages:
    """Return the two reports.

    Args:
        found: the result of `tunediff.compare.evidence.gather` for two files.
        names: names of the two files.
    """
    comparison = found.comparison
    slices, labels = (found.tables.get(name, pd.DataFrame()) for name in ("slices", "labels"))
    results = Results(
        comparison.task,
        comparison.confidence,
        diff_cases=found.metrics,
        cases=list(_cases(found)),
        flows=_flows(comparison),
        cells=_cells(found),
        source_texts=None if comparison.clusters is None else int(comparison.clusters.nunique()),
        models=FILES,
        differences=[Difference(*row) for row in found.tables["differences"].itertuples(index=False)],
        labels=_records(labels),
        slices=_records(slices),
        checks=found.checks,
        sources={"before": names[0], "after": names[1], "diff_cases": "metrics.json", "cases": "cases.jsonl"},
    )
    contents = page_contents(results, REPORT)
    return Pages(html_page(contents), markdown_page(contents))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, plain(row), strict=True)) for _, row in table.iterrows()]


def _cells(found: Evidence) -> list[Cell]:
    """Cases by gold label and answers, if answers are classes; an answer outside of the labels counts as none."""
    task = found.comparison.task
    of_classes = not task.answers_are_labels or len(found.tables["differences"]) > 1
    if len(task.labels) < 2 or not of_classes:
        return []
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    known = {label: label for label in task.labels}
    cells = cube(found.comparison.labelled)
    columns = (cells[name] for name in ("gold", "before", "after", "outcome_base", "outcome_tuned", "cases"))
    for gold, before, after, outcome_before, outcome_after, cases in zip(*columns, strict=True):
        answers = ((before, outcome_before), (after, outcome_after))
        given = (None if outcome == INVALID else known.get(answer) for answer, outcome in answers)
        counts[(gold, *given)] += cases
    return [Cell(*key, cases) for key, cases in counts.items()]


def _flows(comparison: Comparison) -> list[Flow]:
    names = ["outcome_base", "outcome_tuned", "transition"]
    outcomes = comparison.aligned[names[:2]].assign(transition=comparison.cells)
    counts = outcomes.groupby(names, observed=True).size().reset_index(name="cases")
    columns = (counts[name].tolist() for name in (*names, "cases"))
    return [Flow(*row) for row in zip(*columns, strict=True)]


def _cases(found: Evidence) -> Iterator[dict[str, Any]]:
    """The cases that the page shows, as records of data/cases.jsonl."""
    comparison = found.comparison
    assert comparison.pairs is not None
    task, places = comparison.task, chosen(comparison.cells)
    rows = comparison.pairs.at(places)
    rows = rows.assign(transition=comparison.cells.iloc[places])
    columns = {"case_id": "case_id", "label": "label", "transition": "transition"}
    columns |= {name: name for name in task.shared_columns}
    columns |= {
        f"{who}_{name}": f"{name}_{who}" for name in ("prediction", "log_probs", *task.scores) for who in MODELS
    }
    values = {key: plain(rows[column]) for key, column in columns.items() if column in rows}
    texts = {name: rows[name].astype(str).tolist() for name in task.inputs}
    kinds = set(task.kinds.values())
    members: list[list[str]] = []
    if comparison.user_slices:
        features, families = comparison.features, comparison.families
        members = slices_of_cases(comparison.aligned, (), features, families, found.tables["slices"])
    for row in range(len(rows)):
        case = {key: column[row] for key, column in values.items()}
        inputs = {name: column[row] for name, column in texts.items()}
        for name in task.shared_columns:
            case[name] = [marked_answer(inputs.get("context", ""), *answer) for answer in case[name]]
        tags = [case["label"]] if case["label"] in kinds else []
        case |= {name: visible(text) for name, text in inputs.items()} | {"tags": tags}
        yield case | ({"slices": list(map(visible, members[places[row]]))} if members else {})
