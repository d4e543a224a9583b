"""Run the pipeline (`dvc repro`), then say per stage whether it ran or came from the cache, and what that saved.

    tunediff repro

`make repro` calls it. It ends with DVC's exit code. What it says can be had again: `tunediff cost`.
"""

import argparse
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tunediff.commands.cost import said
from tunediff.commands.runs import begin, end, read_stages
from tunediff.cost import RUN
from tunediff.params import read_params
from tunediff.stage import PARAMS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`tunediff repro` takes none."""


def main(_: argparse.Namespace) -> None:
    """Run `tunediff repro`.

    Raises:
        TunediffError: there is no pipeline here, params.yaml is at fault, or another run is at work; nothing is run.
    """
    stages = read_stages()
    read_params(PARAMS)  # DVC removes what a stage wrote before the stage can find a fault
    folder = begin()
    # A stage's `python` is the one that runs this, also where nobody activated its environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {RUN: str(folder), "PATH": path}
    process = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], env=environment)
    while process.poll() is None:
        # Ctrl-C reaches DVC too, which ends its stage and then itself.
        with suppress(KeyboardInterrupt):
            process.wait()
    end(folder, stages, process.returncode)
    print()
    print(said(stages))
    sys.stdout.flush()
    sys.exit(process.returncode if process.returncode >= 0 else 128 - process.returncode)
