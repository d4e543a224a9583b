"""Run one stage on several hosts that share the project folder: the same command on each, except for the host's number.

    tunediff launch train --hosts 2 --host 0 --address 10.0.0.1:29500     # on the host that has this address
    tunediff launch train --hosts 2 --host 1 --address 10.0.0.1:29500     # on the other one

Host 0 runs `dvc repro --single-item` for the stage and writes its outputs; the other hosts run the stage's command and
join. Each runs its share of `num_processes` (section train or evaluate). A host waits ten minutes for the others.
"""

import argparse
import sys

from tunediff.commands.runs import PIPELINE, downstream, dvc, outdated, pipeline_stages, read_stages, run_program
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.runtime.processes import ADDRESS, HOST, HOSTS

STAGES = ("train", "predict_base", "predict_tuned")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff launch`."""
    parser.add_argument("stage", choices=STAGES, help="stage to run")
    parser.add_argument("--hosts", type=int, required=True, help="number of hosts")
    parser.add_argument("--host", type=int, required=True, help="number of this host, from 0")
    parser.add_argument("--address", required=True, help="HOST:PORT, an address of host 0 and a free port there")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff launch`, which exits with the code of the stage.

    Raises:
        TunediffError: there is no such host, or, on host 0, the inputs of the stage are or may be out of date.
    """
    if not 0 <= args.host < args.hosts:
        raise TunediffError(
            f"--host: found {args.host}, expected a number from 0 to {args.hosts - 1}, --hosts minus one"
        )
    if args.host == 0:
        _refuse_stale(args.stage)
        command = dvc("repro", "--single-item", args.stage)
    else:
        line = pipeline_stages().get(args.stage, {}).get("cmd")
        if not isinstance(line, str):
            raise TunediffError(f"{PIPELINE}: {args.stage}: cmd: found {shown(line)}, expected a command")
        command = ["/bin/sh", "-c", line]
    hosts = {HOSTS: str(args.hosts), HOST: str(args.host), ADDRESS: args.address}
    quiet = {"TORCH_CPP_LOG_LEVEL": "ERROR"}  # torch warns about every address without a host name
    code, stop = run_program(command, quiet | hosts)
    if stop:
        raise stop
    sys.exit(code)


def _refuse_stale(stage: str) -> None:
    """Check that the inputs of the stage are up to date, because the other hosts read them right away."""
    stages = read_stages()
    stale = outdated(stages)
    before = [one.name for one in stages if one.name in stale - {stage} and stage in downstream(stages, [one.name])]
    if before:
        raise TunediffError(
            f"{stage}: depends on {before[0]}, which is not up to date; bring it up to date first (dvc "
            f"repro {before[-1]})"
        )
