"""What every task says of itself: what a case is, what a model is asked, how it is graded, and what comparing needs.

task = task_of(params.task)
task.cases(rows, params.data)                  # what prepare draws splits from
frame = task.grade(cases, answers, ask)         # raw answers of a model -> its prediction file
task.words.measure                              # "accuracy"

Nobody outside this package asks which task it is: what differs from task to task is an attribute or a method here.
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

# Cases by gold label and the label that a model's answer stands for; None where it is invalid or no label.
Tally = Mapping[tuple[str, str | None], int]


class Chance(NamedTuple):
    """What is right without reading a case, as a share in 0..1, and in words."""

    share: float
    words: str


@dataclass(frozen=True)
class Words:
    """What a task is called in sentences."""

    measure: str  # the share of right cases
    gold: str  # what the right answer is
    cases: str  # what the cases are, such as "questions"
    invalid: tuple[str, str]  # what an answer that cannot be parsed does: of one, of several
    no_answer: Mapping[str | None, str]  # answers that are no text of their own: invalid (None), and empty ("")
    gain: str  # what the picture of the parts shows
    confusion: str
    tags: str
    probabilities: str  # what they are of, before the explanation of the picture; empty where that is plain
    method: tuple[str, ...]  # notes on how it was made
    marked: str = ""  # where a case shows its gold answer


@dataclass(frozen=True)
class Task(ABC):
    """One kind of task with the names of its inputs and labels.

    Attributes:
        name: in params.yaml.
        inputs: names of the input fields, in reading order.
        labels: in the order of the log-probabilities; empty where they are not known (answers in words).
        source_input: the input whose text cases share.
        partial_input: the only input that the partial-input baseline reads.
    """

    name: str
    inputs: Sequence[str]
    labels: Sequence[str]
    source_input: str
    partial_input: str

    rules: ClassVar[Sequence[Rule]]
    """What a test set of this kind wants of task, data, prompt and model."""
    settings_rules: ClassVar[Sequence[Rule]] = ()
    """What the headline's task wants of section evaluate."""

    @classmethod
    def from_section(cls, section: TaskSection) -> Self:
        """The task that a section of params.yaml describes."""
        return cls(section.name, section.inputs, section.labels, section.source_input, section.partial_input)

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> Self | None:  # noqa: ARG003
        """The task of a prediction file with these columns, None where it is of another kind."""
        return None

    @property
    def files(self) -> Sequence[Path]:
        """Files of the user's own that grading runs."""
        return ()

    @abstractmethod
    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """The case of each row of one source split, in their order; None where the row has no gold label.

        Raises:
            TunediffError: a row is not what the task expects.
        """

    def notes(self, rows: Sequence[Row], cases: Sequence[Case | None], data: Origin) -> list[str]:
        """What the stage prepare prints of a source split besides; arguments as `cases` takes and returns them."""
        return []

    @abstractmethod
    def ask(self, params: Params) -> Ask:
        """What a model is asked about each case."""

    @abstractmethod
    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Parse raw answers and compare them with the gold ones.

        Args:
            cases: the cases.
            answers: a row per case, in the order of the cases, as `tunediff.data.answers.read_answers` gives them.
            ask: what the model was asked.

        Returns:
            A row per case with `PREDICTION_COLUMNS` and those of `SETTING_COLUMNS` and `ANSWER_COLUMNS` that apply.
        """

    @property
    def graded_alone(self) -> bool:
        """Whether `grade` asks of a case nothing but that case, so that some can be graded at a time."""
        return True

    @property
    def measured(self) -> tuple[str, ...] | None:
        """Columns of a prediction file that `metrics` and `described` read beside outcome and truncated; None: any."""
        return None

    def tunes_threshold(self, ask: Ask) -> bool:
        """Whether `metrics` reads the validation split too, so that a model answers it."""
        return False

    @abstractmethod
    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """The metrics of a prediction file, flat.

        Args:
            frame: its rows.
            validation: the same of the validation split, where `tunes_threshold`.
        """

    @abstractmethod
    def module_inputs(self, features: Any, frame: pd.DataFrame) -> Mapping[str, Sequence[Any]] | None:
        """Predictions and references as a module of `evaluate` wants them; None where this task has none such.

        Args:
            features: names and types of the module's inputs.
            frame: rows of a prediction file.
        """

    @abstractmethod
    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        """The metrics in words, the most important first; arguments as `summary` takes them."""

    def summary(self, who: str, frame: pd.DataFrame, metrics: Mapping[str, float]) -> str:
        """A few lines about one model's predictions.

        Args:
            who: the model.
            frame: rows of its prediction file.
            metrics: what `metrics` made of them.
        """
        first, *rest = self.described(frame, metrics)
        right = int((frame["outcome"] == RIGHT).sum())
        lines = [f"{who}: {right:,} of {int(metrics['n']):,} right = {first}", *rest]
        if cut := int(frame["truncated"].sum()):
            lines.append(f"{cut:,} prompts were cut to fit the context")
        return "\n  ".join(lines)

    # What comparing needs

    @property
    @abstractmethod
    def words(self) -> Words:
        """What it is called in sentences."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a prediction file beside those of every task."""
        return ()

    @property
    def shared_columns(self) -> tuple[str, ...]:
        """Those of them that two files must have alike."""
        return ()

    @property
    def scores(self) -> Mapping[str, str]:
        """Scores of a case in 0..1 beside right or wrong: the column, and what it is called."""
        return {}

    @property
    def lenient(self) -> str | None:
        """The column of the score that sees through the answer format: a case that has 1 there is right but for it."""
        return None

    @property
    def score_notes(self) -> Mapping[str, str]:
        """Of scores by their column what a sentence says after the name."""
        return {}

    @property
    def traits(self) -> Mapping[str, Trait]:
        """What answers are like, which is neither good nor bad, by column."""
        return {}

    @property
    def compared(self) -> tuple[str, ...]:
        """What is compared beside the share of right cases: keys of COMPARED (compare/effects/metric_differences)."""
        return ()

    # Whether an answer is one of the labels.
    answers_are_labels: ClassVar[bool] = True
    # Gold labels whose cases are reported apart, and are the parts of the gain; none: its parts are settings.
    kinds: ClassVar[Mapping[str, str]] = {}
    # Which cases those are, after the word for cases: in a sentence, and in a table.
    kind_words: ClassVar[Mapping[str, tuple[str, str]]] = {}
    families: ClassVar[tuple[Family, ...]] = ()
    # The explanation of a flip.
    clauses: ClassVar[Rules] = ()
    # Keys of metrics/eval_*.json that the report needs, and what it calls those that an evaluation alone knows.
    figures: ClassVar[tuple[str, ...]] = ()
    evaluated: ClassVar[Mapping[str, str]] = {}
    # What the probabilities are worth, by key: NLL, Brier score, calibration error.
    probabilities: ClassVar[Mapping[str, str]] = {}
    # The hub's name of the task, and ours.
    hub: ClassVar[tuple[str, str]]

    @property
    @abstractmethod
    def parts(self) -> dict[str, str]:
        """What each part of a gain is called."""

    @property
    def leak_inputs(self) -> tuple[str, ...]:
        """The inputs of which one alone, seen in training, makes a case a leaked one."""
        return ()

    @property
    def near_inputs(self) -> Sequence[str]:
        """The inputs by which the nearest training cases are found."""
        return self.inputs

    @abstractmethod
    def classes(self, answers: Iterable[str | None]) -> list[str | None]:
        """The label that each answer stands for, None where it is invalid."""

    @abstractmethod
    def gold(self, cases: Sequence[Case]) -> list[Any]:
        """What `right` holds an answer to each case against."""

    @abstractmethod
    def right(self, gold: Any, answer: str) -> bool:
        """Whether an answer is right."""

    def outcomes(self, gold: Iterable[Any], answers: Iterable[str | None]) -> list[str]:
        """The outcome of each answer, given what `gold` says of its case."""
        return [
            INVALID if answer is None else RIGHT if self.right(one, answer) else WRONG
            for one, answer in zip(gold, answers, strict=True)
        ]

    def with_gold(self, aligned: pd.DataFrame, cases: Sequence[Case]) -> pd.DataFrame:
        """Aligned predictions in the order of `cases`, with what else the cases say of the gold answers.

        Raises:
            TunediffError: a prediction file was graded against other answers than those of the cases.
        """
        return aligned

    @abstractmethod
    def chance(self, tally: Tally) -> Chance | None:
        """What is right without reading a case; None where that is not known."""

    @abstractmethod
    def degenerate(self, tally: Tally) -> str | None:
        """The sentence that says why answers need no reading of the case, None where they do."""

    def one_label(self, tally: Tally) -> str | None:
        """The only gold label of all cases, where such a test set tells nothing."""
        return None

    def repeated(self, metrics: Mapping[str, float], tally: Tally) -> list[str]:
        """Scores of an evaluation that only repeat its accuracy, with what they should be."""
        return []

    def text_scores(self, metrics: Mapping[str, float]) -> tuple[float, dict[str, float]] | None:
        """F1 in 0..1 and the metrics of text of an evaluation, which should agree; None where there are none."""
        return None

    def accuracy(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """accuracy, accuracy_low and accuracy_high in 0..1 from the metrics of an evaluation."""
        return {key: metrics[key] for key in ("accuracy", "accuracy_low", "accuracy_high")}

    @abstractmethod
    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """The answers of every trivial baseline to the test cases, in their order, by name.

        Args:
            train: the training cases.
            test: the test cases.
            base: what the base model answers without training: base (as it stands), and where they were measured
                calibrated_base (without its label preference) and few_shot_base (with examples in its prompt).

        Raises:
            TunediffError: no training case where one is needed.
        """

    @property
    def baseline_names(self) -> dict[str, str]:
        """What the baselines are called in a table."""
        return {}

    @property
    def baseline_phrases(self) -> dict[str, str]:
        """What the telling ones do, in a sentence."""
        return {}

    @abstractmethod
    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        """What the texts of each case look like, by case_id, in the order of the cases: the columns of `families`."""

    @abstractmethod
    def model_evidence(self, rows: pd.DataFrame, cases: Sequence[Case], who: str) -> dict[str, list[Any]]:
        """What one model's answers to flipped cases show beside what is so for every task, without the model's name."""

    @abstractmethod
    def case_evidence(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        """What the texts of flipped cases show."""

    def neighbour(self, case: Case, distance: float) -> dict[str, Any]:
        """A training case as the evidence holds it."""
        return {"case_id": case.case_id, "label": case.label, "distance": distance}

    def gold_record(self, case: Case) -> dict[str, Any]:
        """What a line of cases.jsonl says of the gold answers beside the label."""
        return {}

    @abstractmethod
    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        """A line of cases.jsonl with its texts made visible.

        Raises:
            TunediffError: an answer or a score is not what the task has; the line starts with `place`.
        """

    def gold_texts(self, record: Mapping[str, Any]) -> list[str]:
        """The gold answers of a line of cases.jsonl, where they are texts of their own."""
        return []

    def gold_text(self, record: Mapping[str, Any]) -> str:
        """What the right answer to a case of cases.jsonl is."""
        return str(record["label"])

    def answer_text(self, answer: str | None) -> str:
        """What a model answered, in words where it is no text of its own."""
        return self.words.no_answer.get(answer, str(answer))

    def read_gold(self, table: pd.DataFrame, label: pd.Series, name: str) -> dict[str, pd.Series]:
        """The values of `columns` of a foreign table, checked.

        Raises:
            TunediffError: a value is not what the column holds; the line starts with `name`.
        """
        return {}

    def read_answers(self, answers: pd.Series) -> pd.Series:
        """Answers of a foreign table as they count: an empty text is no answer, and so invalid."""
        return answers.where(answers != "")
