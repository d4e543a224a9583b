"""A published system at full size where there is no hub: its layout with random weights, on real rows.

    python benchmarks/layout.py recipes/phi2-snli-a.yaml        # writes models/random/phi2-snli-a and params.yaml
    dvc exp run

What a run costs does not depend on the values of the weights, and its accuracy says nothing. The rows are those of
../shared/data, the tokenizer is trained on them. The recipes of Phi-2 keep their epochs, the others train one.
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


def main() -> None:
    """Write the model and params.yaml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a recipe whose rows and layout are on the hub")
    recipe = parser.parse_args().recipe
    params = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    here = ROWS[params["data"].pop("hub")["id"]]
    files = [data_file(f"{here['path']}/{name}") for name in here["files"].values()]
    folder = Path("models/random") / recipe.stem
    write_model(params["model"]["config"], files, folder)
    params["data"] |= here | {"source": "files", "path": f"{DATA}/{here['path']}"}
    params["model"] |= {"source": "folder", "id": str(folder), "revision": None, "config": None}
    params["model"].pop("published_parameters")
    params["pretrain"] = {"path": "data/raw", "text": "none"}
    if params["task"]["name"] != "nli":
        params["train"]["num_train_epochs"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    print(f"{folder} and params.yaml are written; now: dvc exp run")


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
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    layout = AutoConfig.for_model(**config | {name: number for name, number in special.items() if number is not None})
    torch.manual_seed(0)
    kind = AutoModelForPreTraining if encoder else AutoModelForCausalLM
    kind.from_config(layout, dtype=torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
