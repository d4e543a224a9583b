"""Training rows of a span head: windows with the positions of the first and the last token of the answer.

    rows = span_rows(loaded, cases, [], prompt)     # for each case: [(window, (17, 19)), (window, (0, 0)), ...]
    span_loss(model, pad_spans(rows[0], pad=0))

Both positions are `NULL` in a window that does not contain the whole answer, and for a question without an answer. A
case whose gold answers do not occur in the context gives no rows.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers.modeling_layers import GenericForQuestionAnswering

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.engines.local.spans import NULL
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.windows import Window, read_documents
from tunediff.models.load import Loaded, Network
from tunediff.training.loss import Batch, Loss

SpanRow = tuple[Window, tuple[int, int]]


def span_rows(
    loaded: Loaded,
    cases: Sequence[Case],
    labels: Sequence[str],  # noqa: ARG001
    prompt: Prompt,
) -> list[list[SpanRow]]:
    """Return the windows of each case with the positions of the first and the last token of the answer.

    The answer is the first gold answer that occurs in the context at its start.
    """
    documents = read_documents(loaded.tokenizer, cases, prompt, loaded.context)
    return [
        [(window, _places(window, _gold(case))) for window in document.windows if not case.answers or _gold(case)]
        for case, document in zip(cases, documents, strict=True)
    ]


def _gold(case: Case) -> tuple[int, int] | None:
    """The character range of the gold answer in the context, without white space at either end."""
    for text, start in case.answers:
        if start is not None and text.strip() and case.inputs["context"].startswith(text, start):
            at = start + len(text) - len(text.lstrip())
            return at, at + len(text.strip())
    return None


def _places(window: Window, gold: tuple[int, int] | None) -> tuple[int, int]:
    filled = [place for place, (start, end) in enumerate(window.offsets) if start < end]
    if gold is None or not filled:
        return NULL, NULL
    start, end = gold
    if start < window.offsets[filled[0]][0] or end > window.offsets[filled[-1]][1]:
        return NULL, NULL
    first = next(place for place in filled if window.offsets[place][1] > start)
    last = next(place for place in reversed(filled) if window.offsets[place][0] < end)
    return window.first + first, window.first + last


def pad_spans(rows: Sequence[SpanRow], pad: int) -> Batch:
    """Return a batch of `pad_rows` with start_positions and end_positions of shape (n_rows,)."""
    starts, ends = zip(*(places for _, places in rows), strict=True)
    places = {"start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)}
    return pad_rows([window for window, _ in rows], pad) | places


def span_loss(model: Network, batch: Batch) -> Loss:
    """Compute the mean of the cross-entropies of start and end, as in transformers; a window is one target.

    Unlike in transformers, padding gets no probability, so the loss of a row does not depend on its batch.
    """
    places = batch["start_positions"], batch["end_positions"]
    network = model.get_base_model() if hasattr(model, "peft_config") else model
    # Encoders have no cache and do not accept the argument.
    options = {"use_cache": False} if isinstance(network, GenericForQuestionAnswering) else {}
    scored = model(**{name: values for name, values in batch.items() if not name.endswith("_positions")}, **options)
    padding = batch["attention_mask"] == 0
    total = sum(
        cross_entropy(logits.float().masked_fill(padding, float("-inf")), gold, reduction="sum") / 2
        for logits, gold in zip((scored.start_logits, scored.end_logits), places, strict=True)
    )
    assert isinstance(total, torch.Tensor)
    return Loss(total, torch.tensor(len(padding), device=padding.device), total)
