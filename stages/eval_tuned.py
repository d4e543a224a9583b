"""Grade the answers of the tuned model and compute its metrics.

python stages/eval_tuned.py --settings data/settings/eval_tuned.json --answers data/answers/tuned \
    --test-sets data/test_sets --validation data/splits/validation.jsonl --predictions data/predictions/tuned \
    --metrics metrics/eval_tuned.json --cost metrics/cost/eval_tuned.json

The threshold above which a question counts as unanswerable is tuned on the validation split.
"""

from tunediff.config.settings import read_settings
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import write_json
from tunediff.runtime.stage import arguments
from tunediff.tasks.evaluation import EvalSettings, evaluate


def main() -> None:
    reads = ("settings", "answers", "test_sets", "validation")
    args = arguments(__doc__, reads, writes=("predictions", "metrics", "cost"))
    settings = read_settings(args.settings, EvalSettings)
    with measured(args.cost):
        metrics, lines = evaluate("tuned", settings, args.answers, args.test_sets, args.validation, args.predictions)
        write_json(args.metrics, metrics)
        print(*lines, sep="\n")


if __name__ == "__main__":
    run(main)
