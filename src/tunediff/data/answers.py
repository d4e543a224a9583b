"""Files of raw answers, written by prediction and read by grading; nothing in them is parsed.

    with answers_writer(Path("data/answers/base/test.parquet"), {"labels": [...], "model": "base"}) as write:
        write(frame)
    frame, about = read_answers(Path("data/answers/base/test.parquet"))

A Parquet file with one row per case, in the order of the test set, and the columns of `ANSWER_FILE_COLUMNS`. Columns of
`OTHER_SETTINGS` are present if the model was evaluated in these settings too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunediff.data.cases import about_predictions, frame_writer
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.parquet import parquet_batches

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from tunediff.data.cases import Write

ANSWER_FILE_COLUMNS = {
    "case_id": "id of the case",
    "text": "the answer: the most likely choice, label or span, or the generated text",
    "finish_reason": "stop, length (the answer ran into the token limit) or none (nothing was generated)",
    "log_probs": "log-probability (natural logarithm) of each choice or label, exp sums to 1; null if there is none",
    "scorer": "choices, generation or head",
    "prompt_hash": "hash of the rendered prompt and choices",
    "n_tokens": "tokens of the prompt",
    "truncated": "whether the prompt was truncated to fit the context",
}
OTHER_SETTINGS = {
    "sum_log_probs": "log-likelihood of each option of the case, in nats",
    "token_log_probs": "the same per token of the option",
    "unconditional_log_probs": "the same as sum_log_probs, without a prompt",
    "again_sum_log_probs": "as sum_log_probs, in batches of another size",
    "again_token_log_probs": "as token_log_probs, in batches of another size",
    "generated_text": "text generated freely",
    "premise_free_log_probs": "as log_probs, given the partial input alone",
    "again_text": "as text, in batches of another size",
    "again_log_probs": "as log_probs, in batches of another size",
    "seed_text": "as text, of the same base with another new head",
    "seed_log_probs": "as log_probs, of the same base with another new head",
    "few_shot_log_probs": "as log_probs, with solved examples before the prompt",
}


@contextmanager
def answers_writer(path: Path, about: Mapping[str, object]) -> Iterator["Write"]:
    """Yield a function that appends rows to a file of raw answers; other columns are ignored.

    `about` is the metadata: labels (in the order of log_probs), model, environment.
    """
    with frame_writer(path, about) as write:
        yield lambda frame: write(frame[[*ANSWER_FILE_COLUMNS, *(name for name in OTHER_SETTINGS if name in frame)]])


def read_answers(path: Path) -> tuple["pd.DataFrame", dict[str, Any]]:
    """Read a file of raw answers; return the frame and the metadata.

    Raises:
        TunediffError: the file is missing, is not Parquet, or lacks a column.
    """
    import pyarrow as pa

    schema, batches, about = _opened(path)
    return pa.Table.from_batches(list(batches), schema).to_pandas(), about


def answer_frames(path: Path) -> tuple[Iterator["pd.DataFrame"], dict[str, Any]]:
    """Like `read_answers`, but in chunks of at most `tunediff.runtime.files.ROWS` rows."""
    _, batches, about = _opened(path)
    return (batch.to_pandas() for batch in batches), about


def _opened(path: Path) -> tuple["pa.Schema", Iterator["pa.RecordBatch"], dict[str, Any]]:
    schema, names, batches = parquet_batches(path)
    if missing := [name for name in ANSWER_FILE_COLUMNS if name not in names]:
        raise TunediffError(f"{path}: has no column {', '.join(missing)}, expected {', '.join(ANSWER_FILE_COLUMNS)}")
    return schema, batches, about_predictions(path, schema)
