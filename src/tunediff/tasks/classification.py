"""Classification: one or more texts in, one label out. Natural language inference is the case of two texts.

A row of SNLI and the case that it becomes (`data.labels` is {0: entailment, 1: neutral, 2: contradiction}):

    {"premise": "A man is feeding two dogs.", "hypothesis": "A man feeds animals.", "label": 0}
    Case("a62f0c29d7ef4bd1", {"premise": "A man is feeding two dogs.", "hypothesis": ...}, "entailment")
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.rules import Rule
from tunediff.data.cases import MODELS, Case
from tunediff.data.leaks import WORD
from tunediff.data.sources import Row
from tunediff.data.values import key_of
from tunediff.inputs.ask import Ask
from tunediff.metrics.accuracy import Counts, confusion, degenerate_reason, per_class, repeated_accuracy, score
from tunediff.runtime.beside import beside
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.baselines import Answers, majority_label, marked, tfidf_logistic
from tunediff.tasks.columns import (
    cases_of,
    columns_fit,
    inputs_of,
    is_number,
    no_grades,
    no_options,
    tags_of,
    value_of,
)
from tunediff.tasks.families import Family, quarters, share, yes_no
from tunediff.tasks.grading import column, copied_columns, has_setting, likeliest
from tunediff.tasks.label_clauses import LABEL_CLAUSES
from tunediff.tasks.label_parsing import parse_answer
from tunediff.tasks.task import Chance, Tally, Task, Words
from tunediff.tasks.wording import wording

# Training cases from which on two classifiers are trained in two processes: then a fit takes a second.
MANY_CASES = 10_000


def several_labels(params: Params) -> str | None:
    """The rule that there are at least two labels."""
    if len(params.task.labels) > 1:
        return None
    return f"task.labels: found {params.task.labels}, expected at least two labels"


def values_fit(params: Params) -> str | None:
    """The rule that data.labels maps values to the labels of the task."""
    values, labels = params.data.labels, params.task.labels
    if values is None or set(values.values()) <= set(labels):
        return None
    return f"data.labels: maps to {sorted(set(values.values()))}, but task.labels is {labels}"


def _head_fits(params: Params) -> str | None:
    if params.model.head != "span":
        return None
    return f"model.head is span, but task.name is {params.task.name}"


def _choices_fit(params: Params) -> str | None:
    labels, choices = params.task.labels, params.prompt.choices
    if params.model.head != "lm" or set(choices or {}) == set(labels):
        return None
    return f"prompt.choices: found {sorted(choices or {})}, expected a text for each of task.labels {labels}"


# Features that make sense for pairs of texts only.
PAIR_FEATURES = ["negation", "overlap", "subsequence"]


@dataclass(frozen=True)
class Classification(Task):
    """Texts with one label each."""

    rules: ClassVar[Sequence[Rule]] = (
        several_labels,
        columns_fit("label"),
        values_fit,
        _head_fits,
        _choices_fit,
        no_grades,
        no_options,
    )

    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """Return the case of each row, in the order of the rows; None for a row without a gold label.

        Values of the label column are compared in the form of `tunediff.data.values.value_text`, so that `0` in the
        parameters also matches "0" in a CSV file. All invalid rows are reported together.

        Raises:
            TunediffError: a column is missing, a label is unknown, or an input is not text or is empty.
        """
        values = data.labels or {}
        mapped = {key_of(value): label for value, label in values.items()}
        if len(mapped) < len(values):
            raise TunediffError(f"data.labels: found {shown(list(values))}, expected values that differ as text")
        # A label can be given by its name, unless that is mapped to another label.
        labels = {key_of(name): name for name in self.labels} | mapped
        usual = mapped if set(mapped.values()) == set(self.labels) else labels
        unlabelled = {key_of(value) for value in data.unlabelled}

        def example(row: Row) -> tuple[Mapping[str, str], str, Sequence[str]] | None:
            value, *_ = [value_of(row, data.columns[name]) for name in ("label", *self.inputs)]
            if key_of(value) in unlabelled:
                return None
            if several := _several(value, labels):
                raise TunediffError(
                    f"{row.place}: {data.columns['label']}: found {shown(value)}, {several} labels for one case; "
                    "expected one label: multi-label classification is not supported, but each label can be a "
                    "yes/no task of its own"
                )
            if key_of(value) not in labels:
                expected = ", ".join(str(key) for key in usual)
                raise TunediffError(
                    f"{row.place}: {data.columns['label']}: found {shown(value)}, expected one of {expected}"
                    ", or a value that data.unlabelled lists"
                )
            inputs = inputs_of(row, self.inputs, data)
            return inputs, labels[key_of(value)], tags_of(row)

        return cases_of(rows, example)

    def ask(self, params: Params) -> Ask:
        """Ask for one of the labels, as a choice or as an output of the head."""
        if params.model.head != "lm":
            return Ask(answer="labels", names=list(self.labels))
        choices = {label: (params.prompt.choices or {})[label] for label in self.labels}
        written, stop = params.evaluate.scoring_method == "generation", params.prompt.stop or []
        return Ask(answer="text" if written else "choices", names=list(self.labels), choices=choices, stop=stop)

    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Return the prediction file; an answer is right if it names the gold label."""

        def labels(text: str, log_probs: str) -> list[str | None]:
            if ask.answer == "text":
                return [parse_answer(one, ask.choices) for one in answers[text]]
            return [ask.names[likeliest(row)] for row in answers[log_probs]]

        frame = copied_columns(cases, answers)
        frame["prediction"] = column(found := labels("text", "log_probs"))
        frame["outcome"] = self.outcomes(self.gold(cases), found)
        if "generated_text" in answers:
            frame["generated"] = column([parse_answer(text, ask.choices) for text in answers["generated_text"]])
        for setting in ("again", "seed"):
            if has_setting(answers, setting):
                frame[f"{setting}_prediction"] = column(labels(f"{setting}_text", f"{setting}_log_probs"))
        return frame

    @property
    def measured(self) -> tuple[str, ...] | None:
        return ("label", "prediction", "log_probs")

    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """Return the result of `tunediff.metrics.accuracy.score`."""
        return score(self.labels, frame["label"], frame["prediction"], frame["log_probs"])

    def module_inputs(self, features: Any, frame: pd.DataFrame) -> Mapping[str, Sequence[Any]] | None:
        """Return labels by name, or as indices into task.labels."""
        kind = getattr(features["predictions"], "dtype", "")
        gold = frame["label"].tolist()
        found = frame["prediction"].astype(object).where(frame["prediction"].notna(), None)
        if kind == "string":
            return {"predictions": [label or "" for label in found], "references": gold}
        if str(kind).startswith(("int", "float")):
            # An invalid answer gets an index that no label has, so that it is wrong.
            places = {None: -1} | {label: place for place, label in enumerate(self.labels)}
            return {"predictions": [places[label] for label in found], "references": [places[label] for label in gold]}
        return None

    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        """Yield the metrics as text, then one line per label."""
        counts = confusion(self.labels, frame["label"], frame["prediction"])
        yield (
            f"{metrics['accuracy']:.1%} ({metrics['accuracy_low']:.1%} to {metrics['accuracy_high']:.1%}), "
            f"balanced {metrics['balanced_accuracy']:.1%}, macro-F1 {metrics['macro_f1']:.3f}, "
            f"invalid {int(metrics['invalid']):,}, NLL {metrics['nll']:.3f}, Brier {metrics['brier']:.3f}"
        )
        for row in per_class(self.labels, counts):
            yield (
                f"{row['label']}: precision {row['precision']:.3f}, recall {row['recall']:.3f}, F1 {row['f1']:.3f}, "
                f"{row['support']:,} cases"
            )
        if reason := degenerate_reason(self.labels, counts):
            yield reason

    # For the comparison

    words = Words(
        measure="accuracy",
        gold="gold label",
        cases="cases",
        invalid=("names no label and counts", "name no label and count"),
        no_answer={None: "(no label)"},
        gain="Both models answered the same cases in several settings. A part is the amount by which the "
        "difference shrinks when that part is excluded",
        confusion="Each row is a gold label, each column an answer; the diagonal is right.",
        tags="Test cases have tags, such as the phenomenon that they test",
        probabilities="",
        method=(
            "An answer that names no label counts as wrong and stays in the denominator. A predictor is called "
            "degenerate if it gives one label to over 95 % of the cases or is no better than always giving the most "
            "frequent label.",
        ),
    )
    compared: ClassVar[tuple[str, ...]] = ("classes",)
    families: ClassVar[tuple[Family, ...]] = (
        Family("words", "length", quarters),
        Family("negation", "negation"),
        Family("number_words", "number words", yes_no),
        Family("overlap", "overlap", share),
        Family("subsequence", "subsequence", yes_no),
        Family("rare_words", "rare words"),
    )
    clauses = LABEL_CLAUSES
    figures = (
        *("n", "accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "macro_f1"),
        *("invalid", "nll", "brier", "degenerate"),
    )
    probabilities: ClassVar = {
        "nll": "Negative log-likelihood of the gold label, nats",
        "brier": "Brier score, 0 to 2",
        "ece": "Calibration error, 0 to 1",
    }
    hub: ClassVar[tuple[str, str]] = ("text-classification", "Text classification")

    @property
    def parts(self) -> dict[str, str]:
        return {
            "answer_format": "the answer format",
            "label_bias": "the label bias",
            "partial_input": f"cues in the {self.partial_input} alone",
            "residual": "the rest, which requires the whole case" if len(self.inputs) > 1 else "the rest",
        }

    def classes(self, answers: Iterable[str | None]) -> list[str | None]:
        return list(answers)

    def gold(self, cases: Sequence[Case]) -> list[str]:
        return [case.label for case in cases]

    def right(self, gold: str, answer: str) -> bool:
        return answer == gold

    def chance(self, tally: Tally) -> Chance | None:
        return Chance(1 / len(self.labels), f"guessing among {len(self.labels)} labels") if self.labels else None

    def degenerate(self, tally: Tally) -> str | None:
        reason = degenerate_reason(self.labels, self._counts(tally)) if self.labels else None
        if reason is None:
            return None
        # The name of the check already says this.
        words = reason.removeprefix("Degenerate predictor: ")
        return words[0].upper() + words[1:]

    def one_label(self, tally: Tally) -> str | None:
        found = {label for label, _ in tally}
        return found.pop() if len(found) == 1 else None

    def repeated(self, metrics: Mapping[str, float], tally: Tally) -> list[str]:
        return repeated_accuracy(metrics, self.labels, self._counts(tally)) if self.labels else []

    def _counts(self, tally: Tally) -> Counts:
        """The confusion of `tunediff.metrics.accuracy.confusion`."""
        place = {label: at for at, label in enumerate(self.labels)}
        counts = np.zeros((len(place), len(place) + 1), dtype=np.int64)
        for (label, answer), cases in tally.items():
            counts[place[label], place.get(answer or "", -1)] += cases
        return counts

    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """Return the answers of majority, bag_of_words, partial_input, calibrated_base and few_shot_base.

        bag_of_words reads all inputs, and distinguishes a word of one input from the same word of another.
        partial_input reads the partial input only, and is the only one of the two if the task has one input. Both are
        omitted if the training cases have a single label or no word. Without training cases, only the last two remain.
        """
        labels = [case.label for case in train]
        answers: dict[str, Answers] = {"majority": [majority_label(labels)] * len(test)} if train else {}

        def answers_from(inputs: Sequence[str]) -> list[str]:
            learned, tested = ([marked(case, inputs) for case in split] for split in (train, test))
            return tfidf_logistic(learned, labels, tested)

        several = len(self.inputs) > 1
        if len(set(labels)) > 1 and any(WORD.search(text) for case in train for text in case.inputs.values()):
            at_once = several and len(train) > MANY_CASES
            with beside(partial(answers_from, [self.partial_input]), "the baseline of one input", at_once) as of_one:
                of_all = {"bag_of_words": answers_from(self.inputs)} if several else {}
                answers |= {"partial_input": of_one()} | of_all
        return answers | {name: base[name] for name in ("calibrated_base", "few_shot_base") if name in base}

    @property
    def baseline_names(self) -> dict[str, str]:
        return {
            "majority": "majority label",
            "bag_of_words": "bag of words of all inputs",
            "partial_input": "bag of words of one input",
            "calibrated_base": "base model without its label bias",
            "few_shot_base": "base model with examples in its prompt",
        }

    @property
    def baseline_phrases(self) -> dict[str, str]:
        one_input = f" that reads only the {self.partial_input}" if len(self.inputs) > 1 else ""
        return {
            "majority": "always giving the most frequent training label",
            "partial_input": f"a bag-of-words classifier{one_input}",
        }

    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        texts = wording(cases, self.inputs, self.partial_input, train)
        # Comparisons of an input with the others need exactly two inputs.
        return texts if len(self.inputs) == 2 else texts.drop(columns=PAIR_FEATURES, errors="ignore")

    def case_evidence(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        texts = self.features(cases)
        found = {name: texts[name].tolist() for name in ("negation", "overlap", "subsequence") if name in texts}
        if len(self.inputs) > 1:
            others = " and ".join(name for name in self.inputs if name != self.partial_input)
            found |= {"alone": [self.partial_input] * len(cases), "others": [others] * len(cases)}
        return found

    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        for who in MODELS:
            answer = record.get(f"{who}_prediction", 0)
            if not (answer is None or answer in self.labels):
                raise TunediffError(f"{place}: {who}_prediction: found {shown(answer)}, expected null or a label")
            scores = record.get(f"{who}_log_probs")
            numbers = scores if isinstance(scores, list) and all(map(is_number, scores)) else []
            if len(numbers) != len(self.labels):
                expected = f"{len(self.labels)} numbers, one per label"
                raise TunediffError(f"{place}: {who}_log_probs: found {shown(scores)}, expected {expected}")
            if not is_number(record.get(f"{who}_margin", 0.0)):
                found = shown(record[f"{who}_margin"])
                raise TunediffError(f"{place}: {who}_margin: found {found}, expected a number of nats")
        return dict(record)


def _several(value: object, labels: Mapping[str | None, str]) -> int:
    """The number of labels in a cell, in a list or between separators; 0 if it is at most one."""
    if isinstance(value, list | tuple | set):
        return len(value)
    if not isinstance(value, str) or key_of(value) in labels:
        return 0
    found = (value.split(separator) for separator in "|;,")
    return next((len(each) for each in found if len(each) > 1 and all(key_of(one) in labels for one in each)), 0)


@dataclass(frozen=True)
class Inference(Classification):
    """Natural language inference: whether the hypothesis follows from the premise."""

    hub = ("text-classification", "Natural language inference")
