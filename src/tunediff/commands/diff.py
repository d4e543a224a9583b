"""Compare two prediction files case by case, without the pipeline.

    tunediff diff before.jsonl after.jsonl --out findings
    tunediff diff before.csv after.csv --id-field id --label-field gold --prediction-field answer --out findings
    tunediff diff both.csv --before-field pred_before --after-field pred_after --out findings
    tunediff diff before.csv after.csv --correct-field score --threshold 0.5 --out findings
    tunediff diff samples_anli_r1_before.jsonl samples_anli_r1_after.jsonl --out findings
    tunediff diff base.json tuned.json --data dev-v2.0.json --out findings

Reads tables (CSV, TSV, JSON lines, JSON arrays, Parquet), samples of lm-evaluation-harness (--log_samples), logs of
inspect_ai (.json, .eval), details of lighteval, results of promptfoo, records of OpenAI's evals, instances of HELM, and
SQuAD predictions with their data set. The interpretation of each file is printed. One file may have the answers of both
models. Writes metrics.json, cases.jsonl, checks.json, report.md and report.html to the folder --out, all or none.

With --max-negative-flip-rate X (at most the share X of all cases breaks) or --non-inferiority-margin M (the difference
is above -M, over all cases and on each --slice) it is a gate for CI: exit code 0 if the whole interval keeps the
promise, 3 if the whole interval breaks it, and 4 if it is inconclusive; then the number of cases that would be enough
is printed. metrics.json has the verdict. --sequential checks after every case, in the order of the first file, and
stops at the first conclusive look; its default margin is 0. Bad input ends with one line and exit code 1.
"""

import argparse
import math
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tunediff.commands.gate import add_promises, end_with, of_labels, promises
from tunediff.compare.comparison import CONFIDENCE, Comparison, compare_files
from tunediff.compare.diff_summary import file_summary, score_interpretations
from tunediff.compare.effects.transitions import changes
from tunediff.compare.evidence import Evidence, gather
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import GOLD, Fields
from tunediff.compare.raised import Run
from tunediff.compare.records import case_lines
from tunediff.compare.verdict import Judged, judge, verdict_metrics
from tunediff.report.diff_page import FILES, diff_pages
from tunediff.runtime.beside import beside
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json, write_jsonl, write_text

