"""The answers of one model to one test set with their prompts, as the input of all exports."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import Case
from tunediff.inputs.prompts import render
from tunediff.inputs.settings import CaseSet

if TYPE_CHECKING:
    import pandas as pd

# Scorers whose answer is the most likely label, as named in prediction files.
LIKELIEST = ("choices", "head")


@dataclass(frozen=True)
class SetAnswers:
    """One model's graded answers to a test set.

    model: base or tuned. model_id: public name of the model. set_name, dataset: names of the test set and of its data.
    hub_dataset: id of the data set on the hub; None if it comes from elsewhere. predictions: one row per case, in the
    order of the cases. figures: accuracy in 0..1 with its interval, n, and the mean of each score in 0..1.
    """

    model: str
    model_id: str
    set_name: str
    dataset: str
    hub_dataset: str | None
    case_set: CaseSet
    cases: Sequence[Case]
    predictions: "pd.DataFrame"
    figures: Mapping[str, float]
    score_names: Mapping[str, str]
    confidence: float

    @property
    def likelihoods(self) -> bool:
        """Whether each answer is the most likely label, with log-probabilities for all labels."""
        frame = self.predictions
        chosen = set(frame["scorer"]) <= set(LIKELIEST) and not self.case_set.ask.in_words
        return chosen and bool(frame["log_probs"].notna().all())

    def continuations(self, case: Case) -> list[str]:
        """Return the scored texts, in the order of the log-probabilities: the case's options, or the labels' texts."""
        ask = self.case_set.ask
        if case.options:
            return [f" {option}" for option in case.options]
        return [ask.choices.get(name, f" {name}") for name in ask.names]

    def rows(self) -> Iterator[tuple[Case, dict[str, Any]]]:
        """Yield each case with its row of the prediction file."""
        for case, row in zip(self.cases, self.predictions.to_dict("records"), strict=True):
            yield case, {str(name): value for name, value in row.items()}

    def prompt(self, case: Case) -> str:
        """Return the prompt of a case: the filled template, or for a chat template or a head the inputs by name."""
        template = self.case_set.prompt.template
        if template is not None:
            return render(template, case.inputs)
        return "\n".join(f"{name}: {text}" for name, text in case.inputs.items())

    def references(self, case: Case) -> list[str]:
        """Return the gold answers of a case, or the text of its label if it has none."""
        if case.answers:
            return [answer.text for answer in case.answers]
        return [self._named(case, case.label)]

    def answer(self, case: Case, row: Mapping[str, Any]) -> str | None:
        """Return the model's answer, written like the references; None if it is invalid."""
        prediction: str | None = row["prediction"]
        if prediction is None:
            return None
        if not prediction and UNANSWERABLE in self.case_set.labels:
            return UNANSWERABLE
        return self._named(case, prediction)

    def _named(self, case: Case, answer: str) -> str:
        """An answer as text: the option that a label stands for, or the label's text in the prompt."""
        if case.options:
            return case.options[self.case_set.ask.names.index(answer)]
        return self.case_set.ask.choices.get(answer, answer).strip()
