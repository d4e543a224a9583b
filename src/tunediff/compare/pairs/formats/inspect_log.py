"""Logs of inspect_ai: .json and .eval, with one sample per case and epoch.

The object of a .json log (log version 2, inspect_ai 0.3; shortened):

    {"version": 2, "status": "success", "eval": {"task": "t", "model": "m", ...}, "samples": [{"id": 1, "epoch": 1,
     "input": "What is 1?", "target": "1", "output": {"completion": "ANSWER: 1", ...}, "scores": {"match":
     {"value": "C", "answer": "1", ...}}, "error": {...}, "attachments": {...}, ...}, ...]}

An .eval log is a ZIP archive of header.json, the same without its samples, and samples/ID_epoch_N.json; newer ones are
compressed by Zstandard. A value is C (correct), I (incorrect), P (partly correct, 0.5), N (no answer), a number, or an
object of several values, named SCORER.NAME. Samples that have no score, failed, or were invalidated are invalid.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, object_or_empty, text_or_none
from tunediff.compare.pairs.predictions import Predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import from_json, shown, unpacked_limit

SUFFIX = ".eval"
# The ZIP compression method of Zstandard (APPNOTE.TXT 4.4.5), which Python supports from version 3.14.
ZSTANDARD = 93
ATTACHMENT = "attachment://"

# As in inspect_ai's value_to_float.
WORDS = {"C": True, "I": False, "P": 0.5, "yes": True, "no": False, "true": True, "false": False}
NO_ANSWER = "N"


def is_log(row: Mapping[str, Any]) -> bool:
    """Whether an object is a log of inspect_ai, or the header of one."""
    return {"version", "status", "eval"} <= row.keys()


def read_log(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return the samples of a log as predictions.

    Args:
        rows: the log, or its header followed by its samples.
        name: name of the file for error messages.
        options: metric: the scorer that decides what is right; None: the first. fields: the cluster, a field of the
            metadata.

    Raises:
        TunediffError: there is no sample or no score, or a sample is malformed.
    """
    numbered = iter(rows)
    _, log = next(numbered)
    inside = log.get("samples")
    samples = [*enumerate(inside if isinstance(inside, list) else [], start=1), *numbered]
    if not samples:
        raise TunediffError(f"{name}: found no sample, expected a log with its samples (log_samples)")
    for number, sample in samples:
        if not isinstance(sample, dict) or not {"id", "epoch", "input", "target"} <= sample.keys():
            raise TunediffError(f"{name}, row {number}: found {shown(sample)}, expected a sample of inspect_ai")
    found = [scorer for _, sample in samples for scorer in _values(sample)]
    metric, described = chosen_metric(found, options.metric, name)
    status = "" if log["status"] == "success" else f", status {shown(log['status'])[1:-1]}"
    answers = (_answer(number, sample, metric, name) for number, sample in samples)
    return from_graded(answers, name, options, f"a log of inspect_ai, {described}{status}", metric)