# The columns of both models' answers in cases.jsonl and in files of `tunediff predict --out`.
BOTH = {"before": "base_prediction", "after": "tuned_prediction"}
# Size of each file, in bytes, from which on reading them in parallel is faster.
LARGE = 2**24
# Share of the cases that another process writes while this one gathers the effects and writes the pages.
OTHER_PROCESS = 0.7
WRITTEN = ("metrics.json", "cases.jsonl", "checks.json", "report.md", "report.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff diff`."""
    parser.add_argument("before", type=Path, help="predictions of the base model")
    parser.add_argument(
        "after",
        type=Path,
        nargs="?",
        help="predictions of the tuned model on the same cases; omit if the first file has both",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    add_fields(parser)
    parser.add_argument(
        "--slice-fields",
        help="tables: comma-separated columns whose values are slices; numbers are split into quarters",
    )
    for who, column in BOTH.items():
        parser.add_argument(
            f"--{who}-field", help=f"one file: column of the answers {who}, or the model's name ({column})"
        )
    parser.add_argument(
        "--no-answer",
        type=Path,
        nargs=2,
        metavar="FILE",
        help="SQuAD: na_prob.json or null_odds.json of both models",
    )
    add_promises(parser)


def add_fields(parser: argparse.ArgumentParser, data: str = "the data set of SQuAD predictions") -> None:
    """Add the options for comparing prediction files; `data` is the help text of --data."""
    parser.add_argument(
        "--label-field",
        default=Fields.label,
        help=f"column of the gold label (label, or the only one of {', '.join(GOLD)})",
    )
    parser.add_argument("--prediction-field", default=Fields.prediction, help="column of the answer (prediction)")
    parser.add_argument("--correct-field", help="column with the outcome: 1, 0, a score, pass, ...")
    parser.add_argument(
        "--threshold", type=float, help="the lowest score that counts as right, if scores are not 0 or 1"
    )
    parser.add_argument("--scores-field", help="column with one number per label: a list or an object {label: number}")
    parser.add_argument("--input-fields", help="comma-separated columns of the inputs")
    parser.add_argument("--id-field", help="column that identifies a case (case_id, else the inputs)")
    parser.add_argument("--cluster-field", help="column that groups related cases, such as the premise")
    parser.add_argument("--data", type=Path, help=data)
    parser.add_argument("--metric", help="other tools: metric or scorer that decides what is right (the first one)")
    parser.add_argument("--filter", help="other tools: filter or model to read, if the file has several")
    parser.add_argument(
        "--confidence", type=float, default=CONFIDENCE, help=f"confidence level of all intervals ({CONFIDENCE})"
    )


def comma_names(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated option; empty if it is not given."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def fields_of(args: argparse.Namespace, prediction: str | None = None, correct: str | None = None) -> Fields:
    """Return the columns given by the options of `add_fields`; `prediction` and `correct` override two of them."""
    return Fields(
        label=args.label_field,
        prediction=prediction or args.prediction_field,
        scores=args.scores_field,
        inputs=comma_names(args.input_fields),
        case_id=args.id_field,
        cluster=args.cluster_field,
        slices=comma_names(getattr(args, "slice_fields", None)),
        correct=correct or args.correct_field,
        by_row=prediction is not None,
    )


def main(args: argparse.Namespace) -> None:
    """Run `tunediff diff`.

    Raises:
        TunediffError: an argument or a file is invalid; then nothing is written.
    """
    wanted = promises(args)
    if args.out.exists() and not args.out.is_dir():
        raise TunediffError(f"{args.out}: is not a folder, expected one to write to (--out)")
    one_file = args.after is None
    paths = args.before, args.before if one_file else args.after
    chosen = [_chosen(args, at, one_file) for at in range(2)]
    before, after = (
        read_predictions(path, fields, args.data, args.metric, part, args.threshold, no_answer)
        for path, (fields, part, no_answer) in zip(paths, chosen, strict=True)
    )
    names = str(args.before), str(paths[1])
    if one_file:
        first, second = (fields.correct or fields.prediction for fields, *_ in chosen)
        names = f"{args.before} ({first})", f"{args.before} ({second})"
    # Near the output, because the system's folder of temporary files may be in memory.
    folder = next(one for one in (args.out, *args.out.absolute().parents) if one.is_dir())
    large = all(path.is_file() and path.stat().st_size > LARGE for path in paths)
    comparison = compare_files(before, after, names, args.confidence, folder, at_once=large)
    if one_file and comparison.pairs and len(set(comparison.pairs.origins)) == 1:
        raise TunediffError(
            f"{args.before}: is {comparison.pairs.origins[0]}: the answers of one model; expected a second file, or "
            "two columns or models as --before-field and --after-field"
        )
    if args.slice_fields and comparison.pairs and not comparison.user_slices:
        origin = comparison.pairs.origins[0]
        raise TunediffError(f"--slice-fields: found with {origin}, expected tables with these columns")
    slices = of_labels(args.slice, comparison.aligned["label"])
    judged = judge(
        wanted, changes(comparison.cells), comparison.clusters, slices, args.confidence, early=args.sequential
    )
    found = gather_and_write(comparison, args.out, names, judged, at_once=large)
    print(file_summary(found))
    print(f"  written to {args.out}: {', '.join(WRITTEN)}")
    end_with(judged, args.confidence)


def _chosen(args: argparse.Namespace, at: int, one_file: bool) -> tuple[Fields, str | None, Path | None]:
    """The columns, filter or model, and no-answer odds of the file before (0) or after (1), from the arguments.

    Raises:
        TunediffError: arguments contradict each other.
    """
    given = args.before_field, args.after_field
    correct = [name.strip() for name in args.correct_field.split(",")] if args.correct_field else [None, None]
    if not one_file and any(given):
        raise TunediffError(
            "--before-field, --after-field: found with two files, expected one file (or --prediction-field)"
        )
    if one_file and args.prediction_field != Fields.prediction:
        raise TunediffError("--prediction-field: found with one file, expected --before-field and --after-field")
    if one_file and args.scores_field:
        raise TunediffError("--scores-field: found with one file, expected two files, each with its scores")
    if args.correct_field and len(correct) != 1 + one_file:
        expected = "two columns, before and after" if one_file else "one column"
        raise TunediffError(f"--correct-field: found {args.correct_field}, expected {expected}")
    prediction = (given[at] or list(BOTH.values())[at]) if one_file else None
    fields = fields_of(args, prediction, correct[at if one_file else 0])
    return fields, given[at] or args.filter, args.no_answer[at] if args.no_answer else None


def gather_and_write(
    comparison: Comparison, folder: Path, names: tuple[str, str], judged: Sequence[Judged], at_once: bool
) -> Evidence:
    """Return all effects, and write the five files, all or none.

    Args:
        comparison: the comparison of two files.
        folder: folder of the five files.
        names: names of the two files.
        judged: verdicts on the promises.
        at_once: write most of cases.jsonl in another process meanwhile, which pays off if it is large.
    """
    assert comparison.pairs is not None
    with ExitStack() as stack:
        metrics, cases, checks, markdown, html = (stack.enter_context(replacing(folder / name)) for name in WRITTEN)
        groups = range(len(comparison.pairs.groups))
        here = groups[math.ceil(OTHER_PROCESS * len(groups)) :]
        write_cases = partial(write_jsonl, cases, case_lines(comparison, groups[: len(groups) - len(here)]))
        written = stack.enter_context(beside(write_cases, str(folder / cases.name), at_once))
        found = gather(comparison, Run(models=FILES))
        write_json(metrics, {**found.metrics, **score_interpretations(comparison), **verdict_metrics(judged)})
        write_json(checks, [check._asdict() for check in found.checks])
        pages = diff_pages(found, names)
        write_text(markdown, pages.markdown)
        write_text(html, pages.html)
        rest = cases.with_name("rest")
        first = 1 + sum(comparison.pairs.before.sizes[: len(groups) - len(here)])
        write_jsonl(rest, case_lines(comparison, here), first)
        written()
        with cases.open("ab") as file, rest.open("rb") as more:
            shutil.copyfileobj(more, file)
    return found
