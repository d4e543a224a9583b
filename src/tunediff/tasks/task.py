"""What the rest of the package may know of a task: everything that differs from one kind of task to another.

task = task_of(params.task)                     # tunediff.tasks
cases = task.cases(rows, params.data)           # what prepare draws splits from
frame = task.grade(cases, answers, ask)         # raw answers of a model -> its prediction file
task.metrics(frame, None)["accuracy"]
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.rules import Rule
from tunediff.data.cases import RIGHT, Case
from tunediff.data.sources import Row
from tunediff.inputs.ask import Ask

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Task(ABC):
    """A kind of task, with the names of its inputs and labels.

    Attributes:
        name: in params.yaml.
        inputs: names of the input fields, in reading order.
        labels: in the order of the log-probabilities.
        source_input: the input whose text cases share.
        partial_input: the input that the partial-input baseline reads alone.
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
    def grade(self, cases: Sequence[Case], answers: "pd.DataFrame", ask: Ask) -> "pd.DataFrame":
        """Parse raw answers and compare them with the gold ones.

        Args:
            cases: the cases.
            answers: a row per case, in the order of the cases, as `tunediff.data.answers.read_answers` gives them.
            ask: what the model was asked.

        Returns:
            A row per case with `PREDICTION_COLUMNS` and those of `SETTING_COLUMNS` and `ANSWER_COLUMNS` that apply.
        """

    def tunes_threshold(self, ask: Ask) -> bool:
        """Whether `metrics` reads the validation split too, so that a model answers it."""
        return False

    @abstractmethod
    def metrics(self, frame: "pd.DataFrame", validation: "pd.DataFrame | None") -> dict[str, float]:
        """The metrics of a prediction file, flat.

        Args:
            frame: its rows.
            validation: the same of the validation split, where `tunes_threshold`.
        """

    @abstractmethod
    def module_inputs(self, features: Any, frame: "pd.DataFrame") -> Mapping[str, Sequence[Any]] | None:
        """Predictions and references as a module of `evaluate` wants them; None where this task has none such.

        Args:
            features: names and types of the module's inputs.
            frame: rows of a prediction file.
        """

    @abstractmethod
    def described(self, frame: "pd.DataFrame", metrics: Mapping[str, float]) -> Iterator[str]:
        """The metrics in words, the most important first; arguments as `summary` takes them."""

    def summary(self, who: str, frame: "pd.DataFrame", metrics: Mapping[str, float]) -> str:
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
