"""Compare two prediction files case by case, without the pipeline.

    tunediff diff before.jsonl after.jsonl --out findings
    tunediff diff before.csv after.csv --id-field id --label-field gold --prediction-field answer --out findings
    tunediff diff samples_anli_r1_before.jsonl samples_anli_r1_after.jsonl --out findings
    tunediff diff base.json tuned.json --data dev-v2.0.json --out findings

Reads JSON lines, CSV and Parquet, samples of lm-evaluation-harness (--log_samples), and SQuAD predictions with
their data set. Writes metrics.json, cases.jsonl, checks.json, report.md and report.html into the folder --out; all or
none.

With --max-negative-flip-rate X it is a gate for CI: exit code 3 when the share of cases that broke may exceed X, that
is when the upper end of its exact interval does. Bad input: one line and exit code 1.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from tunediff.compare.checks import Run
from tunediff.compare.comparison import CONFIDENCE, compare_files
from tunediff.compare.diff_summary import file_summary, scores_taken_for
from tunediff.compare.evidence import Evidence, gather
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.report.diff_page import FILES, diff_pages
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import replacing, write_json, write_jsonl, write_text

GATE_CLOSED = 3
WRITTEN = ("metrics.json", "cases.jsonl", "checks.json", "report.md", "report.html")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff diff`."""
    parser.add_argument("before", type=Path, help="predictions of the base model")
    parser.add_argument("after", type=Path, help="predictions of the tuned model, on the same cases")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--label-field", default=Fields.label, help="column of the gold label (label)")
    parser.add_argument("--prediction-field", default=Fields.prediction, help="column of the answer (prediction)")
    parser.add_argument("--scores-field", help="column with a number a label: a list, or an object {label: number}")
    parser.add_argument("--input-fields", help="columns of the inputs, with commas between them")
    parser.add_argument("--id-field", help="column that tells one case from another (case_id, else the inputs)")
    parser.add_argument("--cluster-field", help="column of what several cases may share, such as the premise")
    parser.add_argument("--data", type=Path, help="the data set of SQuAD predictions")
    parser.add_argument("--metric", help="metric of lm-evaluation-harness samples (the first one)")
    parser.add_argument("--filter", help="filter of lm-evaluation-harness samples, where there are several")
    parser.add_argument("--confidence", type=float, default=CONFIDENCE, help=f"of every interval ({CONFIDENCE})")
    parser.add_argument(
        "--max-negative-flip-rate", type=float, metavar="X", help="exit code 3 when more than this may have broken"
    )


def main(args: argparse.Namespace) -> None:
    """Run `tunediff diff`.

    Raises:
        TunediffError: an argument or a file is at fault; then nothing is written.
    """
    limit = args.max_negative_flip_rate
    if limit is not None and not 0 <= limit <= 1:
        raise TunediffError(f"--max-negative-flip-rate: found {limit}, expected a share in 0..1")
    if args.out.exists() and not args.out.is_dir():
        raise TunediffError(f"{args.out}: is no folder, expected one to write to (--out)")
    fields = Fields(
        label=args.label_field,
        prediction=args.prediction_field,
        scores=args.scores_field,
        inputs=tuple(name for name in (args.input_fields or "").split(",") if name),
        case_id=args.id_field,
        cluster=args.cluster_field,
    )
    before, after = (
        read_predictions(path, fields, args.data, args.metric, args.filter) for path in (args.before, args.after)
    )
    names = str(args.before), str(args.after)
    # Beside what is written: where the system has its temporary files may be in memory.
    folder = next(one for one in (args.out, *args.out.absolute().parents) if one.is_dir())
    found = gather(compare_files(before, after, names, args.confidence, folder), Run(models=FILES))
    write(found, args.out, names)
    print(file_summary(found))
    print(f"  written to {args.out}: {', '.join(WRITTEN)}")
    high = found.metrics["negative_flip_rate_high"]
    if limit is not None and high > limit:
        print(
            f"tunediff: negative-flip rate: up to {high:.4g} (upper end of the exact interval of "
            f"{int(found.metrics['broken']):,} in {int(found.metrics['n']):,}), more than the {limit:.4g} allowed",
            file=sys.stderr,
        )
        sys.exit(GATE_CLOSED)


def write(found: Evidence, folder: Path, names: tuple[str, str]) -> None:
    """Write the five files; none takes its place before all of them are whole."""
    with ExitStack() as stack:
        metrics, cases, checks, markdown, html = (stack.enter_context(replacing(folder / name)) for name in WRITTEN)
        write_json(metrics, {**found.metrics, **scores_taken_for(found.comparison)})
        write_jsonl(cases, found.records)
        write_json(checks, [check._asdict() for check in found.checks])
        pages = diff_pages(found, names)
        write_text(markdown, pages.markdown)
        write_text(html, pages.html)
