"""Render the report as one self-contained HTML file, and in Markdown for pull requests.

contents = page_contents(results, params.report)
write_text(Path("reports/report.html"), html_page(contents))
write_text(Path("reports/report.md"), markdown_page(contents))

Everything that a template prints is escaped for its context, in Markdown too, so that text of a data set stays text.
The cases are a block of JSON, which the only script of the page writes as text. The page's content security policy
allows that script by its hash and no other.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.config.report import Report
from tunediff.models.parameters import by_module, read_rows
from tunediff.report import notation, plots
from tunediff.report.confusion import NO_LABEL, confusion_picture, confusion_tables, difference_picture
from tunediff.report.drawing import TRANSITION_NAMES
from tunediff.report.explorer import explorer_data
from tunediff.report.findings import Findings, findings, parity_sentence
from tunediff.report.flow import flow_picture
from tunediff.report.headline import baseline_name
from tunediff.report.loaded import loaded_models
from tunediff.report.results import EPOCH_COLUMNS, Metrics, Results
from tunediff.report.tables import environments, examples, key_numbers
from tunediff.runtime import files
from tunediff.tasks.task import Task

TEMPLATES = Path(__file__).parent / "templates"
FIGURES = (
    *(notation.percent, notation.level, notation.points, notation.interval, notation.points_interval, notation.signed),
    *(notation.decimal, notation.whole, notation.counted, notation.p_value, notation.duration, notation.gib),
)
# Characters of markup in Markdown or HTML, and text that GitHub turns into links and mentions.
MARKUP = re.compile(r"[\\`*_\[\]<>&|~$#]")
LINKS = re.compile(r"[@#](?=\w)|:(?=//)|www(?=\.)", re.IGNORECASE)
MARKDOWN_TEXT = 300
MARKDOWN_SLICES = 15
# Number of labels up to which the confusion is drawn; number of rows up to which tables are initially open.
MOST_DRAWN, MOST_OPEN = 50, 36
NO_ENERGY = "Energy was not measured: no stage used a GPU that reports it."
COST_NAMES = {"gpu_seconds": "GPU seconds", "energy_joules": "Energy, joules"}


def page_contents(results: Results, report: Report) -> dict[str, Any]:
    """Return everything that the templates print: findings, tables and pictures. Missing results are empty."""
    task, measure, slices = results.task, results.task.words.measure, results.slices
    explorer, controls = explorer_data(results), results.controls
    strengths = [{"set": controls["set"], **row} for row in controls.get("strengths", ())]
    epochs = [
        {"set": name, "measure": one["measure"], **row}
        for name, one in results.checkpoints.get("sets", {}).items()
        for row in one["epochs"]
    ]
    seen = {"same_inputs": "Same inputs", "near_duplicates": "Near-duplicate"}
    seen |= {f"same_{name}": f"Same {name}" for name in task.leak_inputs} | {"clean": "Clean"}
    return {
        "title": report.title,
        "found": findings(results),
        "results": results,
        "task": task,
        "confidence": results.confidence,
        "transitions": TRANSITIONS,
        "transition_names": TRANSITION_NAMES,
        "numbers": key_numbers(results),
        "tables": _confusion(results, task) if results.cells else {},
        "slices": slices,
        # Slices by tag alone are not compared with the other cases.
        "ranked": any(row["departure"] is not None for row in slices),
        "most_open": MOST_OPEN,
        "most_slices": plots.MOST_SLICES,
        "markdown_slices": MARKDOWN_SLICES,
        "slice_name": plots.slice_name,
        "baseline_name": baseline_name,
        "part_names": task.parts,
        "explorer": explorer,
        "slice_menu": sorted(enumerate(explorer["slices"]), key=lambda entry: entry[1]),
        "held": {
            name: sum(case["transition"] == at for case in explorer["cases"]) for at, name in enumerate(TRANSITIONS)
        },
        "explained": any("evidence" in case for case in explorer["cases"]),
        "seen_ways": [(key, name) for key, name in seen.items() if any(key in row for row in results.contamination)],
        "cost_names": COST_NAMES,
        "no_energy": NO_ENERGY,
        "examples": examples(results.cases, task, report.cases_per_transition),
        "each": report.cases_per_transition,
        "strengths": strengths,
        "epochs": epochs,
        "modules": by_module(read_rows(results.parameters)),
        "split_rows": _split_rows(task, results.prepare),
        # Only encoders have an accuracy on masked tokens.
        "masked": any(row["mlm_accuracy"] is not None for row in results.pretrain_log),
        "longest": MARKDOWN_TEXT,
        "environments": environments(results),
        "parity": parity_sentence(results.train),
        "loaded": loaded_models(results),
        "devices": list(dict.fromkeys(cost["device"] for cost in results.costs.values())),
        "seconds": sum(cost["seconds"] for cost in results.costs.values()),
        "peak": max((cost["peak_memory_bytes"] for cost in results.costs.values()), default=0),
        "measured_costs": [key for key in COST_NAMES if any(key in cost for cost in results.costs.values())],
        "epoch_figures": [name for name in EPOCH_COLUMNS if results.train_log and name in results.train_log[0]],
        "pictures": {
            "flow": flow_picture(results.flows),
            "gain": plots.gain_picture(results.gain, task.parts, measure) if len(results.gain) > 1 else None,
            "loss": plots.loss_picture(results.train_log) if results.train_log else None,
            "slices": plots.slices_picture(slices, measure) if slices else None,
            "reliability": plots.reliability_picture(results.reliability) if results.reliability else None,
            "coverage": plots.coverage_picture(results.coverage) if results.coverage else None,
            "strengths": plots.change_picture(strengths, "strength", "Change by strength") if strengths else None,
            "epochs": plots.change_picture(epochs, "epoch", "Change by epoch") if epochs else None,
            "cost": plots.cost_picture(results.costs) if results.costs else None,
        },
    }


def _confusion(results: Results, task: Task) -> dict[str, Any]:
    """The confusion of both models, as tables and, unless there are too many labels, as pictures."""
    base, tuned = confusion_tables(results.cells, task.labels)
    unlabelled = bool(base[:, -1].any() or tuned[:, -1].any())
    return {
        "predicted": [*task.labels, NO_LABEL] if unlabelled else list(task.labels),
        "confusion": (base.tolist(), tuned.tolist()),
        "pictures": []
        if len(task.labels) > MOST_DRAWN
        else [
            ("Before", confusion_picture(task.labels, base, results.models.base, unlabelled)),
            ("After", confusion_picture(task.labels, tuned, results.models.tuned, unlabelled)),
            ("After minus before", difference_picture(task.labels, base, tuned, unlabelled)),
        ],
    }


def _split_rows(task: Task, prepare: Metrics) -> list[tuple[str, str]]:
    """Keys of metrics/prepare.json with their names; there are fewer without training cases."""
    rows = [
        ("train_n", "training cases"),
        ("validation_n", "validation cases"),
        ("test_n", "test cases"),
        ("dropped_unlabelled", "rows dropped: no gold label"),
        ("dropped_shared_sources", f"rows dropped: {task.source_input} also in another split"),
        ("leaked_pairs", "test cases that also occur in the training split"),
        ("near_duplicates", "test cases with a near-duplicate in training"),
    ]
    if len(task.inputs) > 1:
        rows.append(("shared_sources", f"test cases that share their {task.source_input} with training"))
        rows.append(("shared_partial_inputs", f"test cases that share their {task.partial_input} with training"))
    return [(key, words) for key, words in rows if key in prepare]


def html_page(contents: Mapping[str, Any]) -> str:
    """Return the report as an HTML file that loads nothing; its only script shows the cases."""
    script = (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    ours = {"script": Markup(script), "script_hash": digest}  # noqa: S704  (a file of this package)
    return _environment().get_template("report.html.j2").render(contents, **ours)


def board_html(contents: Mapping[str, Any]) -> str:
    """Return the page of a board (`tunediff.report.board_page`), an HTML file without scripts that loads nothing."""
    return _environment().get_template("board.html.j2").render(contents)


def markdown_page(contents: Mapping[str, Any], template: str = "report.md.j2") -> str:
    """Return the report in GitHub's Markdown, with tables instead of pictures; or another Markdown template."""
    return _environment(finalize=markdown_text).get_template(template).render(contents)


