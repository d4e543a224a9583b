"""Snapshots of models and data sets on the Hugging Face hub, pinned to a commit.

folder = snapshot("microsoft/phi-2", "ef382358ec9e382308935a992d908de099b64c23", "model")

Files are taken from the hub's cache (`HF_HOME`) if possible, also with `HF_HUB_OFFLINE=1`. No code from a snapshot is
ever run: neither scripts nor pickles (.bin, .pt, .pkl) are fetched.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tunediff.runtime.errors import TunediffError

if TYPE_CHECKING:
    import httpx2

DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv")
FILES = {
    "model": ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"],  # weights, layout, tokenizer, chat template
    "dataset": ["README.md", *(f"*{ending}" for ending in DATA)],
}
NEVER = [f"*.{ending}" for ending in ("py", "bin", "pt", "pth", "ckpt", "pkl", "pickle", "joblib", "h5", "msgpack")]


def snapshot(
    id: str,
    revision: str,
    kind: Literal["model", "dataset"] = "model",
    patterns: Sequence[str] | None = None,
    cache: Path | None = None,
) -> Path:
    """Return the folder with the files of a hub repository at a commit, fetched unless they are in the cache.

    Args:
        id: the repository, such as microsoft/phi-2.
        revision: commit, 40 hexadecimal digits.
        kind: what the repository holds.
        patterns: names of the files to fetch, with wildcards; None: `FILES[kind]`. `NEVER` applies in either case.
        cache: folder to keep the files in; None: the hub's cache.

    Raises:
        TunediffError: the repository is gated, private or unknown, or cannot be fetched and is not in the cache.
    """
    from huggingface_hub import get_session, snapshot_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # each of its five retries would print a line
    session = get_session()
    if _set_timeout not in session.event_hooks["request"]:
        session.event_hooks = {**session.event_hooks, "request": [*session.event_hooks["request"], _set_timeout]}
    try:
        allow = list(patterns) if patterns is not None else FILES[kind]
        return Path(
            snapshot_download(
                id, repo_type=kind, revision=revision, allow_patterns=allow, ignore_patterns=NEVER, cache_dir=cache
            )
        )
    except Exception as error:  # huggingface_hub, its HTTP library and the disk raise many types
        raise TunediffError(f"hub {kind} {id} at {revision}: {hub_problem(error, id, kind)}") from None


def newest(id: str) -> str:
    """Return the latest commit of the main branch of a model on the hub, 40 hexadecimal digits.

    Raises:
        TunediffError: the repository is gated, private or unknown, or the hub does not answer.
    """
    from huggingface_hub import HfApi, constants

    try:
        about = HfApi().repo_info(id, repo_type="model", timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    except Exception as error:  # as in `snapshot`
        raise TunediffError(f"hub model {id}: {hub_problem(error, id)}") from None
    return str(about.sha)


def _set_timeout(request: "httpx2.Request") -> None:
    """Apply `HF_HUB_DOWNLOAD_TIMEOUT` to every download; `huggingface_hub` requests file lists without a timeout."""
    from huggingface_hub import constants

    if request.method in ("GET", "HEAD"):
        timeouts = request.extensions["timeout"]
        default = constants.HF_HUB_DOWNLOAD_TIMEOUT
        request.extensions["timeout"] = {name: default if s is None else s for name, s in timeouts.items()}


def hub_problem(error: Exception, id: str, kind: Literal["model", "dataset"] = "model") -> str:
    """Describe why a request to the hub failed and what to do about it, to follow the name of the repository."""
    import httpx2
    from huggingface_hub.constants import ENDPOINT, is_offline_mode
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    noun = "model" if kind == "model" else "data set"
    missing = ""
    if isinstance(error, LocalEntryNotFoundError):
        # Not in the cache; the cause is the error of the request.
        missing = "is incomplete in the local cache, and "
        error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if isinstance(error, GatedRepoError):
        return f"{missing}is gated; request access on its page {ENDPOINT}/{id}, then run: hf auth login"
    if isinstance(error, RepositoryNotFoundError):
        return f"{missing}the hub has no such {noun}, or it is private; then run: hf auth login"
    if isinstance(error, RevisionNotFoundError):
        return f"the {noun} has no such revision, expected one of its commits"
    if isinstance(error, HFValidationError):
        return "found an invalid hub id, expected NAMESPACE/NAME"
    if is_offline_mode():
        return f"{missing}HF_HUB_OFFLINE is set"
    if status == 401:
        return f"{missing}the hub does not recognize your token (HF_TOKEN, or that of hf auth login)"
    if status == 429:
        return f"{missing}the hub received too many requests from here; wait a few minutes, or run: hf auth login"
    if status == 403:
        return f"{missing}your token lacks this permission (HF_TOKEN, or that of hf auth login)"
    if isinstance(error, HfHubHTTPError) and status is not None:
        return f"{missing}the hub answered with status {status}{f': {m}' if (m := error.server_message) else ''}"
    if isinstance(error, FileMetadataError):
        return f"{missing}the server at {ENDPOINT} is not a hub: it returned no commit"
    if isinstance(error, httpx2.ConnectError | httpx2.TimeoutException):
        return f"{missing}the hub cannot be reached at {ENDPOINT}"
    if isinstance(error, httpx2.TransportError):
        return f"{missing}the connection to the hub was lost; run the same command to resume"
    return f"cannot be fetched: {type(error).__name__}: {error}"
