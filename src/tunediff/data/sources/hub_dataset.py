"""Read the rows of a data set on the Hugging Face hub, pinned to a commit.

rows = dataset_rows("stanfordnlp/snli", "plain_text", "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b", "test")
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hub import DATA, snapshot


def dataset_rows(id: str, config: str | None, revision: str, split: str) -> list[Row]:
    """Return the rows of one split of a data set, as published; class labels are integers.

    Only the files of that split are downloaded, if the data set's card lists them.

    Args:
        id: the repository, such as stanfordnlp/snli.
        config: the configuration; None: the only one, or the default of the card.
        revision: commit, 40 hexadecimal digits.
        split: name of the split, such as train.

    Raises:
        TunediffError: see `snapshot`; or the data set has no such configuration or split, or cannot be read.
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
    # The library writes a copy for memory mapping, which is not needed afterwards.
    with TemporaryDirectory() as copies:
        try:
            data = datasets.load_dataset(str(folder), name, data_files=data_files, split=split, cache_dir=copies)
            rows = data.with_format("arrow")[:].to_pylist()
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise TunediffError(f"{place}: {name}, split {split}: cannot be read: {error}") from None
    return [Row(values, f"{place}, {split}", number) for number, values in enumerate(rows, start=1)]


def _declared(card: Path, config: str | None, place: str) -> tuple[str | None, dict[str, list[str]] | None]:
    """The configuration and its files by split, as declared by the card; None if it declares none."""
    import yaml
    from datasets.data_files import sanitize_patterns
    from huggingface_hub import DatasetCard

    if not card.is_file():
        return config, None
    try:
        declared = DatasetCard.load(card).data.to_dict().get("configs") or []
        for entry in declared:
            _stays_inside(entry, place)
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


def _stays_inside(entry: Mapping[str, Any], place: str) -> None:
    """Refuse a configuration of a card with files outside of the data set."""
    for name in _names([entry.get("data_files"), entry.get("data_dir")]):
        path = PurePosixPath(name)
        # datasets follows URLs, and chains such as zip://*.csv::archive.zip.
        if path.is_absolute() or ".." in path.parts or ":" in name or "\\" in name:
            raise TunediffError(f"{place}: its card README.md: found the file {name!r}, expected one of the data set")


def _names(value: object) -> Iterator[str]:
    """All texts in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _names(part)
