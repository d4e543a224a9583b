"""Parse names of models on the command line: folders, ids on the hub, served models, and their precisions."""

import re
from pathlib import Path
from typing import NamedTuple

from tunediff.config.engine import SERVED, EngineSection, address_problems
from tunediff.config.model import BITSANDBYTES
from tunediff.models.gguf import SUFFIX
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json
from tunediff.runtime.hub import newest, snapshot

# Files that describe a model without its weights: of a whole model, and of an adapter.
CONFIG_FILES = ["config.json", "adapter_config.json"]


# The key of params.yaml for each precision that can be appended to the name of a model.
PRECISIONS = dict.fromkeys(BITSANDBYTES, "quantization") | dict.fromkeys(("float32", "bfloat16", "float16"), "dtype")


class Named(NamedTuple):
    """A model named on the command line, with its precision if given."""

    source: str
    id: str
    revision: str | None
    quantization: str | None = None
    dtype: str | None = None
    url: str | None = None  # of the server that serves it

    def place(self) -> dict[str, str | None]:
        """Return the source of the model, as keys of params.yaml."""
        return {"source": self.source, "id": self.id, "revision": self.revision}


def named_model(text: str, api_key_env: str | None = None) -> Named:
    """Parse the name of a model: `MODEL` or `MODEL:PRECISION` (see `_named_place`), or the address of a served model.

    Args:
        text: the argument.
        api_key_env: the environment variable with the server's key.

    Raises:
        TunediffError: there is no such model, precisions contradict each other, or the server has no such model.
    """
    if "://" in text:
        return _served_model(text, api_key_env)
    model, words = without_precision(text)
    held = {PRECISIONS[word]: word for word in words}
    if len(held) < len(words):
        raise TunediffError(f"{text}: found {' and '.join(words)}, which contradict each other")
    return _named_place(model)._replace(**held)


def without_precision(text: str) -> tuple[str, list[str]]:
    """Return the name of a model, and the precisions appended to it."""
    words: list[str] = []
    while not Path(text).expanduser().exists() and (word := text.rpartition(":")[2]) in PRECISIONS:
        words.insert(0, word)
        text = text.rpartition(":")[0]
    return text, words


def _named_place(text: str) -> Named:
    """Parse the name of a model without precision: an existing folder or GGUF file, or an id on the hub with a commit.

    Raises:
        TunediffError: there is no such folder or file, and the hub has no such id.
    """
    folder = Path(text).expanduser()
    if folder.is_dir() or (folder.is_file() and folder.suffix == SUFFIX):
        return Named("folder", str(folder.resolve()), None)
    id, _, revision = text.partition("@")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", id):
        raise TunediffError(f"{text}: there is no such folder, and it is not an id on the hub (NAMESPACE/NAME)")
    if revision and not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise TunediffError(f"{text}: found {revision!r} after @, expected a commit, 40 hexadecimal digits")
    try:
        return Named("hub", id, revision or newest(id))
    except TunediffError as error:
        raise TunediffError(f"{text}: there is no such folder; {error}") from None


def _served_model(text: str, api_key_env: str | None) -> Named:
    from tunediff.engines.served.client import Client, key_of_environment
    from tunediff.engines.served.conformance import find_model

    url, _, name = text.partition("#")
    if problems := list(address_problems("BASE and TUNED", url)):
        raise TunediffError(problems[0])
    section = EngineSection(kind=SERVED, url=url)
    client = Client(url, key_of_environment(api_key_env), section.timeout)
    return Named(SERVED, find_model(client, name or None).name, None, url=url)


def precisions(base: Named, tuned: Named) -> tuple[dict[str, str], dict[str, str]]:
    """Return the precisions of both models, as keys of the sections model and tuned.

    By default, a base or a whole model has the precision of its files, and an adapter that of the base.
    """
    quantization = base.quantization or _as_stored(base)
    of_base = {"quantization": quantization or "none"} | ({"dtype": base.dtype} if base.dtype else {})
    of_tuned = {key: value for key, value in (("quantization", tuned.quantization), ("dtype", tuned.dtype)) if value}
    if (stored := _as_stored(tuned)) is not None:
        usual = {"quantization": stored, "dtype": "auto"}
        of_tuned = {key: of_tuned.get(key, value) for key, value in usual.items()}
        of_tuned = {key: value for key, value in of_tuned.items() if value != of_base.get(key, "auto")}
    return of_base, of_tuned


def _as_stored(model: Named) -> str | None:
    """The quantization of the files of a whole model: "none" or "stored"; None for an adapter."""
    if model.source == SERVED:
        return None
    folder = Path(model.id)
    if model.source == "hub":
        folder = snapshot(model.id, str(model.revision), patterns=CONFIG_FILES)
    layout, adapter = (folder / name for name in CONFIG_FILES)
    if adapter.is_file() or not (layout.is_file() or folder.is_file()):
        return None
    config = read_json(layout) if layout.is_file() else None
    return "stored" if isinstance(config, dict) and config.get("quantization_config") is not None else "none"