def _values(sample: Mapping[str, Any]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The value of each scorer, and the score that contains it, by name."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    scores = sample.get("scores")
    if scores is None:
        scores = {"score": sample.get("score")}  # older logs have a single score
    for scorer, score in object_or_empty(scores).items():
        value = score.get("value") if isinstance(score, dict) else None
        if isinstance(value, dict):
            found |= {f"{scorer}.{key}": (one, score) for key, one in value.items()}
        elif isinstance(score, dict):
            found[scorer] = value, score
    return found


def _answer(number: int | str, sample: Mapping[str, Any], metric: str, name: str) -> Graded:
    value, score = _values(sample).get(metric, (None, {}))
    epoch = sample["epoch"]
    if type(epoch) is not int:
        raise TunediffError(f"{name}, row {number}: epoch: found {shown(epoch)}, expected a whole number")
    error, why = sample.get("error"), "no score"
    if isinstance(error, dict) and value is None:
        why = f"error {str(error.get('message') or '').split('(')[0].strip().partition(chr(10))[0] or 'unknown'}"
    if sample.get("invalidation"):
        value, why = None, "invalidated"
    if value == NO_ANSWER:
        value, why = None, "no answer"
    if isinstance(value, str):
        value = WORDS.get(value, WORDS.get(value.lower(), _number(value)))
    completion = object_or_empty(sample.get("output")).get("completion")
    return Graded(
        number,
        str(text_or_none(sample["id"])),
        value,
        text_or_none(score.get("answer")) or text_or_none(completion),
        text_or_none(sample["target"]),
        _prompt(sample),
        repeat=epoch,
        why=why,
        about=object_or_empty(sample.get("metadata")),
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _prompt(sample: Mapping[str, Any]) -> str:
    """The input with attachments inserted, as text or as the texts of the messages, and the choices."""
    given = sample["input"]
    messages = given if isinstance(given, list) else [{"content": given}]
    contents = [one.get("content") if isinstance(one, dict) else one for one in messages]
    texts: list[str] = []
    for content in contents:
        parts = content if isinstance(content, list) else [content]
        texts += [str(part.get("text", part) if isinstance(part, dict) else part) for part in parts]
    choices = sample.get("choices")
    texts += [f"- {choice}" for choice in choices] if isinstance(choices, list) else []
    attached = object_or_empty(sample.get("attachments"))
    return "\n".join(str(attached.get(text.removeprefix(ATTACHMENT), text)) for text in texts)


def archive_rows(path: Path) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """Yield the header of an .eval log and then its samples, each with its name in the archive.

    Raises:
        TunediffError: the file is missing, is not such an archive, or expands to far more than its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = {part.filename: part for part in archive.infolist()}
            header = next((one for one in ("header.json", "_journal/start.json") if one in parts), None)
            if header is None:
                raise TunediffError(f"{path}: found no header.json in the archive, expected a log of inspect_ai")
            wanted = [one for one in parts if re.fullmatch(r"samples/.+_epoch_[0-9]+\.json", one)]
            bound = unpacked_limit(path.stat().st_size)
            if (claimed := sum(parts[one].file_size for one in [header, *wanted])) > bound:
                raise TunediffError(f"{path}: found {claimed:,} bytes packed, expected at most {bound:,}")
            for one in [header, *wanted]:
                yield one, _object(_bytes(archive, parts[one], path), f"{path}, {one}", one == header)
    except FileNotFoundError:
        raise TunediffError(f"{path}: there is no such file") from None
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise TunediffError(f"{path}: is not a readable log of inspect_ai: {error}") from None


def _bytes(archive: zipfile.ZipFile, part: zipfile.ZipInfo, path: Path) -> bytes:
    if part.compress_type != ZSTANDARD:
        with archive.open(part) as stream:
            return stream.read(part.file_size)
    import pyarrow as pa

    with path.open("rb") as file:
        file.seek(part.header_offset)
        head = file.read(30)
        # The local header has 30 bytes and ends with the lengths of name and extra field, which follow it.
        file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        packed = file.read(part.compress_size)
    try:
        data: bytes = pa.CompressedInputStream(pa.BufferReader(packed), "zstd").read(part.file_size)
    except pa.ArrowException as error:
        raise zipfile.BadZipFile(str(error)) from None
    if len(data) != part.file_size or zlib.crc32(data) != part.CRC:
        raise zipfile.BadZipFile(f"{part.filename} is damaged")
    return data


def _object(data: bytes, place: str, header: bool) -> dict[str, Any]:
    try:
        value = from_json(data.decode())
    except ValueError as error:
        raise TunediffError(f"{place}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise TunediffError(f"{place}: found {shown(value)}, expected a JSON object")
    # A log that was cut short has only _journal/start.json, which has no status.
    return {"status": "started", **value} if header else value


FORMAT = FileFormat("a log of inspect_ai", is_log, read_log)
