"""Snapshots of models and data sets on the Hugging Face hub, pinned to a commit, and the rows of a data set.

folder = snapshot("microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23", "model")
rows = dataset_rows("stanfordnlp/snli", "plain_text", "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b", "test")

What was fetched once is taken from the hub's own cache (`HF_HOME`), also with `HF_HUB_OFFLINE=1`. Nothing that a
snapshot holds is ever run: neither scripts nor pickles (.bin, .pt, .pkl) are fetched.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from tunediff.errors import TunediffError
from tunediff.sources import Row

DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
FILES = {
    "model": ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"],  # weights, layout, tokenizer, chat template
    "dataset": ["README.md", *(f"*{ending}" for ending in DATA)],
}
NEVER = [f"*.{ending}" for ending in ("py", "bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "h5", "msgpack")]


def snapshot(
    id: str, revision: str, kind: Literal["model", "dataset"] = "model", patterns: Sequence[str] | None = None
) -> Path:
    """The folder with the files of a hub repository at a commit, fetched where the cache does not have them.

    Args:
        id: the repository, such as microsoft/phi-2.
        revision: commit, 40 hexadecimal digits.
        kind: what the repository holds.
        patterns: names of the files to fetch, with wildcards; None: all of `FILES[kind]`. `NEVER` holds in either case.

    Raises:
        TunediffError: gated, private, unknown, or neither in the cache nor to be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # its five retries would each print a line
    place, noun = f"hub {kind} {id} at {revision}", "model" if kind == "model" else "data set"
    try:
        allow = list(patterns) if patterns is not None else FILES[kind]
        return Path(
            snapshot_download(id, repo_type=kind, revision=revision, allow_patterns=allow, ignore_patterns=NEVER)
        )
    except GatedRepoError:
        problem = f"is gated; ask for access on its page https://huggingface.co/{id}, then run: hf auth login"
    except RepositoryNotFoundError:
        problem = f"the hub has no such {noun}, or it is private; then run: hf auth login"
    except RevisionNotFoundError:
        problem = f"the {noun} has no such revision, expected a commit of it"
    except HFValidationError:
        problem = "found an id that the hub cannot have, expected NAMESPACE/NAME"
    except LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "the hub cannot be reached"
        problem = f"is not whole in the local cache, and {why}"
    except Exception as error:  # whatever the hub's HTTP library raises: refused, too many requests, disk full
        problem = f"cannot be fetched: {type(error).__name__}: {error}"
    raise TunediffError(f"{place}: {problem}")


def dataset_rows(id: str, config: str | None, revision: str, split: str) -> list[Row]:
    """The rows of one split of a data set, as published; class labels are whole numbers.

    Only the files of that split are fetched, where the data set's card names them.

    Args:
        id: the repository, such as stanfordnlp/snli.
        config: the configuration; None: the only one, or the one that the card marks as default.
        revision: commit, 40 hexadecimal digits.
        split: such as train.

    Raises:
        TunediffError: as `snapshot`; or the data set has no such configuration or split, or cannot be read.
    """
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    place = f"hub dataset {id} at {revision}"
    card = snapshot(id, revision, "dataset", ["README.md"]) / "README.md"
    name, files = _declared(card, config, place)
    if files is None:
        folder, data_files = snapshot(id, revision, "dataset"), None
    elif split in files:
        patterns = [p if p.endswith(DATA) else f"{p}{ending}" for p in files[split] for ending in DATA]
        folder, data_files = snapshot(id, revision, "dataset", ["README.md", *patterns]), {split: files[split]}
    else:
        raise TunediffError(f"{place}: {name}: has no split {split}, expected one of {', '.join(files)}")
    # The library writes a copy for memory mapping; the split that we keep is another file, so the copy goes.
    with TemporaryDirectory() as copies:
        try:
            data = datasets.load_dataset(str(folder), name, data_files=data_files, split=split, cache_dir=copies)
            rows = data.with_format("arrow")[:].to_pylist()
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise TunediffError(f"{place}: {name}, split {split}: cannot be read: {error}") from None
    return [Row(values, f"{place}, {split}", number) for number, values in enumerate(rows, start=1)]


def _declared(card: Path, config: str | None, place: str) -> tuple[str | None, dict[str, list[str]] | None]:
    """The configuration and its files by split as the card declares them; None where it declares none."""
    import yaml
    from datasets.data_files import sanitize_patterns
    from huggingface_hub import DatasetCard

    if not card.is_file():
        return config, None
    try:
        declared = DatasetCard.load(card).data.to_dict().get("configs") or []
        configs = {str(entry["config_name"]): entry for entry in declared}
        if not configs:
            return config, None
        default = [name for name, entry in configs.items() if entry.get("default")] or list(configs)
        name = config or default[0]
        if name not in configs or (config is None and len(default) > 1):
            raise TunediffError(f"{place}: found configuration {config}, expected one of {', '.join(configs)}")
        files = configs[name].get("data_files")
        return name, None if files is None else sanitize_patterns(files)
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise TunediffError(f"{place}: its card README.md cannot be read: {error}") from None
