"""The metrics of this project as modules of `evaluate`, which combine with any other and need no network.

    import evaluate
    from tunediff.metrics.modules import Bleu, Rouge

    texts = evaluate.combine([Bleu(), Rouge()])
    texts.compute(predictions=["the cat sat"], references=[["a cat sat", "the cat sat down"]])["rougeL"]

A module has the numbers, the keys and the scale of the function behind it. For whoever imports it: `evaluate` takes
seconds to import, so nothing of this project does.
"""

from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, Value
from datasets import Sequence as ListOf

from tunediff.metrics.classification import label_scores
from tunediff.metrics.text import bleu_counts, bleu_dictionary, meteor_cases, meteor_name, rouge_cases
from tunediff.squad import squad_scores, squad_v2_scores

_TEXT = Value("string")
_ANSWERS = {"id": _TEXT, "answers": {"text": ListOf(_TEXT), "answer_start": ListOf(Value("int32"))}}
_TEXTS = Features({"predictions": _TEXT, "references": ListOf(_TEXT)})


class Classification(evaluate.Metric):
    """Accuracy with its interval, balanced accuracy, macro-F1; precision, recall and F1 of the last of two labels.

    predictions, references: labels, as texts or as whole numbers. labels: their list, with the positive one last;
    without it the labels that occur, sorted.
    """

    def _info(self) -> evaluate.MetricInfo:
        kinds = [Features({"predictions": kind, "references": kind}) for kind in (_TEXT, Value("int64"))]
        return _about(self, kinds)

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], labels: Sequence[Any] | None = None
    ) -> dict[str, float]:
        names = [str(label) for label in labels or sorted({*predictions, *references})]
        return label_scores(names, map(str, references), map(str, predictions))


class Squad(evaluate.Metric):
    """Exact match and F1 of SQuAD 1.1, in 0..100, with the inputs of the hub's module of that name."""

    def _info(self) -> evaluate.MetricInfo:
        answer = {"id": _TEXT, "prediction_text": _TEXT}
        return _about(self, Features({"predictions": answer, "references": _ANSWERS}))

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return squad_scores(*_by_id(predictions, references))


class SquadV2(evaluate.Metric):
    """The dictionary of SQuAD 2.0, in 0..100, with the inputs of the hub's module of that name."""

    def _info(self) -> evaluate.MetricInfo:
        answer = {"id": _TEXT, "prediction_text": _TEXT, "no_answer_probability": Value("float64")}
        return _about(self, Features({"predictions": answer, "references": _ANSWERS}))

    def _compute(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        no_answer = [one["no_answer_probability"] for one in predictions]
        return squad_v2_scores(*_by_id(predictions, references), no_answer)


class Bleu(evaluate.Metric):
    """BLEU by sacrebleu, in 0..100, with precisions, brevity penalty and lengths."""

    def _info(self) -> evaluate.MetricInfo:
        return _about(self, _TEXTS)

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return bleu_dictionary(bleu_counts(references, predictions).sum(axis=0))


class Rouge(evaluate.Metric):
    """F-measure of ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum by rouge-score, in 0..1."""

    def _info(self) -> evaluate.MetricInfo:
        return _about(self, _TEXTS)

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return {name: float(scores.mean()) for name, scores in rouge_cases(references, predictions).items()}


class Meteor(evaluate.Metric):
    """METEOR by nltk, in 0..1; meteor_without_synonyms where there is no WordNet."""

    def _info(self) -> evaluate.MetricInfo:
        return _about(self, _TEXTS)

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return {meteor_name(): float(meteor_cases(references, predictions).mean())}


def _about(module: evaluate.Metric, features: Features | list[Features]) -> evaluate.MetricInfo:
    text = module.__doc__ or ""
    return evaluate.MetricInfo(description=text, citation="", inputs_description=text, features=features)


def _by_id(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[list[list[str]], list[str]]:
    """Reference texts and predicted text of each question, in the order of the predictions."""
    texts = {one["id"]: list(one["answers"]["text"]) for one in references}
    return [texts[one["id"]] for one in predictions], [one["prediction_text"] for one in predictions]