def plain_verdict(found: Findings) -> str:
    """Return the findings as plain text for a terminal."""
    checks = "".join(f"\n  {check.code} {check.name}: {check.sentence}" for check in found.checks)
    return f"{found.headline}\n{found.sentences[1]}{checks}"


def markdown_text(value: object) -> Markup:
    """Return a value as Markdown text on one line, without markup, links, mentions or table borders."""
    if isinstance(value, Markup):
        return value
    text = re.sub(r"[\r\n\x0b\x0c\x85\u2028\u2029]+", " ", files.visible(str(value)))
    text = LINKS.sub(lambda match: f"{match.group()}\N{WORD JOINER}", text)
    return Markup(MARKUP.sub(lambda match: f"&#{ord(match.group())};", text))  # noqa: S704  (escaped just here)


def _code(text: str) -> Markup:
    """A path or command of ours as a code span, in which character references would not be decoded."""
    return Markup("`" + re.sub(r"[`|\s]+", " ", text) + "`")  # noqa: S704  (nothing in a code span is markup)


@cache
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
    environment.filters.update({figure.__name__: figure for figure in FIGURES}, code=_code)
    environment.globals.update({figure.__name__: figure for figure in FIGURES})
    # Keep the order of keys, and write non-ASCII text as it is.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":"), "allow_nan": False}
    return environment
