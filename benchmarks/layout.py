"""A published system at full size where there is no hub: its layout with random weights, on real rows.

    python benchmarks/layout.py recipes/phi2-snli-a.yaml        # writes models/random/phi2-snli-a and params.yaml
    dvc exp run

What a run costs does not depend on the values of the weights, and its accuracy says nothing. The rows are those of
../shared/data, the tokenizer is trained on them. The recipes of Phi-2 keep their epochs, the others train one. A base
that the recipe pretrains is pretrained here too, on WikiText-2's test text, which is what lies there, with a vocabulary
of that text. `--tiny` is a layout and rows that a CPU trains in seconds, to try all of it.
"""

import argparse
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from setting import DATA, data_file

# By the data set of the recipe: where its rows lie here, and how splits are drawn from the fewer ones.
ROWS: dict[str, dict[str, Any]] = {
    "stanfordnlp/snli": {
        "path": "snli",
        "files": {"train": "train_18k.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"},
        "train": {"source": "train", "select": "stride", "every": 18, "limit": 1000},
        "labels": {"0": "entailment", "1": "neutral", "2": "contradiction"},
        "unlabelled": ["-1"],
    },
    "nyu-mll/glue": {
        "path": "sst2",
        "files": {"train": "train.tsv", "validation": "dev.tsv"},
        "labels": {"0": "negative", "1": "positive"},
        "unlabelled": [],
    },
} | {
    name: {
        "path": "squad",
        "files": {"dev": file},
        "train": {"source": "dev", "select": "random", "fraction": 0.8, "seed": 3},
        "validation": {"source": "dev", "select": "random", "fraction": 0.05, "seed": 2},
        "test": {"source": "dev", "select": "random", "fraction": 0.15, "seed": 1},
        "group": "title",
    }
    for name, file in (("rajpurkar/squad", "dev-v1.1.json"), ("rajpurkar/squad_v2", "dev-v2.0.json"))
}

NARROW = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "vocab_size": 3000,
}


def main() -> None:
    """Write the model and params.yaml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a recipe whose rows and layout are on the hub")
    parser.add_argument("--tiny", action="store_true", help="a narrow layout and few rows")
    args = parser.parse_args()
    params = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))
    config = params["model"]["config"]
    here = ROWS[params["data"].pop("hub")["id"]]
    files = [data_file(f"{here['path']}/{name}") for name in here["files"].values()]
    if args.tiny:
        config |= {key: value for key, value in NARROW.items() if key in config}
        config |= {"num_key_value_heads": 4} if "num_key_value_heads" in config else {}
    params["data"] |= here | {"source": "files", "path": f"{DATA}/{here['path']}"}
    params["model"].pop("published_parameters")
    if params["model"]["source"] == "scratch":
        params["pretrain"].pop("hub")
        params["pretrain"].pop("tokenizer")
        text = data_file("wikitext2/wiki.test.raw")
        params["pretrain"] |= {
            "path": str(text.parent),
            "files": {"train": text.name},
            "vocab_size": config["vocab_size"],
        }
        written = ""
    else:
        folder = Path("models/random") / args.recipe.stem
        write_model(config, files, folder)
        params["model"] |= {"source": "folder", "id": str(folder), "revision": None, "config": None}
        params["pretrain"] = {"path": "data/raw", "text": "none"}
        written = f"{folder} and "
    if params["task"]["name"] != "nli":
        params["train"]["num_train_epochs"] = 1
    if args.tiny:
        take_few(params)
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    print(f"{written}params.yaml written; now: dvc exp run")


def take_few(params: dict[str, Any]) -> None:
    """Few rows, and an optimizer that a CPU has."""
    for split, rows in (("train", 160), ("validation", 20), ("test", 20)):
        if "group" in params["data"]:  # whole articles are drawn
            params["data"][split]["fraction"] = 0.04
        else:
            params["data"][split]["limit"] = rows
    params["prompt"]["too_long"] = "truncate"
    params["train"]["num_train_epochs"] = 1
    if params["train"]["optim"].startswith("paged"):
        params["train"]["optim"] = "adamw_torch"
    if params["pretrain"]["text"] != "none":
        params["pretrain"] |= {"max_tokens": 64, "num_train_epochs": 1, "documents": 4, "held_out": 0.2}


def write_model(config: dict[str, Any], files: list[Path], folder: Path) -> None:
    """A model of the layout with random weights in bfloat16, and a tokenizer of at most as many tokens."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForPreTraining

    from tunediff.pretraining.tokenizer import train_bpe, train_wordpiece

    encoder = config["model_type"] == "bert"
    texts = list(chain.from_iterable(file.read_text(encoding="utf-8").splitlines() for file in files))
    texts = [text[at : at + 1000] for text in texts for at in range(0, len(text), 1000)]
    train = train_wordpiece if encoder else train_bpe
    tokenizer = train(texts, config["vocab_size"], min(config["max_position_embeddings"], 8192))
    if torch.cuda.is_available():  # billions of random numbers take a second there, and minutes on a processor
        torch.set_default_device("cuda")
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    layout = AutoConfig.for_model(**config | {name: number for name, number in special.items() if number is not None})
    torch.manual_seed(0)
    kind = AutoModelForPreTraining if encoder else AutoModelForCausalLM
    kind.from_config(layout, dtype=torch.bfloat16).save_pretrained(folder)
    torch.set_default_device(None)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
