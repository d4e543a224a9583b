"""The report as a page: one self-contained HTML file, and the same in Markdown for pull requests.

contents = page_contents(results, params.task, params.report, confidence=0.95)
write_text(Path("reports/report.html"), html_page(contents))
write_text(Path("reports/report.md"), markdown_page(contents))

Whatever a template prints is escaped for where it stands, in Markdown too: text of a data set stays text.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunediff.compare.transitions import TRANSITIONS
from tunediff.metrics.classification import confusion, per_class
from tunediff.report import notation
from tunediff.report.findings import Findings, findings
from tunediff.report.plots import (
    MOST_TAGS,
    TRANSITION_NAMES,
    confusion_picture,
    loss_picture,
    tags_picture,
    transitions_picture,
)
from tunediff.report.results import Results
from tunediff.report.tables import by_module, by_tag, examples
from tunediff.sections import Report, Task

TEMPLATES = Path(__file__).parent / "templates"
FIGURES = (
    *(notation.percent, notation.level, notation.points, notation.interval, notation.points_interval, notation.signed),
    *(notation.decimal, notation.whole, notation.counted, notation.p_value, notation.duration, notation.gib),
)
# What Markdown or HTML reads as markup, and what GitHub turns into links and mentions on its own.
MARKUP = re.compile(r"[\\`*_\[\]<>&|~$#]")
LINKS = re.compile(r"[@#](?=\w)|:(?=//)|www(?=\.)", re.IGNORECASE)
MARKDOWN_TEXT = 300


def page_contents(results: Results, task: Task, report: Report, confidence: float) -> dict[str, Any]:
    """Everything the templates print: findings, tables and pictures."""
    gold = [case["label"] for case in results.cases]
    base, tuned = (
        confusion(task.labels, gold, [case[f"{who}_prediction"] for case in results.cases]) for who in ("base", "tuned")
    )
    with_invalid = bool(base[:, -1].any() or tuned[:, -1].any())
    tags = by_tag(results.cases, confidence)
    return {
        "title": report.title,
        "found": findings(results, task, confidence),
        "results": results,
        "task": task,
        "confidence": confidence,
        "transitions": TRANSITIONS,
        "transition_names": TRANSITION_NAMES,
        "predicted": [*task.labels, "(invalid)"] if with_invalid else task.labels,
        "confusion": (base.tolist(), tuned.tolist()),
        "per_class": list(zip(per_class(task.labels, base), per_class(task.labels, tuned), strict=True)),
        "tags": tags,
        "most_tags": MOST_TAGS,
        "examples": examples(results.cases, task.labels, report.cases_per_transition),
        "each": report.cases_per_transition,
        "modules": by_module(results.parameters),
        "split_rows": _split_rows(task),
        "longest": MARKDOWN_TEXT,
        "signed_three": partial(notation.signed, digits=3),
        "signed_whole": partial(notation.signed, digits=0),
        "devices": list(dict.fromkeys(cost["device"] for cost in results.costs.values())),
        "seconds": sum(cost["seconds"] for cost in results.costs.values()),
        "peak": max(cost["peak_memory_bytes"] for cost in results.costs.values()),
        "pictures": {
            "transitions": transitions_picture(results.diff_cases),
            "base": confusion_picture(task.labels, base, "base", with_invalid),
            "tuned": confusion_picture(task.labels, tuned, "tuned", with_invalid),
            "loss": loss_picture(results.train_log),
            "tags": tags_picture(tags) if tags else None,
        },
    }


def _split_rows(task: Task) -> list[tuple[str, str]]:
    """Keys of metrics/prepare.json and what each counts."""
    rows = [
        ("train_n", "training cases"),
        ("validation_n", "validation cases"),
        ("test_n", "test cases"),
        ("dropped_unlabelled", "rows dropped: no gold label"),
        ("dropped_shared_premises", f"rows dropped: {task.source_input} also in another split"),
        ("leaked_pairs", "test cases that stand in training with the same inputs"),
        ("near_duplicates", "test cases with a near-duplicate in training"),
    ]
    if len(task.inputs) > 1:
        rows.append(("shared_premises", f"test cases that share their {task.source_input} with training"))
        rows.append(("shared_hypotheses", f"test cases that share their {task.premise_free_input} with training"))
    return rows


def html_page(contents: Mapping[str, Any]) -> str:
    """One HTML file without script that loads nothing."""
    return _environment().get_template("report.html.j2").render(contents)


def markdown_page(contents: Mapping[str, Any]) -> str:
    """The same in GitHub's Markdown, tables in place of pictures."""
    environment = _environment(finalize=markdown_text)
    environment.filters["code"] = _code
    return environment.get_template("report.md.j2").render(contents)


def plain_verdict(found: Findings) -> str:
    """The verdict for a terminal."""
    cautions = "".join(f"\n  {caution.name}: {caution.sentence}" for caution in found.cautions)
    return f"{found.headline}\n{found.sentences[1]}{cautions}"


def markdown_text(value: object) -> Markup:
    """A value as Markdown text of one line: nothing in it can be markup, a link, a mention or a table border."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"[\r\n\x0b\x0c\x85\u2028\u2029]+", " ", notation.visible(str(value)))
    text = LINKS.sub(lambda match: f"{match.group()}\N{WORD JOINER}", text)
    return Markup(MARKUP.sub(lambda match: f"&#{ord(match.group())};", text))  # noqa: S704  (escaped just here)


def _code(text: str) -> Markup:
    """A path or a command of ours as a code span, where character references would show."""
    return Markup("`" + re.sub(r"[`|\s]+", " ", text) + "`")  # noqa: S704  (nothing in a code span is markup)


def _environment(**options: Any) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )
    environment.filters.update({figure.__name__: figure for figure in FIGURES})
    environment.globals.update({figure.__name__: figure for figure in FIGURES})
    return environment
