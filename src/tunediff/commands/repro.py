"""Run the pipeline (`dvc repro`), then say per stage whether it ran or came from the cache, and what that saved.

    tunediff repro

`make repro` calls it. It ends with DVC's exit code. What it says can be had again: `tunediff cost`. What a killed run
left that would stop this one is cleared away first. After Ctrl-C or a kill the same command goes on: stages that ended
come from the cache, training goes on from its last save, an evaluation behind its last batch.
"""

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tunediff.commands.cost import said
from tunediff.commands.leftovers import clear_leftovers
from tunediff.commands.runs import begin, end, read_stages
from tunediff.cost import RUN
from tunediff.params import read_params
from tunediff.stage import PARAMS

# Seconds that DVC and its stage have to end by themselves.
GRACE = 5.0


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
    for line in clear_leftovers():
        print(line, file=sys.stderr)
    process = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], env=environment)
    stopped = wait(process)
    end(folder, stages, process.returncode)
    print()
    print(said(stages))
    sys.stdout.flush()
    if stopped:
        print("tunediff: stopped; the same command goes on from the last whole save", file=sys.stderr)
    sys.exit(process.returncode if process.returncode >= 0 else 128 - process.returncode)


def wait(process: "subprocess.Popen[bytes]") -> bool:
    """Wait for the end of DVC; whether Ctrl-C asked for it.

    On a terminal Ctrl-C reaches DVC and its stage too, and they end. A signal to this process alone is passed on.
    """
    stopped = passed_on = False
    while process.poll() is None:
        try:
            process.wait(GRACE if stopped and not passed_on else None)
        except KeyboardInterrupt:
            stopped = True
        except subprocess.TimeoutExpired:
            passed_on = True
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(process.pid)
                for one in [root, *root.children(recursive=True)]:
                    one.send_signal(signal.SIGINT)
    return stopped
