"""Parameters of the stage prepare, and its data as files."""

SPLITS = ("test", "validation", "train")
LABELS = ["entailment", "neutral", "contradiction"]
FILES = {name: f"{name}.jsonl" for name in SPLITS}


def files_section(**changes):
    """Section data for files with SNLI's own numbers as labels."""
    return {
        "source": "files",
        "path": "data/raw",
        "files": FILES,
        "columns": {"premise": "premise", "hypothesis": "hypothesis", "label": "label"},
        "labels": dict(enumerate(LABELS)),
        "unlabelled": [-1],
        **{name: {"source": name} for name in SPLITS},
    } | changes


PARAMS = {
    "task": {
        "name": "nli",
        "inputs": ["premise", "hypothesis"],
        "labels": LABELS,
        "source_input": "premise",
        "partial_input": "hypothesis",
    },
    "model": {"source": "folder", "id": "model", "head": "lm", "quantization": "none"},
    "pretrain": {"path": "data/raw", "text": "none"},
    "prompt": {"template": "{premise} {hypothesis}", "choices": {label: label for label in LABELS}},
    "evaluate": {"scoring_method": "choices"},
    "adapt": {"method": "full"},
    "train": {"learning_rate": 1e-3, "num_train_epochs": 1, "per_device_train_batch_size": 8},
    "diff": {},
    "report": {"title": "A test"},
}
