"""What a frozen base says of each training and validation row: computed once, for every experiment that trains a head.

    python stages/features.py --train data/splits/train.jsonl --validation data/splits/validation.jsonl \
        --base models/base --features data/features.safetensors --cost metrics/cost/features.json

A stage apart from train, because that one runs again with every learning rate. Only adapt.method head leaves the base
as it is: with any other the file holds nothing, and torch is not imported.
"""

from argparse import Namespace

from safetensors.numpy import save_file

from tunediff.config.adapt import Adapt
from tunediff.config.model import Model
from tunediff.config.params import read_params
from tunediff.config.prompt import Prompt
from tunediff.config.task import Task
from tunediff.data.cases import read_cases
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing
from tunediff.runtime.stage import PARAMS, arguments


def main() -> None:
    args = arguments(__doc__, reads=("train", "validation", "base"), writes=("features", "cost"))
    params = read_params(PARAMS)
    with measured(args.cost):
        if params.adapt.method == "head":
            compute(args, params.task, params.model, params.prompt, params.adapt)
        else:
            with replacing(args.features) as part:
                save_file({}, part)
            print(f"features: none, for adapt.method {params.adapt.method} does not leave the base as it is")


def compute(args: Namespace, task: Task, model: Model, prompt: Prompt, adapt: Adapt) -> None:
    """Run the base on both splits and write what the head reads of it."""
    from tunediff.models.adapt import choose_trained
    from tunediff.models.load import load_base
    from tunediff.training.features import is_frozen, read_rows, write_features
    from tunediff.training.finetune import training_rows

    cases = [case for path in (args.train, args.validation) for case in read_cases(path, task.inputs, task.labels)]
    loaded = load_base(args.base, model, task.labels)
    choose_trained(loaded.model, adapt.method)
    rows = [row for row, _ in training_rows(loaded, cases, task, prompt, model.head)]
    features = read_rows(loaded, rows, model.head) if is_frozen(loaded.model, model.head) else {}
    write_features(args.features, features)
    print(f"features: of {len(features):,} different rows among {len(rows):,}, {args.features.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
