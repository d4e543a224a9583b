"""Write the report as one HTML file and as Markdown, and the model card.

python stages/report.py --settings data/settings/report.json --prepare metrics/prepare.json \
    --count-params metrics/count_params.json --parameters data/parameters.csv \
    --eval-base metrics/eval_base.json --eval-tuned metrics/eval_tuned.json \
    --train metrics/train.json --train-log data/train_log.csv --base-model metrics/base_model.json \
    --pretrain-log data/pretrain_log.csv --diff-cases metrics/diff_cases.json \
    --baselines metrics/baselines.json --calibration metrics/calibration.json --plots data/plots \
    --cases data/cases.jsonl --checks data/plots/checks.json --environments metrics/environment --costs metrics/cost \
    --html reports/report.html --markdown reports/report.md --model-card reports/model_card.md \
    --cost metrics/cost/report.json

`--costs` is the folder with the cost of each earlier stage, `--environments` that with the environment of each stage
that ran a model, `--plots` that with the tables of the evidence.
"""

from tunediff.config.settings import ReportSettings, read_settings
from tunediff.report.model_card import Setup, model_card
from tunediff.report.page import html_page, markdown_page, page_contents, plain_verdict
from tunediff.report.results import SOURCES, read_results
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import write_text
from tunediff.runtime.scratch import clear_done
from tunediff.runtime.stage import arguments
from tunediff.tasks import task_of


def main() -> None:
    args = arguments(__doc__, reads=("settings", *SOURCES), writes=("html", "markdown", "model_card", "cost"))
    settings = read_settings(args.settings, ReportSettings)
    with measured(args.cost):
        paths = {name: getattr(args, name) for name in SOURCES}
        task = task_of(settings.sets["test"])
        results = read_results(paths, task, settings.diff.confidence, settings.cost)
        contents = page_contents(results, settings.report)
        write_text(args.html, html_page(contents))
        write_text(args.markdown, markdown_page(contents))
        setup = Setup(settings.data, settings.model, settings.prompt, settings.evaluate, settings.adapt, settings.tuned)
        write_text(args.model_card, model_card(contents, setup))
        print(plain_verdict(contents["found"]))
        clear_done()
        print(f"Report: {args.html} and {args.markdown}; model card: {args.model_card}")


if __name__ == "__main__":
    run(main)
