"""Train the base model from scratch, or pin an existing one in a manifest.

    python stages/base_model.py --settings data/settings/base_model.json --text data/raw --base models/base \
        --log data/pretrain_log.csv --metrics metrics/base_model.json --cost metrics/cost/base_model.json
"""

from collections.abc import Callable
from pathlib import Path

from tunediff.config.engine import SERVED
from tunediff.config.model import Base
from tunediff.config.pretrain import Pretrain
from tunediff.config.settings import BaseModelSettings, read_settings
from tunediff.models.sources import CONFIG, find_weights, write_manifest, write_served
from tunediff.pretraining.texts import read_texts
from tunediff.runtime.cost import measured
from tunediff.runtime.errors import run
from tunediff.runtime.files import read_json, replacing, write_csv, write_json
from tunediff.runtime.scratch import mark_done, scratch_folder
from tunediff.runtime.stage import arguments, check_path

# Columns of the log; an existing base has no rows, and a decoder no accuracies.
LOG = ("epoch", "step", "train_loss", "validation_loss", "perplexity", "mlm_accuracy", "nsp_accuracy")


def main() -> None:
    args = arguments(__doc__, reads=("settings", "text"), writes=("base", "log", "metrics", "cost"))
    settings = read_settings(args.settings, BaseModelSettings)
    base = settings.base
    if settings.pretrain.text not in ("none", "synthetic") and settings.pretrain.hub is None:
        check_path("pretrain.path", settings.pretrain.path, args.text)
    scratch = scratch_of(base, settings.pretrain, args.text) if base.source == "scratch" else None
    with measured(args.cost, scratch) as note_cost:
        log: list[dict[str, float]] = []
        metrics: dict[str, float] = {}
        with replacing(args.base) as folder:
            folder.mkdir()
            if scratch is not None:
                log, metrics = train_base(base, settings.pretrain, args.text, folder, scratch, note_cost)
            elif base.source == SERVED:
                write_served(folder, base)
                print(f"base model: {base.id}, on a server; its layout is unknown")
            else:
                weights = find_weights(base)
                write_manifest(folder, base, weights)
                print(f"base model: {base.id}{f' at {base.revision}' if base.revision else ''}, weights in {weights}")
            config = read_json(folder / CONFIG)
        write_csv(args.log, log, LOG)
        write_json(args.metrics, metrics | {key: config[key] for key in ("vocab_size",) if key in config})
        if scratch is not None:
            mark_done(scratch)


def scratch_of(base: Base, section: Pretrain, text: Path) -> Path:
    """Return the folder from which an interrupted pretraining resumes."""
    tokenizer = section.tokenizer
    reads = [text, Path(tokenizer.id)] if tokenizer is not None and tokenizer.source == "folder" else [text]
    return scratch_folder("base_model", [base.model_dump(include=set(Base.model_fields)), section.model_dump()], *reads)


def train_base(
    base: Base, section: Pretrain, text: Path, folder: Path, scratch: Path, saved: Callable[[], None]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train from scratch and write the model to the folder; return the log and the metrics."""
    # Imported here, because a pinned model does not need the training code.
    from tunediff.pretraining.pretrain import find_tokenizer, pretrain

    texts, config = read_texts(section, text), dict(base.config or {})
    tokenizer = find_tokenizer(texts.train, config, section)
    network, log = pretrain(texts, tokenizer, config, section, scratch, saved)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, base, folder)
    read, validated, vocabulary = len(texts.train), len(texts.validation), len(tokenizer)
    print(f"base model: {sum(p.numel() for p in network.parameters()):,} parameters from scratch")
    print(f"  read {read:,} documents, validated on {validated:,}, vocabulary {vocabulary:,}")
    for row in log:
        accuracies = "".join(f", {key[:3].upper()} accuracy {row[key]:.1%}" for key in LOG[5:] if key in row)
        print(
            f"  epoch {row['epoch']:g}: loss {row['train_loss']:.3f}, perplexity {row['perplexity']:,.1f}{accuracies}"
        )
    if log[-1]["perplexity"] > vocabulary:
        print(f"  ALARM: a perplexity above {vocabulary:,} is worse than uniform guessing over all tokens")
    # In the order of LOG: the row of a checkpoint has its keys sorted.
    last = {{"epoch": "epochs", "step": "steps"}.get(key, key): log[-1][key] for key in LOG if key in log[-1]}
    return log, {**last, "documents": read, "validation_documents": validated}


if __name__ == "__main__":
    run(main)
