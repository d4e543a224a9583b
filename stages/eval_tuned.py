"""Measure the fine-tuned model on the same test split, with the same prompts.

    python stages/eval_tuned.py --test data/splits/test.jsonl --validation data/splits/validation.jsonl \
        --base models/base --tuned models/tuned --predictions data/predictions/tuned.parquet \
        --metrics metrics/eval_tuned.json --environment metrics/environment/eval_tuned.json \
        --cost metrics/cost/eval_tuned.json

The validation split is read where a question may have no answer: it gives the threshold above which an answer is taken
for none.
"""

from dataclasses import replace

from tunediff.config.params import read_params
from tunediff.data.cases import read_cases, write_predictions
from tunediff.engines.asking import predict_cases
from tunediff.engines.journal import finished_batches
from tunediff.engines.other_settings import other_settings
from tunediff.metrics.eval_summary import summary
from tunediff.metrics.named import named_scores
from tunediff.metrics.scores import has_threshold, score
from tunediff.models.adapt import load_tuned
from tunediff.models.environment import environment
from tunediff.models.load import load_base
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import write_json
from tunediff.runtime.processes import first, gathered, launched
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import PARAMS, arguments


def main() -> None:
    reads, writes = ("test", "validation", "base", "tuned"), ("predictions", "metrics", "environment", "cost")
    args = arguments(__doc__, reads, writes)
    params = read_params(PARAMS)
    task = params.task
    if launched(params.evaluate.num_processes, args.test, args.validation, args.base, args.tuned):
        return
    settings = [section.model_dump() for section in (task, params.prompt, params.model, params.evaluate, params.adapt)]
    scratch = scratch_folder("eval_tuned", settings, args.test, args.validation, args.base, args.tuned)
    with measured(args.cost, scratch, gathered) as note_cost, finished_batches(scratch, note_cost):
        cases = read_cases(args.test, task.inputs, task.labels)
        loaded = load_base(args.base, params.model, task.labels)
        loaded = replace(loaded, model=load_tuned(loaded.model, params.adapt, args.tuned))
        where = environment(loaded.model)
        asked = task, params.prompt, params.evaluate, "eval_tuned"
        frame = predict_cases(loaded, cases, *asked)
        frame = frame.assign(**other_settings(frame, loaded, cases, *asked))
        validation = None
        if has_threshold(task, params.model):
            held_out = read_cases(args.validation, task.inputs, task.labels)
            validation = predict_cases(loaded, held_out, *asked)
        if not first():
            return
        metrics = score(task, frame, validation) | named_scores(params.evaluate.metrics, task, frame)
        write_predictions(args.predictions, frame, {"labels": task.labels, "model": "tuned", "environment": where})
        write_json(args.metrics, metrics)
        write_json(args.environment, where)
        print(summary("tuned", task, frame, metrics))
        mark_done(scratch)


if __name__ == "__main__":
    run(main)
