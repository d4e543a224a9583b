"""Compute the hidden states of a frozen base for all training and validation rows, for experiments that train a head.

    python stages/features.py --settings data/settings/features.json --train data/splits/train.jsonl \
        --validation data/splits/validation.jsonl --base models/base \
        --features data/features.safetensors --cost metrics/cost/features.json

It is a separate stage because train runs again with every learning rate. Unless adapt.method is head, the base is
changed by training: the file is then empty, and torch is not imported.
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
            with replacing(args.features) as file:
                save_file({}, file)
            print("features: skipped, because only adapt.method head leaves the base unchanged")


def compute(args: Namespace, head: HeadInputs) -> None:
    """Run the base on both splits and write the hidden states that the head reads."""
    from tunediff.models.adapt import choose_trained
    from tunediff.models.load import load_base
    from tunediff.training.features import compute_features, is_frozen, write_features
    from tunediff.training.targets import training_rows

    cases = [case for path in (args.train, args.validation) for case in read_cases(path, head.inputs, head.labels)]
    loaded = load_base(args.base, head.model, head.labels)
    choose_trained(loaded.model, head.adapt.method)
    kind = head.model.head
    rows = [row for row, _ in training_rows(loaded, cases, head.labels, head.prompt, kind)]
    features = compute_features(loaded, rows, kind) if is_frozen(loaded.model, kind) else {}
    write_features(args.features, features)
    print(f"features: {len(features):,} distinct rows of {len(rows):,}, {args.features.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(main)
