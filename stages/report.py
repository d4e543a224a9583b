"""Stage `report`: everything the other stages found, as one HTML file and the same in Markdown.

python stages/report.py --prepare metrics/prepare.json --count-params metrics/count_params.json \
    --parameters data/parameters.csv --eval-base metrics/eval_base.json --eval-tuned metrics/eval_tuned.json \
    --train metrics/train.json --train-log data/train_log.csv --base-model metrics/base_model.json \
    --pretrain-log data/pretrain_log.csv --diff-cases metrics/diff_cases.json \
    --baselines metrics/baselines.json --calibration metrics/calibration.json --plots data/plots \
    --cases data/cases.jsonl --costs metrics/cost \
    --html reports/report.html --markdown reports/report.md --cost metrics/cost/report.json

`--costs` is the folder that holds the cost of each stage before this one, `--plots` that with the tables of the
evidence: what was not asked for is not in it, and not in the report.
"""

from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import write_text
from tunediff.params import read_params
from tunediff.report.page import html_page, markdown_page, page_contents, plain_verdict
from tunediff.report.results import SOURCES, read_results
from tunediff.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=SOURCES, writes=("html", "markdown", "cost"))
    params = read_params(PARAMS)
    with measured(args.cost):
        paths = {name: getattr(args, name) for name in SOURCES}
        task = params.task
        results = read_results(paths, task.labels, task.inputs, task.source_input)
        contents = page_contents(results, task, params.report, params.diff.confidence, params.cost)
        write_text(args.html, html_page(contents))
        write_text(args.markdown, markdown_page(contents))
        print(plain_verdict(contents["found"]))
        print(f"Report: {args.html} and {args.markdown}")


if __name__ == "__main__":
    run(main)
