"""Run the pipeline (`dvc repro`), then say per stage whether it ran or came from the cache, and what that saved.

    tunediff repro

`make repro` calls it. It ends with DVC's exit code, or 130 on Ctrl-C and 143 on SIGTERM. What it says can be had again:
`tunediff cost`. What a killed run left that would stop this one is cleared away first. After Ctrl-C or a kill the same
command goes on: stages that ended come from the cache, training goes on from its last save, an evaluation behind its
last batch.
"""

import argparse
import sys

from tunediff.commands.cost import cost_summary
from tunediff.commands.leftovers import clear_leftovers
from tunediff.commands.runs import begin, end, read_stages, run_program
from tunediff.runtime.cost import RUN
from tunediff.runtime.stage import PARAMS
from tunediff.tasks.experiment import read_experiment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`tunediff repro` takes none."""


def main(_: argparse.Namespace) -> None:
    """Run `tunediff repro`.

    Raises:
        TunediffError: there is no pipeline here, params.yaml is at fault, or another run is at work; nothing is run.
    """
    stages = read_stages()
    read_experiment(PARAMS)  # DVC removes what a stage wrote before the stage can find a fault
    folder = begin()
    for line in clear_leftovers():
        print(line, file=sys.stderr)
    code, stop = run_program([sys.executable, "-m", "dvc", "repro"], {RUN: str(folder)})
    end(folder, stages, code)
    print()
    print(cost_summary(stages))
    sys.stdout.flush()
    if stop:
        raise stop
    sys.exit(code)
