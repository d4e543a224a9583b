"""Answers from a span head: every stretch of the context is a candidate, and so is that there is no answer.

    [found] = find_spans(model, documents, pad=0, batch_tokens=8192, max_answer_tokens=30, title="base")
    start, end, score = found.spans[0]           # context[start:end] is the answer, in the context's own letters
    score > found.null                           # whether the model holds it likelier than that there is none

A span scores the logit of its first token as a start and that of its last one as an end, in float64. That there is no
answer scores the same two logits of the row's first token ([CLS], BOS, or what stands there), the least of all windows:
a window without the answer may well say so. All pairs of tokens are looked at, so nothing depends on how many of the
likeliest starts and ends are kept, as it does in transformers' run_qa (https://github.com/huggingface/transformers,
examples/pytorch/question-answering/utils_qa.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from tunediff.engines.local.batching import run_batches
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.windows import Document, Window
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds

if TYPE_CHECKING:
    from torch import Tensor

# Candidates that are kept of a case, as in run_qa.
N_BEST = 20
# The place in a row that says: no answer here.
NULL = 0


class Span(NamedTuple):
    """A stretch of the context in characters from 0, the end exclusive, and its score."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Found:
    """The likeliest spans of a case, the best first, at most N_BEST, and the score of there being none."""

    spans: list[Span]
    null: float


def find_spans(
    model: Network,
    documents: Sequence[Document],
    pad: int,
    batch_tokens: int,
    max_answer_tokens: int,
    title: str,
) -> list[Found]:
    """What a span head finds in each document, in the order of the documents.

    Args:
        model: a model with a span head, with or without an adapter.
        documents: the cases in windows.
        pad: the id that pads rows.
        batch_tokens: tokens of one batch.
        max_answer_tokens: a longer span is no candidate.
        title: what the progress bar says.
    """
    windows = [window for document in documents for window in document.windows]

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[tuple[list[Span], float]]:
        device = next(model.parameters()).device
        rows = [windows[i] for i in batch]
        scored = model(**{name: values.to(device) for name, values in pad_rows(rows, pad).items()})
        found = best_spans(scored.start_logits.double(), scored.end_logits.double(), rows, max_answer_tokens)
        return [(one.spans, one.null) for one in found]

    tokens = [window.tokens for window in windows]
    kinds = batch_kinds(model.config, list(map(len, tokens)))
    answers = run_batches(tokens, batch_tokens, answer, title, kinds)
    found = iter([Found([Span(*span) for span in spans], null) for spans, null in answers])
    return [_merged([next(found) for _ in document.windows]) for document in documents]


def best_spans(starts: "Tensor", ends: "Tensor", windows: Sequence[Window], max_answer_tokens: int) -> list[Found]:
    """The likeliest spans of each window.

    Args:
        starts: how well each token starts an answer, of shape (n_windows, width).
        ends: how well each token ends one, of the same shape.
        windows: the windows that were read; padding may follow them.
        max_answer_tokens: a longer span is no candidate.
    """
    width = starts.shape[1]
    length = min(max_answer_tokens, width)
    allowed = torch.zeros(starts.shape, dtype=torch.bool)
    for row, window in enumerate(windows):
        for place, (start, end) in enumerate(window.offsets, start=window.first):
            allowed[row, place] = start < end
    hidden = ~allowed.to(starts.device)
    never = float("-inf")
    # Of shape (n_windows, width, length): the token that starts, and how many tokens behind it the one that ends is.
    reach = torch.nn.functional.pad(ends.masked_fill(hidden, never), (0, length - 1), value=never).unfold(1, length, 1)
    pairs = (starts.masked_fill(hidden, never)[:, :, None] + reach).flatten(1)
    values, places = pairs.topk(min(N_BEST, pairs.shape[1]))
    nulls = (starts[:, NULL] + ends[:, NULL]).tolist()
    found = []
    for window, null, scores, at in zip(windows, nulls, values.tolist(), places.tolist(), strict=True):
        tokens = [(place // length - window.first, place // length - window.first + place % length) for place in at]
        spans = [
            Span(window.offsets[start][0], window.offsets[end][1], score)
            for (start, end), score in zip(tokens, scores, strict=True)
            if score > never
        ]
        found.append(Found(_ranked(spans), null))
    return found


def no_answer_log_probs(found: Found) -> list[float]:
    """Natural-log probabilities that there is an answer, and that there is none, from the two best scores.

    The log-softmax of (best span's score, null score): what the two would be if there were nothing else to choose.
    """
    best = found.spans[0].score if found.spans else float("-inf")
    log_probs: list[float] = torch.tensor([best, found.null], dtype=torch.float64).log_softmax(0).tolist()
    return log_probs


def _ranked(spans: Sequence[Span]) -> list[Span]:
    """The best N_BEST, each stretch once; of equals the one that starts first, then the shortest."""
    best: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: (-span.score, span.start, span.end)):
        best.setdefault((span.start, span.end), span)
    return list(best.values())[:N_BEST]


def _merged(found: Sequence[Found]) -> Found:
    return Found(_ranked([span for one in found for span in one.spans]), min(one.null for one in found))
