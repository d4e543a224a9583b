"""The interface of tasks: cases, questions to the model, grading, metrics, and what the comparison needs.

task = task_of(params.task)
task.cases(rows, params.data)                  # the cases that splits are sampled from
frame = task.grade(cases, answers, ask)         # raw answers of a model -> its prediction file
task.words.measure                              # "accuracy"

No code outside of this package depends on the kind of task: every difference is an attribute or a method here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import pandas as pd

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.rules import Rule
from tunediff.config.task import TaskSection
from tunediff.data.cases import INVALID, RIGHT, WRONG, Case
from tunediff.data.sources import Row
from tunediff.inputs.ask import Ask
from tunediff.tasks.answer_traits import Trait
from tunediff.tasks.baselines import Answers
from tunediff.tasks.clauses import Rules
from tunediff.tasks.families import Family
from tunediff.tasks.gold_answers import with_answers

# Number of cases by gold label and the label that a model's answer stands for; None if invalid or not a label.
Tally = Mapping[tuple[str, str | None], int]


class Chance(NamedTuple):
    """The accuracy of guessing in 0..1, and a description of the guess."""

    share: float
    words: str


@dataclass(frozen=True)
class Words:
    """Words of a task for sentences."""

    measure: str  # name of the share of right cases
    gold: str  # name of the right answer
    cases: str  # name of the cases, such as "questions"
    invalid: tuple[str, str]  # predicate of an answer that cannot be parsed, singular and plural
    no_answer: Mapping[str | None, str]  # text for invalid (None) and empty ("") answers
    gain: str  # explanation of the picture of the parts
    confusion: str
    tags: str
    probabilities: str  # what they are of, before the explanation of the picture; empty where that is plain
    method: tuple[str, ...]  # notes on how it was made
    marked: str = ""  # where a case shows its gold answer


@dataclass(frozen=True)
class Task(ABC):
    """A task with the names of its inputs and labels.

    Attributes:
        name: name of the task in params.yaml.
        inputs: names of the input fields, in reading order.
        labels: labels in the order of the log-probabilities; empty if unknown (free text).
        source_input: the input whose text forms clusters of cases.
        partial_input: the only input that the partial-input baseline reads.
    """

    name: str
    inputs: Sequence[str]
    labels: Sequence[str]
    source_input: str
    partial_input: str

    rules: ClassVar[Sequence[Rule]]
    """Rules for the sections task, data, prompt and model, for all test sets."""
    settings_rules: ClassVar[Sequence[Rule]] = ()
    """Rules for the section evaluate, for the main test set only."""

    @classmethod
    def from_section(cls, section: TaskSection) -> Self:
        """Create the task described by a section of params.yaml."""
        return cls(section.name, section.inputs, section.labels, section.source_input, section.partial_input)

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> Self | None:  # noqa: ARG003
        """Create the task of a prediction file with these columns, or return None if it has another task."""
        return None

    @property
    def files(self) -> Sequence[Path]:
        """Return the files of the user's grading functions."""
        return ()

    @abstractmethod
    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """Return the case of each row of a source split, in order; None for a row without a gold label.

        Raises:
            TunediffError: a row is invalid for the task.
        """

    def notes(self, rows: Sequence[Row], cases: Sequence[Case | None], data: Origin) -> list[str]:
        """Return notes on a source split that the stage prepare prints; `cases` are those of the rows."""
        return []

    @abstractmethod
    def ask(self, params: Params) -> Ask:
        """Return what a model is asked about each case."""

    @abstractmethod
    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Parse raw answers and compare them with the gold answers.

        Args:
            cases: the cases.
            answers: one row per case, in the order of the cases, as returned by `tunediff.data.answers.read_answers`.
            ask: what the model was asked.

        Returns:
            One row per case with `PREDICTION_COLUMNS` and those of `SETTING_COLUMNS` and `ANSWER_COLUMNS` that apply.
        """

    @property
    def graded_alone(self) -> bool:
        """Whether the grade of a case does not depend on other cases, so that cases can be graded in chunks."""
        return True

    @property
    def measured(self) -> tuple[str, ...] | None:
        """Columns that `metrics` and `described` read in addition to outcome and truncated; None: any."""
        return None

    def tunes_threshold(self, ask: Ask) -> bool:
        """Return whether `metrics` also reads answers to the validation split."""
        return False

    @abstractmethod
    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """Return the metrics of a prediction file, as a flat dict.

        Args:
            frame: rows of the prediction file.
            validation: rows for the validation split, if `tunes_threshold`.
        """

    @abstractmethod
    def module_inputs(self, features: Any, frame: pd.DataFrame) -> Mapping[str, Sequence[Any]] | None:
        """Return predictions and references in the form of a module of `evaluate`; None if the task has none.

        Args:
            features: names and types of the module's inputs.
            frame: rows of a prediction file.
        """

    @abstractmethod
    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        """Yield the metrics as text, the most important first; arguments as for `summary`."""

    def summary(self, who: str, frame: pd.DataFrame, metrics: Mapping[str, float]) -> str:
        """Return a summary of one model's predictions, a few lines of text.

        Args:
            who: name of the model.
            frame: rows of its prediction file.
            metrics: the result of `metrics`.
        """
        first, *rest = self.described(frame, metrics)
        right = int((frame["outcome"] == RIGHT).sum())
        lines = [f"{who}: {right:,} of {int(metrics['n']):,} right = {first}", *rest]
        if cut := int(frame["truncated"].sum()):
            lines.append(f"{cut:,} prompts were truncated to fit the context")
        return "\n  ".join(lines)

    # For the comparison

    @property
    @abstractmethod
    def words(self) -> Words:
        """Words for sentences."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a prediction file in addition to those of all tasks."""
        return ()

    @property
    def shared_columns(self) -> tuple[str, ...]:
        """Those of `columns` that must be equal in both prediction files: the gold answers, if they are texts."""
        return () if self.answers_are_labels else ("answers",)

    @property
    def scores(self) -> Mapping[str, str]:
        """Scores of a case in 0..1 other than right and wrong: names by column."""
        return {}

    @property
    def lenient(self) -> str | None:
        """The column of the lenient score, which ignores the answer format: 1 if an answer is right except for it."""
        return None

    @property
    def score_notes(self) -> Mapping[str, str]:
        """Explanations of scores after their names, by column."""
        return {}

    @property
    def traits(self) -> Mapping[str, Trait]:
        """Traits of answers, which are neither good nor bad, by column."""
        return {}

    @property
    def compared(self) -> tuple[str, ...]:
        """Further metrics to compare: keys of COMPARED in compare/effects/metric_differences."""
        return ()

    # Whether answers are labels; otherwise they are texts, and cases have gold answers.
    answers_are_labels: ClassVar[bool] = True
    # Kinds of cases by gold label, reported separately, as the parts of the gain; empty: the parts are settings.
    kinds: ClassVar[Mapping[str, str]] = {}
    # Descriptions of the kinds, after the word for cases, in a sentence and in a table.
    kind_words: ClassVar[Mapping[str, tuple[str, str]]] = {}
    families: ClassVar[tuple[Family, ...]] = ()
    # Rules for the explanation of a flip.
    clauses: ClassVar[Rules] = ()
    # Keys of metrics/eval_*.json that the report requires, and names of those that only an evaluation has.
    figures: ClassVar[tuple[str, ...]] = ()
    evaluated: ClassVar[Mapping[str, str]] = {}
    # Names of the calibration metrics, by key: NLL, Brier score, calibration error.
    probabilities: ClassVar[Mapping[str, str]] = {}
    # The hub's id of the task, and a name.
    hub: ClassVar[tuple[str, str]]

    @property
    def parts(self) -> dict[str, str]:
        """The names of the parts of a gain."""
        return {}

    @property
    def leak_inputs(self) -> tuple[str, ...]:
        """The inputs that make a case leaked if training has seen any one of them."""
        return ()

    @property
    def near_inputs(self) -> Sequence[str]:
        """The inputs used to find the nearest training cases."""
        return self.inputs

    @abstractmethod
    def classes(self, answers: Iterable[str | None]) -> list[str | None]:
        """Return the label that each answer stands for, None if it is invalid."""

    @abstractmethod
    def gold(self, cases: Sequence[Case]) -> list[Any]:
        """Return the gold answer of each case, in the form for `right`."""

    @abstractmethod
    def right(self, gold: Any, answer: str) -> bool:
        """Return whether an answer is right."""

    def outcomes(self, gold: Iterable[Any], answers: Iterable[str | None]) -> list[str]:
        """Return the outcome of each answer, given the result of `gold`."""
        return [
            INVALID if answer is None else RIGHT if self.right(one, answer) else WRONG
            for one, answer in zip(gold, answers, strict=True)
        ]

    def with_gold(self, aligned: pd.DataFrame, cases: Sequence[Case]) -> pd.DataFrame:
        """Return aligned predictions in the order of `cases`, with further columns of the gold answers.

        Raises:
            TunediffError: a prediction file was graded against different gold answers.
        """
        return aligned if self.answers_are_labels else with_answers(aligned, cases)

    def chance(self, tally: Tally) -> Chance | None:
        """Return the accuracy of guessing; None if unknown."""
        return None

    def degenerate(self, tally: Tally) -> str | None:
        """Return a sentence if the answers could be given without reading the case, else None."""
        return None

    def one_label(self, tally: Tally) -> str | None:
        """Return the gold label if all cases have the same, else None."""
        return None

    def repeated(self, metrics: Mapping[str, float], tally: Tally) -> list[str]:
        """Return scores of an evaluation that equal its accuracy by mistake, with their correct values."""
        return []

    def text_scores(self, metrics: Mapping[str, float]) -> tuple[float, dict[str, float]] | None:
        """Return F1 in 0..1 and the text metrics of an evaluation, which should agree; None if there are none."""
        return None

    def accuracy(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return accuracy, accuracy_low and accuracy_high in 0..1 from the metrics of an evaluation."""
        return {key: metrics[key] for key in ("accuracy", "accuracy_low", "accuracy_high")}

    @abstractmethod
    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """Return the answers of every trivial baseline to the test cases, in order, by name.

        Args:
            train: the training cases.
            test: the test cases.
            base: answers of the base model: base, and if measured calibrated_base (without its label bias) and
                few_shot_base (with examples in its prompt).

        Raises:
            TunediffError: a baseline needs training cases, and there are none.
        """

    @property
    def baseline_names(self) -> dict[str, str]:
        """Names of the baselines for tables."""
        return {}

    @property
    def baseline_phrases(self) -> dict[str, str]:
        """Descriptions of the most informative baselines for sentences."""
        return {}

    @abstractmethod
    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        """Return features of the texts by case_id, in the order of the cases: the columns of `families`."""

    def model_evidence(self, rows: pd.DataFrame, cases: Sequence[Case], who: str) -> dict[str, list[Any]]:
        """Return task-specific evidence from one model's answers to flipped cases; names without the model's prefix."""
        return {}

    @abstractmethod
    def case_evidence(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        """Return evidence from the texts of flipped cases."""

    def neighbour(self, case: Case, distance: float) -> dict[str, Any]:
        """Return a training case for the evidence."""
        return {"case_id": case.case_id, "label": case.label, "distance": distance}

    def gold_record(self, case: Case) -> dict[str, Any]:
        """Return the fields of gold answers in a record of cases.jsonl, in addition to the label."""
        return {} if self.answers_are_labels else {"answers": [answer._asdict() for answer in case.answers]}

    @abstractmethod
    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Return a checked record of cases.jsonl, with invisible characters in its texts made visible.

        Raises:
            TunediffError: an answer or a score is invalid for the task; the message starts with `place`.
        """

    def gold_texts(self, record: Mapping[str, Any]) -> list[str]:
        """Return the distinct gold answers of a record of cases.jsonl, if they are texts."""
        return [] if self.answers_are_labels else list(dict.fromkeys(answer["text"] for answer in record["answers"]))

    def gold_text(self, record: Mapping[str, Any]) -> str:
        """Return the right answer of a record of cases.jsonl as text."""
        return str(record["label"])

    def answer_text(self, answer: str | None) -> str:
        """Return an answer as text, with words for invalid and empty ones."""
        return self.words.no_answer.get(answer, str(answer))

    def read_gold(self, table: pd.DataFrame, label: pd.Series, name: str) -> dict[str, pd.Series]:
        """Return the checked values of `columns` in a table.

        Raises:
            TunediffError: a value is invalid for its column; the message starts with `name`.
        """
        return {}

    def read_answers(self, answers: pd.Series) -> pd.Series:
        """Return the answers of a table; by default, empty text is invalid."""
        return answers.where(answers != "")
