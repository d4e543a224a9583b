"""Run the pipeline (`dvc repro`), then show for each stage whether it ran or came from the cache, and the savings.

    tunediff repro
    tunediff repro --seeds 5

`make repro` calls it. It exits with DVC's code, or with 130 on Ctrl-C and 143 on SIGTERM. `tunediff cost` shows the
summary again. Leftovers of a killed run that would stop this one are removed first. After Ctrl-C or a kill, run the
same command to resume: finished stages come from the cache, training resumes from its last checkpoint, an evaluation
after its last batch.

With --seeds N it then queues the N - 1 seeds after train.seed as DVC experiments named seedK-HASH, unless they exist
for the same parameters, and runs the queue; data, base model and its answers come from the cache. Finally it writes the
gain of the recipe over its seeds to reports/recipe/, like `tunediff board` for these runs.
"""

import argparse
import sys
from pathlib import Path

from tunediff.commands.board import write_recipe
from tunediff.commands.cost import cost_summary
from tunediff.commands.leftovers import clear_leftovers
from tunediff.commands.revisions import experiments
from tunediff.commands.runs import begin, check_templates, dvc, end, read_stages, run_program
from tunediff.commands.scaffold import refresh
from tunediff.config.params import Params
from tunediff.runtime.cost import RUN
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hashing import content_hash
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment

RECIPE = Path("reports/recipe")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument of `tunediff repro`."""
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="number of seeds, starting at train.seed (1)")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff repro`.

    Raises:
        TunediffError: there is no pipeline here, params.yaml or the argument is invalid, or another run is in progress;
            then nothing is run.
    """
    if args.seeds < 1:
        raise TunediffError(f"--seeds: found {args.seeds}, expected a number of seeds of at least 1")
    command = dvc("repro")
    refresh()
    stages = read_stages()
    # Checked first, because DVC removes a stage's outputs before the stage can check it.
    params = read_experiment(PARAMS).params
    check_templates()
    folder = begin()
    for line in clear_leftovers():
        print(line, file=sys.stderr)
    code, stop = run_program(command, {RUN: str(folder)})
    end(folder, stages, code)
    print()
    print(cost_summary(stages))
    sys.stdout.flush()
    if code == 0 and not stop and args.seeds > 1:
        code, stop = _other_seeds(params, args.seeds)
    if stop:
        raise stop
    sys.exit(code)


def seed_names(params: Params, seeds: int) -> dict[str, int]:
    """Return the further seeds by the names of their experiments, which include a hash of all other parameters."""
    values = params.model_dump(mode="json")
    first = values["train"].pop("seed")
    return {f"seed{seed}-{content_hash(values)[:8]}": seed for seed in range(first + 1, first + seeds)}


def _other_seeds(params: Params, seeds: int) -> tuple[int, KeyboardInterrupt | None]:
    """Queue the missing experiments of the other seeds and run the queue; returns like `run_program`."""
    names = seed_names(params, seeds)
    existing = set(experiments())
    for name, seed in names.items():
        if name in existing:
            print(f"{name}: exists from an earlier run")
            continue
        code, stop = run_program(dvc("exp", "run", "--queue", "-S", f"train.seed={seed}", "-n", name), {})
        if code or stop:
            return code, stop
    code, stop = run_program(dvc("exp", "run", "--run-all"), {}) if set(names) - existing else (0, None)
    made = set(experiments()) if not stop else set()
    if not stop and (missing := [name for name in names if name not in made]):
        print(f"tunediff: found no result for {', '.join(missing)} (see dvc queue logs NAME)", file=sys.stderr)
        return code or 1, None
    if not stop:
        print(f"Gain of the recipe: tunediff board . {' '.join(names)}")
        try:
            write_recipe([".", *names], RECIPE)
        except TunediffError as error:  # the runs and their reports exist
            print(f"tunediff: cannot report on the recipe: {error}", file=sys.stderr)
    return code, stop
