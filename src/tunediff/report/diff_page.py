"""The report of `tunediff diff`: the page of the pipeline, as far as two prediction files go.

pages = diff_pages(found, ("before.jsonl", "after.jsonl"), confidence=0.95)
pages.html, pages.markdown
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tunediff.compare.effects.differences import MOST_LABELS
from tunediff.config.report import Report
from tunediff.data.cases import INVALID
from tunediff.report.explorer import chosen
from tunediff.runtime.files import visible
from tunediff.report.page import html_page, markdown_page, page_contents
from tunediff.report.results import Cell, Flow, Models, Results, Shape, marked_answer
from tunediff.report.tables import by_tag

if TYPE_CHECKING:
    import pandas as pd

    from tunediff.compare.comparison import Diff

REPORT = Report(title="What changed, case by case", cases_per_transition=5)
MODELS = Models("model before", "model after", "the change")


class Pages(NamedTuple):
    """The report twice: one self-contained HTML file, and Markdown for a pull request."""

    html: str
    markdown: str


def diff_pages(found: "Diff", names: tuple[str, str], confidence: float) -> Pages:
    """Return the two reports.

    Args:
        found: what `tunediff.compare.comparison.compare` returns.
        names: of the two files.
        confidence: of the intervals.
    """
    results = Results(
        diff_cases=found.metrics,
        cases=list(_cases(found)),
        flows=_flows(found),
        cells=_cells(found),
        source_texts=int(found.outcomes["cluster"].nunique()) if "cluster" in found.outcomes else None,
        models=MODELS,
        differences=found.differences,
        slices=_tags(found, confidence),
        alarms=[alarm._asdict() for alarm in found.alarms],
        sources={"before": names[0], "after": names[1], "diff_cases": "metrics.json", "cases": "cases.jsonl"},
    )
    source = "context" if "context" in found.inputs else "text"
    shape = Shape(found.inputs, found.classes, source_input=source, partial_input="")
    contents = page_contents(results, shape, REPORT, confidence)
    return Pages(html_page(contents), markdown_page(contents))


def _cells(found: "Diff") -> list[Cell]:
    """Cases by gold label and answers, where answers are classes; an answer outside of the labels names none."""
    asked = "f1_delta" in found.metrics
    if not 2 <= len(found.classes) <= MOST_LABELS or not (asked or len(found.differences) >= 3):
        return []
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    known = {label: label for label in found.classes}
    columns = (found.cube[name] for name in ("gold", "before", "after", "outcome_base", "outcome_tuned", "cases"))
    for gold, before, after, outcome_before, outcome_after, cases in zip(*columns, strict=True):
        answers = ((before, outcome_before), (after, outcome_after))
        given = (None if outcome == INVALID else known.get(answer) for answer, outcome in answers)
        counts[(gold, *given)] += cases
    return [Cell(*key, cases) for key, cases in counts.items()]


def _flows(found: "Diff") -> list[Flow]:
    names = ["outcome_base", "outcome_tuned", "transition"]
    counts = found.outcomes.groupby(names, observed=True).size().reset_index(name="cases")
    columns = (counts[name].tolist() for name in (*names, "cases"))
    return [Flow(*row) for row in zip(*columns, strict=True)]


def _tags(found: "Diff", confidence: float) -> list[Any]:
    """Exact match of questions with and without an answer, where there are both."""
    if "f1_delta" not in found.metrics:
        return []
    tagged = zip(found.outcomes["label"], found.outcomes["transition"], strict=True)
    return by_tag((([label], transition) for label, transition in tagged), confidence)


def _cases(found: "Diff") -> Iterator[dict[str, Any]]:
    """The cases that the page holds, as a line of data/cases.jsonl each."""
    places = chosen(found.outcomes["transition"])
    rows = found.pairs.at(places)
    rows = rows.assign(transition=found.outcomes["transition"].iloc[places])
    texts = [rows[name].astype(str) for name in found.inputs]
    for case, own in zip(_columns(rows), _rows(texts, len(rows)), strict=True):
        inputs = dict(zip(found.inputs, own, strict=True))
        if "answers" in case:
            case["answers"] = [marked_answer(inputs.get("context", ""), *answer) for answer in case["answers"]]
        yield {
            **case,
            **{name: visible(text) for name, text in inputs.items()},
            "tags": [case["label"]] * ("answers" in case),
        }


def _columns(rows: "pd.DataFrame") -> Iterator[dict[str, Any]]:
    """What a record has beside the inputs."""
    columns = {"case_id": "case_id", "label": "label", "transition": "transition", "answers": "answers"}
    columns |= {
        f"{who}_{name}": f"{name}_{who}" for name in ("prediction", "log_probs", "f1") for who in ("base", "tuned")
    }
    there = {key: rows[column] for key, column in columns.items() if column in rows}
    values = [column.astype(object).where(column.notna(), None) for column in there.values()]
    for own in zip(*values, strict=True):
        yield dict(zip(there, own, strict=True))


def _rows(columns: list[Any], n: int) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * n
