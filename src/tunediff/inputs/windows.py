"""Questions and contexts for a span head, in windows with the offsets of every token.

    [document] = read_documents(tokenizer, [case], prompt, context=512)
    document.windows[0].offsets[0]          # (0, 3): the characters of the context's first token

A tokenizer with a form for text pairs uses it, such as `[CLS] question [SEP] context [SEP]`; otherwise the question, a
line feed and the context are one text. A long context is split into windows, each with the whole question and as many
tokens of the context as fit; consecutive windows share `prompt.doc_stride` tokens. These are the windows of
transformers' run_qa.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.prompts import Row, cut
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.hashing import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Window(Row):
    """A window: the row, the index of its first context token, and the characters of each context token.

    Offsets are character ranges in the whole context, from 0, with an exclusive end, without white space at either end.
    A token of only white space has an empty range, so an answer never starts or ends with it.
    """

    first: int
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class Document:
    """The windows of a case, the hash of its text, its number of tokens, and whether the question was cut."""

    windows: list[Window]
    prompt_hash: str
    n_tokens: int
    truncated: bool


def read_documents(
    tokenizer: "PreTrainedTokenizerBase", cases: Sequence[Case], prompt: Prompt, context: int
) -> list[Document]:
    """Split every case into windows, in the order of the cases.

    A question is too long if it leaves no room for `doc_stride` + 1 tokens of the context. It is then cut at its end if
    prompt.too_long is truncate.

    Args:
        tokenizer: the model's tokenizer.
        cases: the cases, with the inputs question and context.
        prompt: the section prompt.
        context: context length of the model in tokens.

    Raises:
        TunediffError: a question is too long and prompt.too_long is refuse, or the tokenizer reports no offsets.
    """
    if not tokenizer.is_fast:
        raise TunediffError(
            f"model.id: found {type(tokenizer).__name__}, which does not report token offsets; expected a model with "
            "a tokenizer.json"
        )
    limit = min(context, prompt.max_tokens or context)
    room = limit - prompt.doc_stride - 1
    documents, too_long = [], []
    for case in cases:
        inputs = dict(case.inputs)
        whole = _single_window(tokenizer, inputs)
        beside = len(whole.tokens) - len(whole.offsets)
        truncated = len(whole.tokens) > limit and beside > room
        if truncated:
            too_long.append((beside, case.case_id))
            if prompt.too_long == "truncate":
                inputs["question"] = _cut_question(tokenizer, inputs, room)
                whole = _single_window(tokenizer, inputs)
        if len(whole.tokens) - len(whole.offsets) <= (room if truncated else limit):
            windows, text = _windows(whole, limit, prompt.doc_stride), inputs["context"]
            pieces = [text[window.offsets[0][0] : window.offsets[-1][1]] for window in windows if len(windows) > 1]
            read = content_hash([inputs["question"], pieces or [text]])
            documents.append(Document(windows, read, len(whole.tokens), truncated))
    if len(documents) < len(cases):
        length, case_id = max(too_long)
        raise TunediffError(
            f"case {case_id}: found {length} tokens besides the context, the most of {len(too_long):,} too long cases "
            f"among {len(cases):,}, expected at most {room} (the model's context or prompt.max_tokens, minus "
            "prompt.doc_stride and one); set prompt.doc_stride lower, or prompt.too_long: truncate"
        )
    return documents


def _single_window(tokenizer: "PreTrainedTokenizerBase", inputs: Mapping[str, str]) -> Window:
    """Question and context as a single window of any length."""
    question, context = inputs["question"], inputs["context"]
    pair = tokenizer.sep_token_id is not None
    texts = (question, context) if pair else (f"{question}\n{context}",)
    row = tokenizer(*texts, add_special_tokens=True, split_special_tokens=True, return_offsets_mapping=True)
    shift = 0 if pair else len(question) + 1
    sequence = 1 if pair else 0
    places = [
        place
        for place, (number, (_, end)) in enumerate(zip(row.sequence_ids(0), row["offset_mapping"], strict=True))
        if number == sequence and end > shift
    ]
    first, last = (places[0], places[-1]) if places else (len(row["input_ids"]), -1)
    offsets = [
        _stripped(context, max(start - shift, 0), end - shift) for start, end in row["offset_mapping"][first : last + 1]
    ]
    return Window(row["input_ids"], row.get("token_type_ids"), first, offsets)


def _stripped(context: str, start: int, end: int) -> tuple[int, int]:
    """The character range from `start` to `end` without white space at either end."""
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    return start, end


def _windows(whole: Window, limit: int, doc_stride: int) -> list[Window]:
    n, first = len(whole.offsets), whole.first
    size = limit - (len(whole.tokens) - n)
    if n <= size:
        return [whole]
    # The last window is the first one that reaches the end of the context.
    starts = range(0, n - doc_stride, size - doc_stride)
    return [
        Window(
            _piece(whole.tokens, first, n, at, size),
            None if whole.token_types is None else _piece(whole.token_types, first, n, at, size),
            first,
            whole.offsets[at : at + size],
        )
        for at in starts
    ]


def _piece(row: list[int], first: int, n: int, at: int, size: int) -> list[int]:
    """A row with only `size` of its `n` context values, which start at `first`: those from the `at`-th on."""
    return [*row[:first], *row[first : first + n][at : at + size], *row[first + n :]]


def _cut_question(tokenizer: "PreTrainedTokenizerBase", inputs: Mapping[str, str], room: int) -> str:
    def beside(shorter: Mapping[str, str]) -> int:
        whole = _single_window(tokenizer, {**inputs, **shorter})
        return len(whole.tokens) - len(whole.offsets)

    return cut({"question": inputs["question"]}, room, beside)["question"]
