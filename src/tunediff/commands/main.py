"""The program `tunediff`.

    tunediff compare BASE TUNED --data test.csv --input text --label label
    tunediff diff before.jsonl after.jsonl --out findings
    tunediff repro
    tunediff cost
    tunediff verify
    tunediff launch train --hosts 2 --host 0 --address 10.0.0.1:29500
    tunediff predict premise="A man sleeps." hypothesis="A man is awake."
    tunediff merge --out models/merged
    tunediff score --task squad_v2 --data dev-v2.0.json --predictions predictions.json
    tunediff count-params recipes/phi2-snli-a.yaml
    tunediff publish --repo-id me/my-model

A subcommand is a module with `add_arguments(parser)` and `main(args)`. One that answers with a model imports the model
wing inside `main`, so that `tunediff --help` starts without torch.
"""

import argparse
from functools import partial

from tunediff.commands import compare, cost, count_params, diff, launch, merge, predict, publish, repro, score, verify
from tunediff.runtime import errors

COMMANDS = {
    "compare": compare,
    "diff": diff,
    "score": score,
    "repro": repro,
    "cost": cost,
    "verify": verify,
    "launch": launch,
    "predict": predict,
    "merge": merge,
    "publish": publish,
    "count-params": count_params,
}


def main() -> None:
    """Run the subcommand that the arguments name; bad input ends in one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="tunediff", description="What did fine-tuning change, case by case.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        doc = module.__doc__ or ""
        subparser = subparsers.add_parser(
            name,
            help=doc.split("\n", 1)[0],
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
    args = parser.parse_args()
    errors.run(partial(COMMANDS[args.command].main, args))


if __name__ == "__main__":
    main()
