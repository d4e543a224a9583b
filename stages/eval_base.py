"""Measure the base model on the test split, before any fine-tuning.

    python stages/eval_base.py --test data/splits/test.jsonl --validation data/splits/validation.jsonl \
        --base models/base --predictions data/predictions/base.parquet --metrics metrics/eval_base.json \
        --environment metrics/environment/eval_base.json --cost metrics/cost/eval_base.json

Of the validation split the examples of the few-shot baseline are read; and where a question may have no answer, it
gives the threshold above which an answer is taken for none.
"""

from tunediff.config.params import read_params
from tunediff.data.cases import read_cases, write_predictions
from tunediff.engines.asking import predict_cases
from tunediff.engines.journal import finished_batches
from tunediff.engines.other_settings import answered_again, few_shot_log_probs, other_settings
from tunediff.metrics.eval_summary import summary
from tunediff.metrics.named import named_scores
from tunediff.metrics.scores import has_threshold, score
from tunediff.models.environment import environment
from tunediff.models.load import load_base
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import write_json
from tunediff.runtime.processes import first, gathered, launched
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import PARAMS, arguments


def main() -> None:
    args = arguments(
        __doc__, reads=("test", "validation", "base"), writes=("predictions", "metrics", "environment", "cost")
    )
    params = read_params(PARAMS)
    task = params.task
    if launched(params.evaluate.num_processes, args.test, args.validation, args.base):
        return
    settings = [section.model_dump() for section in (task, params.prompt, params.model, params.evaluate)]
    scratch = scratch_folder("eval_base", settings, args.test, args.validation, args.base)
    with measured(args.cost, scratch, gathered) as note_cost, finished_batches(scratch, note_cost):
        cases = read_cases(args.test, task.inputs, task.labels)
        loaded = load_base(args.base, params.model, task.labels)
        where = environment(loaded.model)
        asked = task, params.prompt, params.evaluate, "eval_base"
        frame = predict_cases(loaded, cases, *asked)
        frame = frame.assign(**other_settings(frame, loaded, cases, *asked))
        if params.evaluate.noise_batch_tokens is not None:
            frame["again_prediction"] = answered_again(loaded, cases, *asked)
        if params.evaluate.few_shot:
            solved = read_cases(args.validation, task.inputs, task.labels)
            frame["few_shot_log_probs"] = few_shot_log_probs(loaded, cases, solved, *asked)
        validation = None
        if has_threshold(task, params.model):
            held_out = read_cases(args.validation, task.inputs, task.labels)
            validation = predict_cases(loaded, held_out, *asked)
        if params.evaluate.noise_seed is not None:
            del loaded  # two models at once may not fit
            reseeded = params.model.model_copy(update={"head_seed": params.evaluate.noise_seed})
            other = load_base(args.base, reseeded, task.labels)
            frame["seed_prediction"] = predict_cases(other, cases, *asked)["prediction"]
        if not first():
            return
        metrics = score(task, frame, validation) | named_scores(params.evaluate.metrics, task, frame)
        write_predictions(args.predictions, frame, {"labels": task.labels, "model": "base", "environment": where})
        write_json(args.metrics, metrics)
        write_json(args.environment, where)
        print(summary("base", task, frame, metrics))
        mark_done(scratch)


if __name__ == "__main__":
    run(main)
