"""Get the raw answers of the tuned model to all test sets, with the same prompts as the base model.

    python stages/predict_tuned.py --settings data/settings/predict_tuned.json --test-sets data/test_sets \
        --validation data/splits/validation.jsonl --base models/base --tuned models/tuned --answers data/answers/tuned \
        --environment metrics/environment/predict_tuned.json --cost metrics/cost/predict_tuned.json

The validation split is also answered if a threshold is tuned on it.
"""

from tunediff.config.settings import read_machine, read_settings
from tunediff.engines import open_engines
from tunediff.engines.case_sets import answer_folder, ask_sets, read_sets, write_sets
from tunediff.engines.journal import finished_batches
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import write_json
from tunediff.runtime.processes import all_gather, is_main_process, launched
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import arguments


def main() -> None:
    args = arguments(
        __doc__,
        reads=("settings", "test_sets", "validation", "base", "tuned"),
        writes=("answers", "environment", "cost"),
    )
    settings, machine = read_settings(args.settings, PredictSettings), read_machine(args.settings)
    reads = args.test_sets, args.validation, args.base, args.tuned
    if launched(machine.num_processes, args.settings, *reads):
        return
    scratch = scratch_folder("predict_tuned", settings.model_dump(), *reads)
    with measured(args.cost, scratch, all_gather) as note_cost, finished_batches(scratch, note_cost):
        cases = read_sets(settings, args.test_sets, args.validation)
        engine = open_engines(settings.on(machine), args.base, machine.workers).tuned(args.tuned)
        with answer_folder(args.answers) as folder:
            answered = ask_sets(engine, cases, settings, "predict_tuned")
            counts = write_sets(folder, answered, settings, "tuned", engine.environment)
        if is_main_process():
            write_json(args.environment, {**engine.environment(), "model": engine.inspected()})
            print("\n".join(f"tuned: {n:,} cases of {name} answered" for name, n in counts.items()))
            mark_done(scratch)


if __name__ == "__main__":
    run(main)
