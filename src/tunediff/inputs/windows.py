"""A question and its document as a model with a span head reads them: in windows, with the place of every token.

    [document] = read_documents(tokenizer, [case], prompt, context=512)
    document.windows[0].offsets[0]          # (0, 3): where the context's first token stands in it, in characters

A tokenizer with a form of its own for two texts gives that form, as `[CLS] question [SEP] context [SEP]`; any other
reads the question, a line end and the context as one text. What is too long is read in windows: all of the question
in each, and of the context as many tokens as there is room for, `prompt.doc_stride` of them those that end the window
before. These are the windows of transformers' run_qa.
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
    """One window: the row; the place in it of its first context token; of each context token the characters.

    Characters are counted in the whole context, from 0, the end exclusive, white space at either side left out: a
    token of white space alone has none, and an answer neither starts nor ends with it.
    """

    first: int
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class Document:
    """The windows of one case; the hash of what was read, its tokens, and whether the question was cut."""

    windows: list[Window]
    prompt_hash: str
    n_tokens: int
    truncated: bool


def read_documents(
    tokenizer: "PreTrainedTokenizerBase", cases: Sequence[Case], prompt: Prompt, context: int
) -> list[Document]:
    """Every case in windows, in the order of the cases.

    A question is cut, from its end, where prompt.too_long says so and beside it there would be no room for
    `doc_stride` tokens of the context and another one.

    Raises:
        TunediffError: a question is too long and prompt.too_long is refuse; or the tokenizer does not tell where its
            tokens stand.
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
        whole = _whole(tokenizer, inputs)
        beside = len(whole.tokens) - len(whole.offsets)
        truncated = len(whole.tokens) > limit and beside > room
        if truncated:
            too_long.append((beside, case.case_id))
            if prompt.too_long == "truncate":
                inputs["question"] = _cut_question(tokenizer, inputs, room)
                whole = _whole(tokenizer, inputs)
        if len(whole.tokens) - len(whole.offsets) <= (room if truncated else limit):
            windows, text = _windows(whole, limit, prompt.doc_stride), inputs["context"]
            pieces = [text[window.offsets[0][0] : window.offsets[-1][1]] for window in windows if len(windows) > 1]
            read = content_hash([inputs["question"], pieces or [text]])
            documents.append(Document(windows, read, len(whole.tokens), truncated))
    if len(documents) < len(cases):
        length, case_id = max(too_long)
        raise TunediffError(
            f"case {case_id}: found {length} tokens beside the context, the most among {len(cases):,} cases of which "
            f"{len(too_long):,} have too many, expected at most {room} (the model's context or prompt.max_tokens, "
            "minus prompt.doc_stride and one); set prompt.doc_stride lower, or prompt.too_long: truncate"
        )
    return documents


def _whole(tokenizer: "PreTrainedTokenizerBase", inputs: Mapping[str, str]) -> Window:
    """Question and context as one window, however long."""
    question, context = inputs["question"], inputs["context"]
    pair = tokenizer.sep_token_id is not None
    texts = (question, context) if pair else (f"{question}\n{context}",)
    row = tokenizer(*texts, add_special_tokens=True, split_special_tokens=True, return_offsets_mapping=True)
    shift = 0 if pair else len(question) + 1
    part = 1 if pair else 0
    places = [
        place
        for place, (text, (_, end)) in enumerate(zip(row.sequence_ids(0), row["offset_mapping"], strict=True))
        if text == part and end > shift
    ]
    first, last = (places[0], places[-1]) if places else (len(row["input_ids"]), -1)
    offsets = [
        _filled(context, max(start - shift, 0), end - shift) for start, end in row["offset_mapping"][first : last + 1]
    ]
    return Window(row["input_ids"], row.get("token_type_ids"), first, offsets)


def _filled(context: str, start: int, end: int) -> tuple[int, int]:
    """The characters from `start` to `end`, less the white space at either side."""
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
    """A row with no more than `size` of the `n` values that start at `first`: those from `at` on."""
    return [*row[:first], *row[first : first + n][at : at + size], *row[first + n :]]


def _cut_question(tokenizer: "PreTrainedTokenizerBase", inputs: Mapping[str, str], room: int) -> str:
    def beside(shorter: Mapping[str, str]) -> int:
        whole = _whole(tokenizer, {**inputs, **shorter})
        return len(whole.tokens) - len(whole.offsets)

    return cut({"question": inputs["question"]}, room, beside)["question"]
