"""Make or pin the base model: weights trained from scratch, or a manifest that names weights made by others.

    python stages/base_model.py --text data/raw --base models/base --log data/pretrain_log.csv \
        --metrics metrics/base_model.json --cost metrics/cost/base_model.json
"""

import shutil
from pathlib import Path

from tunediff.cost import measured
from tunediff.errors import run
from tunediff.files import read_json, replacing, write_csv, write_json
from tunediff.models.load import CONFIG, find_weights, write_manifest
from tunediff.params import read_params
from tunediff.sections import Base, Pretrain
from tunediff.sources.texts import read_texts
from tunediff.stage import PARAMS, arguments

# A base that others trained has the header alone, and a decoder no accuracies.
LOG = ("epoch", "step", "train_loss", "validation_loss", "perplexity", "mlm_accuracy", "nsp_accuracy")


def main() -> None:
    args = arguments(__doc__, reads=("text",), writes=("base", "log", "metrics", "cost"))
    params = read_params(PARAMS)
    base: Base = params.model  # neither head nor dtype: experiments that differ there share the base
    with measured(args.cost):
        log: list[dict[str, float]] = []
        metrics: dict[str, float] = {}
        with replacing(args.base) as folder:
            folder.mkdir()
            if base.source == "scratch":
                log, metrics = train_base(base, params.pretrain, args.text, folder)
            else:
                weights = find_weights(base)
                write_manifest(folder, base, weights)
                print(f"base model: {base.id}{f' at {base.revision}' if base.revision else ''}, weights in {weights}")
            config = read_json(folder / CONFIG)
        write_csv(args.log, log, LOG)
        write_json(args.metrics, metrics | {key: config[key] for key in ("vocab_size",) if key in config})


def train_base(
    base: Base, section: Pretrain, text: Path, folder: Path
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Train from scratch into the folder; the log, and its last row with what was read."""
    # A pinned model needs no training code: it would cost seconds of start-up.
    from tunediff.training.checkpoints import scratch_folder
    from tunediff.training.pretrain import find_tokenizer, pretrain

    texts, config = read_texts(section, text), dict(base.config or {})
    tokenizer = find_tokenizer(texts.train, config, section)
    given = section.tokenizer
    read = [text, Path(given.id)] if given is not None and given.source == "folder" else [text]
    scratch = scratch_folder([base.model_dump(include=set(Base.model_fields)), section.model_dump()], *read)
    network, log = pretrain(texts, tokenizer, config, section, scratch)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_manifest(folder, base, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    vocabulary, last = len(tokenizer), log[-1]
    print(f"base model: {sum(p.numel() for p in network.parameters()):,} parameters from scratch")
    print(f"  read {len(texts.train):,} documents, validated on {len(texts.validation):,}, vocabulary {vocabulary:,}")
    for row in log:
        accuracies = "".join(f", {key[:3].upper()} accuracy {row[key]:.1%}" for key in LOG[5:] if key in row)
        print(
            f"  epoch {row['epoch']:g}: loss {row['train_loss']:.3f}, perplexity {row['perplexity']:,.1f}{accuracies}"
        )
    if last["perplexity"] > vocabulary:
        print(f"  ALARM: a perplexity above {vocabulary:,} is worse than guessing evenly among all tokens")
    measured_last = {key: value for key, value in last.items() if key not in ("epoch", "step")}
    counts = {"documents": len(texts.train), "validation_documents": len(texts.validation)}
    return log, {"epochs": last["epoch"], "steps": last["step"], **measured_last, **counts}


if __name__ == "__main__":
    run(main)
