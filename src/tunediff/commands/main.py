"""The program `tunediff`.

    tunediff init tickets --data tickets.csv --text subject,body --label team
    tunediff compare BASE TUNED --data test.csv --input text --label label
    tunediff diff before.jsonl after.jsonl --out findings
    tunediff gate --non-inferiority-margin 0.02
    tunediff board lr1e-4 lr3e-4
    tunediff controls
    tunediff checkpoints
    tunediff perplexity wiki.test.raw
    tunediff chain base.jsonl nf4.jsonl tuned.jsonl
    tunediff repro
    tunediff cost
    tunediff verify
    tunediff launch train --hosts 2 --host 0 --address 10.0.0.1:29500
    tunediff predict premise="A man sleeps." hypothesis="A man is awake."
    tunediff merge --out models/merged
    tunediff score --task squad_v2 --data dev-v2.0.json --predictions predictions.json
    tunediff count-params recipes/phi2-snli-a.yaml
    tunediff publish --repo-id me/my-model
    tunediff export --format lm-eval --out samples
    tunediff log --mlflow

A subcommand is a module of the same name with `add_arguments(parser)` and `main(args)`. Only the requested module is
imported; commands that run a model import torch inside `main`, so that their help starts without it.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import shtab

from tunediff.runtime import errors

COMMANDS = (
    "init",
    "compare",
    "diff",
    "gate",
    "board",
    "controls",
    "checkpoints",
    "perplexity",
    "chain",
    "score",
    "repro",
    "cost",
    "verify",
    "launch",
    "predict",
    "merge",
    "publish",
    "export",
    "log",
    "count-params",
)

# Printed by `tunediff` without arguments, for the commands that are available.
WAYS_IN = {
    "init": "Create a project from a table of labelled texts, then train and evaluate:\n    tunediff init tickets "
    "--data tickets.csv --text subject,body --label team\n    cd tickets && tunediff repro",
    "repro": "In a clone of this repository, fine-tune and evaluate before and after:\n    make repro",
    "diff": "Compare two prediction files from any tool:\n    tunediff diff before.jsonl after.jsonl --out findings",
    "compare": "Bring your own models and data:\n    tunediff compare BASE TUNED --data test.csv",
}


def main() -> None:
    """Run the subcommand named by the arguments; bad input ends with one line and exit code 1."""
    if len(sys.argv) == 1:
        print("What did fine-tuning change, case by case?\n")
        print("\n".join(way for command, way in WAYS_IN.items() if command in COMMANDS))
        print("\nRun tunediff --help to list all commands, tunediff COMMAND --help for the options of one.")
        return
    # All subcommands for help, completion and unknown names.
    requested = [name for name in COMMANDS if name == sys.argv[1]]
    args = parser_of(requested or COMMANDS).parse_args()
    errors.run(partial(module_of(args.command).main, args))


def module_of(command: str) -> Any:
    """Return the module of a subcommand."""
    return import_module(f"tunediff.commands.{command.replace('-', '_')}")


def parser_of(commands: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser for these subcommands."""
    parser = argparse.ArgumentParser(prog="tunediff", description="What did fine-tuning change, case by case.")
    parser.add_argument("--version", action="version", version=f"tunediff {version('tunediff')}")
    if len(commands) > 1:
        shtab.add_argument_to(parser, "--print-completion", help="print a completion script for this shell")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in commands:
        module = module_of(name)
        doc = module.__doc__ or ""
        subparser = subparsers.add_parser(
            name,
            help=doc.split("\n", 1)[0],
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        for action in subparser._actions:
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


if __name__ == "__main__":
    main()
