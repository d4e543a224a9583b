"""Count the parameters of a recipe by module, before and after, from its layout: no weights, no network.

    tunediff count-params recipes/phi2-snli-a.yaml
    tunediff count-params recipes/phi2-snli-a.yaml --json

The layout is `model.config` of the recipe. Without it, the layout is read from the package or folder that the recipe
names, or from models/base if that has the base model of the hub. For a model trained from scratch, the vocabulary has
the requested size `pretrain.vocab_size`; the actual tokenizer, which the stage count_params uses, may be smaller.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunediff.commands.table import aligned
from tunediff.config.params import Params
from tunediff.models.parameters import ParameterRow, by_module, summary, totals
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json
from tunediff.tasks.experiment import read_experiment

HEADER = (
    *("tensor", "part", "type", "trained", "shape", "tensors"),
    *("base", "with head", "tuned", "stored", "bytes"),
)
WORDS = 4


TRAINED = {True: "yes", False: "no", None: "unknown"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `tunediff count-params`."""
    parser.add_argument("recipe", type=Path, help="a params.yaml, such as recipes/phi2-snli-a.yaml")
    parser.add_argument("--json", action="store_true", help="print the keys of metrics/count_params.json instead")
    parser.add_argument("--base", type=Path, default=Path("models/base"), help="folder of the stage base_model")


def main(args: argparse.Namespace) -> None:
    """Run `tunediff count-params`.

    Raises:
        TunediffError: the recipe is invalid, or its layout is invalid or unknown.
    """
    from tunediff.models.tuned_counts import count_tuned

    params = read_experiment(args.recipe).params
    layout = layout_of(params, args.recipe, args.base)
    rows = count_tuned(layout, params.task.labels, params.model, params.adapt, params.tuned)
    published = params.model.published_parameters
    if args.json:
        print(json.dumps(totals(rows, published), indent=2))
        return
    print(*table(rows), "", f"{args.recipe}: {_named(params)}", *summary(rows, published), sep="\n")
    if _vocabulary_is_requested(params):
        print(f"  vocabulary: the {params.pretrain.vocab_size:,} tokens requested; the tokenizer may have fewer")


def _vocabulary_is_requested(params: Params) -> bool:
    return params.model.source == "scratch" and "vocab_size" not in (params.model.config or {})


def layout_of(params: Params, recipe: Path, base: Path) -> dict[str, Any]:
    """Return the layout of the base model, as in config.json.

    Args:
        params: the recipe.
        recipe: path of the recipe, for error messages.
        base: output folder of the stage base_model, if it has run.

    Raises:
        TunediffError: the recipe has no layout, and its model is not on this machine.
    """
    from tunediff.models.sources import CONFIG, MANIFEST, find_weights, read_layout

    model = params.model
    if model.source == "scratch":
        config, tokenizer = model.config or {}, params.pretrain.tokenizer
        if tokenizer is not None and "vocab_size" not in config:
            raise TunediffError(
                f"{recipe}: model.config.vocab_size: missing, and pretrain.tokenizer names {tokenizer.id}, whose size "
                "is not in the recipe; expected the number of its tokens"
            )
        return {"vocab_size": params.pretrain.vocab_size, **config}
    if model.config is not None:
        return dict(model.config)
    if model.source != "hub":
        return read_layout(find_weights(model))
    manifest = read_json(base / MANIFEST) if (base / MANIFEST).exists() else {}
    if (manifest.get("id"), manifest.get("revision")) != (model.id, model.revision):
        raise TunediffError(
            f"{recipe}: model.config: missing, and {base} does not hold {model.id}; expected the layout in the recipe, "
            "or its base model built (cp the recipe to params.yaml, dvc repro base_model)"
        )
    return dict(read_json(base / CONFIG))


def table(rows: Sequence[ParameterRow]) -> list[str]:
    """Return one line per tensor of the layout, with repeated layers added up."""
    return aligned(list(zip(HEADER, *_cells(rows), strict=True)), left=WORDS)


def _cells(rows: Sequence[ParameterRow]) -> Iterator[tuple[str, ...]]:
    for row in by_module(rows):
        counts = (row.tensors, row.base, row.with_head, row.tuned, row.stored, row.bytes)
        shape = " x ".join(map(str, row.shape))
        yield row.tensor, row.part, row.dtype, TRAINED[row.trainable], shape, *(f"{one:,}" for one in counts)


def _named(params: Params) -> str:
    model, adapt = params.model, params.adapt
    source = model.id or f"{(model.config or {})['model_type']} from scratch"
    stored = "" if model.quantization == "none" else f", {model.quantization}"
    if adapt is None:
        return f"{source}{stored}, head {model.head}, and {params.tuned.id}"
    rank = f" of rank {adapt.r}" if adapt.r else ""
    return f"{source}{stored}, head {model.head}, trained by {adapt.method}{rank}"
