"""What each head learns from a case: its training rows, how they become a batch, and the loss of a batch.

target = TARGETS["classification"]
rows = target.rows(loaded, cases, ["entailment", "neutral", "contradiction"], prompt)     # a list per case
target.loss(model, target.batch([row for case_rows in rows for row in case_rows], pad=0))
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from tunediff.config.prompt import Prompt
from tunediff.data.cases import Case
from tunediff.inputs.chat import check_spelling
from tunediff.inputs.joins import join
from tunediff.inputs.padding import pad_rows
from tunediff.inputs.prompts import Encoded, Row, answer_text, encode_cases, option_texts, render_cases
from tunediff.inputs.tokens import encode_prompts, encode_text
from tunediff.models.heads import label_scores
from tunediff.models.load import Loaded, Network
from tunediff.runtime.errors import TunediffError
from tunediff.training.chat_rows import chat_rows, prove_parity
from tunediff.training.loss import Batch, Loss, answer_loss, answer_rows, pad_answers
from tunediff.training.span_targets import pad_spans, span_loss, span_rows

# Encoders whose classifier reads only the pooler or the first token.
READ_FIRST = {"albert", "bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}


class Target(NamedTuple):
    """How a head learns. A row is a pair, of which the first element is what the model reads."""

    rows: Callable[[Loaded, Sequence[Case], Sequence[str], Prompt], list[list[Any]]]  # the rows of each case
    batch: Callable[..., Batch]
    loss: Callable[..., Loss]
    length: Callable[[Any], int]  # number of tokens of a row that are read
    after_prompt: bool = False  # whether the targets follow a prompt, which may have a weight and a common prefix
    # Further columns of an epoch, from the sums of the counts of `loss` over the validation split.
    figures: Callable[[Mapping[str, float]], dict[str, float]] = lambda totals: {}  # noqa: ARG005
    # The hidden states that the head reads in a row of a given length; None: the base is never frozen.
    places: Callable[[Network], Callable[[int], slice]] | None = None


def written_rows(
    loaded: Loaded, cases: Sequence[Case], labels: Sequence[str], prompt: Prompt
) -> list[list[tuple[list[int], int]]]:
    """Return the row of each case: its prompt, the gold answer and the end of the text or, in a chat, of the turn.

    See `loss.answer_rows`.
    """
    tokenizer = loaded.tokenizer
    check_spelling(tokenizer, prompt)
    golds, choices = _answers(cases, labels, prompt)
    options = [option_texts(case, prompt) for case in cases]
    if prompt.messages is not None:
        return [[row] for row in chat_rows(loaded, cases, golds, choices, prompt)]
    texts = [own_options or choices or [gold] for own_options, gold in zip(options, golds, strict=True)]
    end = tokenizer.eos_token_id
    ending = int(end is not None)
    longest = max(len(encode_text(tokenizer, text)) for text in dict.fromkeys(chain.from_iterable(texts)))

    def count(prompts: Sequence[str]) -> list[int]:
        return list(map(len, encode_prompts(tokenizer, prompts)))

    prompts = [row.text for row in render_cases(cases, prompt, count, loaded.context, longest + ending)]
    joined = join(tokenizer, prompts, texts, loaded.context - ending, none_begins=not any(options))
    answers = [joint.answers[row.index(gold)] for joint, row, gold in zip(joined, texts, golds, strict=True)]
    return [[row] for row in answer_rows([joint.prompt for joint in joined], answers, end)]


def _answers(cases: Sequence[Case], labels: Sequence[str], prompt: Prompt) -> tuple[list[str], list[str]]:
    """The gold answer of each case, and all choices, which determine the boundary between prompt and answer."""
    choices = [prompt.choices[label] for label in labels] if prompt.choices else []
    golds = [
        option_texts(case, prompt)[labels.index(case.label)] if case.options else answer_text(case, prompt)
        for case in cases
    ]
    return golds, choices


def labelled_rows(
    loaded: Loaded, cases: Sequence[Case], labels: Sequence[str], prompt: Prompt
) -> list[list[tuple[Encoded, int]]]:
    """Return the row of each case: what the model reads, with the index of its gold label."""
    encoded = encode_cases(loaded.tokenizer, cases, prompt, loaded.context)
    return [[(row, labels.index(case.label))] for row, case in zip(encoded, cases, strict=True)]


def pad_labels(rows: Sequence[tuple[Encoded, int]], pad: int) -> Batch:
    """Return a batch of `pad_rows` with the indices of the gold labels."""
    return pad_rows([row for row, _ in rows], pad) | {"labels": torch.tensor([label for _, label in rows])}


def label_loss(model: Network, batch: Batch) -> Loss:
    """Compute the cross-entropy of the gold labels, and count right answers; a case is one target."""
    labels = batch["labels"]
    scores = label_scores(model, {name: values for name, values in batch.items() if name != "labels"}).float()
    total = cross_entropy(scores, labels, reduction="sum")
    predicted = scores.detach().argmax(-1)
    counts = {"right": (predicted == labels).sum()}
    if scores.shape[-1] == 2:  # the last label is the positive one, as in the metrics
        counts |= {"hits": (predicted & labels).sum(), "predicted": predicted.sum(), "gold": labels.sum()}
    return Loss(total, torch.tensor(len(labels), device=labels.device), total, counts)


def label_figures(totals: Mapping[str, float]) -> dict[str, float]:
    """Return the accuracy on the validation split and, with two labels, precision, recall and F1 of the last one.

    Args:
        totals: the sums of the counts of `label_loss`.

    Returns:
        Shares in 0..1.
    """
    found = {"validation_accuracy": totals["right"] / max(1.0, totals["targets"])}
    if "hits" in totals:
        hits, predicted, gold = (totals[name] for name in ("hits", "predicted", "gold"))
        shares = {"precision": (hits, predicted), "recall": (hits, gold), "f1": (2 * hits, predicted + gold)}
        found |= {f"validation_{name}": part / max(1.0, whole) for name, (part, whole) in shares.items()}
    return found


def _label_places(model: Network) -> Callable[[int], slice]:
    if hasattr(model, "score"):  # a decoder: see models.heads.label_scores
        return lambda length: slice(length - 1, length)
    if model.config.model_type in READ_FIRST:
        return lambda _: slice(0, 1)
    return _every_place(model)


def _every_place(model: Network) -> Callable[[int], slice]:  # noqa: ARG001
    return lambda length: slice(0, length)


def _written_length(row: tuple[list[int], int]) -> int:
    return len(row[0]) - 1  # nothing follows the last token


def _read_length(row: tuple[Row, Any]) -> int:
    return len(row[0].tokens)


TARGETS: dict[str, Target] = {
    "lm": Target(written_rows, pad_answers, answer_loss, _written_length, after_prompt=True),
    "classification": Target(
        labelled_rows, pad_labels, label_loss, _read_length, figures=label_figures, places=_label_places
    ),
    "span": Target(span_rows, pad_spans, span_loss, _read_length, places=_every_place),
}


def training_rows(loaded: Loaded, cases: Sequence[Case], labels: Sequence[str], prompt: Prompt, head: str) -> list[Any]:
    """Return the training rows of the cases, in their order; see `TARGETS`.

    Raises:
        TunediffError: there are cases, but none of them gives a row.
    """
    rows = list(chain.from_iterable(TARGETS[head].rows(loaded, cases, labels, prompt)))
    if cases and not rows:
        raise TunediffError(
            f"data: found no gold answer of {len(cases):,} cases in its context, where a span head looks for "
            "it; expected answers that occur there, or model.head: lm"
        )
    return rows


def row_case_ids(loaded: Loaded, cases: Sequence[Case], labels: Sequence[str], prompt: Prompt, head: str) -> list[str]:
    """Return the id of the case of each row of `training_rows`."""
    rows = TARGETS[head].rows(loaded, cases, labels, prompt)
    return [case.case_id for case, each in zip(cases, rows, strict=True) for _ in each]


def parity(
    loaded: Loaded, cases: Sequence[Case], labels: Sequence[str], prompt: Prompt, rows: Sequence[tuple[list[int], int]]
) -> dict[str, int]:
    """Check that rows of `training_rows` are what a chat model is asked, see `prove_parity`; else return nothing."""
    if prompt.messages is None:
        return {}
    return prove_parity(loaded, cases, *_answers(cases, labels, prompt), prompt, rows)
