"""Measure the base model on the test split, before any fine-tuning.

    python stages/eval_base.py --test data/splits/test.jsonl --base models/base \
        --predictions data/predictions/base.parquet --metrics metrics/eval_base.json --cost metrics/cost/eval_base.json
"""

from tunediff.cases import read_cases, write_predictions
from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import write_json
from tunediff.metrics.classification import score
from tunediff.metrics.summary import summary
from tunediff.models.load import load_base
from tunediff.params import read_params
from tunediff.predict.answers import predict_cases
from tunediff.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=("test", "base"), writes=("predictions", "metrics", "cost"))
    params = read_params(PARAMS)
    task = params.task
    with measured(args.cost):
        cases = read_cases(args.test, task.inputs, task.labels)
        loaded = load_base(args.base, params.model, task.labels)
        frame = predict_cases(loaded, cases, task, params.prompt, params.evaluate, "eval_base")
        metrics = score(task.labels, frame["label"], frame["prediction"], frame["log_probs"])
        write_predictions(args.predictions, frame, {"labels": task.labels, "model": "base"})
        write_json(args.metrics, metrics)
        print(summary("base", task.labels, frame, metrics))


if __name__ == "__main__":
    run(main)
