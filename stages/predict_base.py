"""Get the raw answers of the base model to all test sets.

    python stages/predict_base.py --settings data/settings/predict_base.json --test-sets data/test_sets \
        --validation data/splits/validation.jsonl --base models/base --answers data/answers/base \
        --environment metrics/environment/predict_base.json --cost metrics/cost/predict_base.json

Few-shot examples are drawn from the validation split, which is also answered if a threshold is tuned on it.
"""

from tunediff.config.settings import read_machine, read_settings
from tunediff.engines import open_engines
from tunediff.engines.case_sets import add_answers, answer_folder, ask_sets, read_sets, write_sets
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
        reads=("settings", "test_sets", "validation", "base"),
        writes=("answers", "environment", "cost"),
    )
    settings, machine = read_settings(args.settings, PredictSettings), read_machine(args.settings)
    reads = args.test_sets, args.validation, args.base
    if launched(machine.num_processes, args.settings, *reads):
        return
    scratch = scratch_folder("predict_base", settings.model_dump(), *reads)
    with measured(args.cost, scratch, all_gather) as note_cost, finished_batches(scratch, note_cost):
        cases = read_sets(settings, args.test_sets, args.validation)
        engine = open_engines(settings.on(machine), args.base, machine.workers)
        inspected = engine.inspected()
        with answer_folder(args.answers) as folder:
            answered = ask_sets(engine, cases, settings, "predict_base")
            counts = write_sets(folder, answered, settings, "base", engine.environment)
            environment = engine.environment()
            if settings.evaluate.noise_seed is not None:
                del engine, answered  # two models may not fit into memory
                reseeded = settings.with_head(settings.evaluate.noise_seed)
                engine = open_engines(reseeded, args.base, machine.workers)
                add_answers(folder, ask_sets(engine, cases, reseeded, "predict_base, another head"), "seed")
        if is_main_process():
            write_json(args.environment, {**environment, "model": inspected})
            print("\n".join(f"base: {n:,} cases of {name} answered" for name, n in counts.items()))
            mark_done(scratch)


if __name__ == "__main__":
    run(main)
