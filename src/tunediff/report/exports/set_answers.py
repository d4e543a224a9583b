"""What one model answered to one test set, and how it was asked: what every form of export is made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import Case
from tunediff.inputs.prompts import render
from tunediff.inputs.settings import CaseSet

if TYPE_CHECKING:
    import pandas as pd

# What a scorer that takes the likeliest of several texts or labels is called in a prediction file.
LIKELIEST = ("choices", "head")


@dataclass(frozen=True)
class SetAnswers:
    """One model's graded answers to a test set.

    model: base or tuned. model_id: as people know it. set_name, dataset: names of the test set and of its data.
    hub_dataset: the data set's id on the hub, None where it came from elsewhere. predictions: a row per case, in the
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
        """Whether each answer is the likeliest of the labels, which all have a log-probability."""
        frame = self.predictions
        chosen = set(frame["scorer"]) <= set(LIKELIEST) and not self.case_set.ask.in_words
        return chosen and bool(frame["log_probs"].notna().all())

    def continuations(self, case: Case) -> list[str]:
        """What was scored, in the order of the log-probabilities: options of the case, or the text of each label."""
        ask = self.case_set.ask
        if case.options:
            return [f" {option}" for option in case.options]
        return [ask.choices.get(name, f" {name}") for name in ask.names]

    def rows(self) -> Iterator[tuple[Case, dict[str, Any]]]:
        """Each case with its row of the prediction file."""
        for case, row in zip(self.cases, self.predictions.to_dict("records"), strict=True):
            yield case, {str(name): value for name, value in row.items()}

    def prompt(self, case: Case) -> str:
        """What the model was asked: the filled template; inputs by name where a chat template or a head reads them."""
        template = self.case_set.prompt.template
        if template is not None:
            return render(template, case.inputs)
        return "\n".join(f"{name}: {text}" for name, text in case.inputs.items())

    def references(self, case: Case) -> list[str]:
        """The gold answers of a case; the text of its label where it has none."""
        if case.answers:
            return [answer.text for answer in case.answers]
        return [self._named(case, case.label)]

    def answer(self, case: Case, row: Mapping[str, Any]) -> str | None:
        """The answer that was taken, as its references are written; None where it is invalid."""
        prediction: str | None = row["prediction"]
        if prediction is None:
            return None
        if not prediction and UNANSWERABLE in self.case_set.labels:
            return UNANSWERABLE
        return self._named(case, prediction)

    def _named(self, case: Case, answer: str) -> str:
        """An answer as text: the option that a label stands for, or the text that a label has in the prompt."""
        if case.options:
            return case.options[self.case_set.ask.names.index(answer)]
        return self.case_set.ask.choices.get(answer, answer).strip()
