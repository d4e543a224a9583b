"""What a frozen base says of each training and validation row: computed once, for every experiment that trains a head.

    python stages/features.py --settings data/settings/features.json --train data/splits/train.jsonl \
        --validation data/splits/validation.jsonl --base models/base \
        --features data/features.safetensors --cost metrics/cost/features.json

A stage apart from train, because that one runs again with every learning rate. Only adapt.method head leaves the base
as it is: with any other the file holds nothing, and torch is not imported.
"""

from argparse import Namespace

from safetensors.numpy import save_file

from tunediff.config.settings import FeaturesSettings, HeadInputs, read_settings
from tunediff.data.cases import read_cases
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing
from tunediff.runtime.stage import arguments


def main() -> None:
    args = arguments(__doc__, reads=("settings", "train", "validation", "base"), writes=("features", "cost"))
    head = read_settings(args.settings, FeaturesSettings).head
    with measured(args.cost):
        if head is not None:
            compute(args, head)
        else:
            with replacing(args.features) as part:
                save_file({}, part)
            print("features: skipped, because only adapt.method head leaves the base unchanged")


def compute(args: Namespace, head: HeadInputs) -> None:
    """Run the base on both splits and write what the head reads of it."""
    from tunediff.models.adapt import choose_trained
    from tunediff.models.load import load_base
    from tunediff.training.features import is_frozen, read_rows, write_features
    from tunediff.training.targets import training_rows

    cases = [case for path in (args.train, args.validation) for case in read_cases(path, head.inputs, head.labels)]
    loaded = load_base(args.base, head.model, head.labels)
    choose_trained(loaded.model, head.adapt.method)
    kind = head.model.head
    rows = [row for row, _ in training_rows(loaded, cases, head.labels, head.prompt, kind)]
    features = read_rows(loaded, rows, kind) if is_frozen(loaded.model, kind) else {}
    write_features(args.features, features)
    print(f"features: of {len(features):,} different rows among {len(rows):,}, {args.features.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
