"""Answers from a span head: the candidates are all spans of the context, and no answer.

    [found] = find_spans(model, documents, pad=0, batch_tokens=8192, max_answer_tokens=30, title="base")
    start, end, score = found.spans[0]           # the answer is context[start:end]
    score > found.null                           # whether the model prefers it to no answer

The score of a span is the start logit of its first token plus the end logit of its last token, in float64. The score of
no answer is that sum for the first token of the row ([CLS] or BOS), the minimum over all windows, because a window that
does not contain the answer rightly scores it high. All pairs of tokens are considered, whereas transformers' run_qa
(https://github.com/huggingface/transformers, examples/pytorch/question-answering/utils_qa.py) keeps only the likeliest
starts and ends.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from tunediff.engines.local.batching import run_batches
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.windows import Document, Window
from tunediff.models.load import Network
from tunediff.models.logits import batch_kinds

if TYPE_CHECKING:
    from torch import Tensor

# Number of candidates to keep per case, as in run_qa.
N_BEST = 20
# The position in a row whose logits mean no answer.
NULL = 0


class Span(NamedTuple):
    """A span of the context in characters, from 0, with an exclusive end, and its score."""

    start: int
    end: int
    score: float


class Found(NamedTuple):
    """The likeliest spans of a case, best first, at most N_BEST, and the score of no answer."""

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
    """Find the likeliest spans of each document with a span head, in the order of the documents.

    Args:
        model: a model with a span head, with or without an adapter.
        documents: the cases in windows.
        pad: the padding id.
        batch_tokens: tokens per batch.
        max_answer_tokens: maximum number of tokens of a span.
        title: label of the progress bar.
    """
    windows = [window for document in documents for window in document.windows]

    @torch.inference_mode()
    def answer(batch: list[int]) -> list[Found]:
        device = next(model.parameters()).device
        rows = [windows[i] for i in batch]
        scored = model(**{name: values.to(device) for name, values in pad_rows(rows, pad).items()})
        return best_spans(scored.start_logits.double(), scored.end_logits.double(), rows, max_answer_tokens)

    tokens = [window.tokens for window in windows]
    kinds = batch_kinds(model.config, list(map(len, tokens)))
    answers = run_batches(tokens, batch_tokens, answer, title, kinds)
    found = iter([Found([Span(*span) for span in spans], null) for spans, null in answers])
    return [_merged([next(found) for _ in document.windows]) for document in documents]


def best_spans(starts: "Tensor", ends: "Tensor", windows: Sequence[Window], max_answer_tokens: int) -> list[Found]:
    """Return the likeliest spans of each window.

    Args:
        starts: start logits, of shape (n_windows, width).
        ends: end logits, of the same shape.
        windows: the windows; padding may follow them.
        max_answer_tokens: maximum number of tokens of a span.
    """
    width = starts.shape[1]
    length = min(max_answer_tokens, width)
    allowed = torch.zeros(starts.shape, dtype=torch.bool)
    for row, window in enumerate(windows):
        for place, (start, end) in enumerate(window.offsets, start=window.first):
            allowed[row, place] = start < end
    hidden = ~allowed.to(starts.device)
    never = float("-inf")
    # Of shape (n_windows, width, length): the first token, and the distance of the last token from it.
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
    """Return the log-probabilities in nats that there is an answer and that there is none.

    They are the log-softmax of the score of the best span and the score of no answer, as if these were the only two
    candidates.
    """
    best = found.spans[0].score if found.spans else float("-inf")
    log_probs: list[float] = torch.tensor([best, found.null], dtype=torch.float64).log_softmax(0).tolist()
    return log_probs


def _ranked(spans: Sequence[Span]) -> list[Span]:
    """The N_BEST spans with the highest scores, each once; ties are broken by the earlier start, then the length."""
    best: dict[tuple[int, int], Span] = {}
    for span in sorted(spans, key=lambda span: (-span.score, span.start, span.end)):
        best.setdefault((span.start, span.end), span)
    return list(best.values())[:N_BEST]


def _merged(found: Sequence[Found]) -> Found:
    return Found(
        _ranked([span for candidates in found for span in candidates.spans]),
        min(candidates.null for candidates in found),
    )
