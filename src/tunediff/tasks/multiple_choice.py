r"""Multiple choice: one or more texts and options in, one of which is right.

A row and the case that it becomes (`data.columns` is {question: question, options: choices, label: answer}):

    {"question": "Who is the tallest?", "choices": ["Ann", "Bob", "Eve", "nobody"], "answer": "B"}
    Case("CASEID", {"question": "Who is the tallest?"}, "B", (), (), ("Ann", "Bob", "Eve", "nobody"))

Labels are the positions of the options. An option is scored by its log-likelihood after the prompt, as in
lm-evaluation-harness: the total (acc), per character of the option (acc_norm), per byte (acc_bytes), minus that of the
option without a prompt (acc_mutual_info), or per token. One of these scores decides, the others are also compared.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import log_softmax

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.task import TaskSection
from tunediff.data.cases import Case
from tunediff.data.sources import Row
from tunediff.data.values import key_of, verbatim_text
from tunediff.inputs.ask import Ask
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown, visible
from tunediff.tasks.baselines import Answers, likeliest_options, longest_options, majority_label
from tunediff.tasks.classification import Classification, several_labels, values_fit
from tunediff.tasks.columns import (
    cases_of,
    checked_text,
    inputs_of,
    no_grades,
    single_setting,
    tags_of,
    value_of,
)
from tunediff.tasks.families import Family
from tunediff.tasks.grading import column, copied_columns, has_setting
from tunediff.tasks.task import Words

Scores = npt.NDArray[np.float64]

SCORE = "score_"
# The name of the share of right cases for each score.
MEASURES = {
    "sum": "accuracy by total likelihood",
    "token": "accuracy by likelihood per token",
    "character": "accuracy by likelihood per character",
    "byte": "accuracy by likelihood per byte",
    "unconditional": "accuracy against the unconditional likelihood",
}


def _columns_fit(params: Params) -> str | None:
    task, found = params.task, sorted(params.data.columns)
    listed, apart = ({*task.inputs, *names, "label"} for names in (["options"], task.labels))
    if found in (sorted(listed), sorted(apart)):
        return None
    return (
        f"data.columns: found {found}, expected task.inputs, label and options (a column of lists): {sorted(listed)}; "
        f"or a column for each of task.labels instead of options: {sorted(apart)}"
    )


def _head_fits(params: Params) -> str | None:
    if params.model.head == "lm":
        return None
    return f"model.head is {params.model.head}, but task.name is {params.task.name}; expected lm, which scores options"


def _no_choices(params: Params) -> str | None:
    if params.prompt.choices is None:
        return None
    return f"prompt.choices: given, but task.name is {params.task.name}, whose cases have their own options"


def _prompt_fits(params: Params) -> str | None:
    if params.task.option_score != "unconditional" or params.prompt.messages is None:
        return None
    return "task.option_score is unconditional, but prompt.messages are given: a chat cannot be scored without a prompt"


def _method_fits(params: Params) -> str | None:
    method = params.evaluate.scoring_method
    if method == "choices":
        return None
    return f"evaluate.scoring_method is {method}, but task.name is {params.task.name}; expected choices"


@dataclass(frozen=True)
class MultipleChoice(Classification):
    """Texts with a list of options for each case.

    Attributes:
        option_score: the score that decides, from params.yaml.
        scored: for a prediction file, its columns of other scores.
    """

    option_score: str = "sum"
    scored: tuple[str, ...] = ()

    rules = (several_labels, _columns_fit, values_fit, _head_fits, _no_choices, _prompt_fits, no_grades)
    settings_rules = (_method_fits, single_setting)

    @classmethod
    def from_section(cls, section: TaskSection) -> Self:
        return replace(super().from_section(section), option_score=section.option_score)

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> Self | None:
        found = [name for name in columns if name.removeprefix(SCORE) in MEASURES]
        return cls("", (), (), "", "", scored=tuple(found)) if found else None

    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """Return the case of each row, in the order of the rows; None for a row without a gold label.

        Options are given as a list, as a JSON list, as an object with the lists `text` and `label` (as in ARC, where
        the label column uses these labels), or as one column per label.

        Raises:
            TunediffError: a column is missing, the number of options differs from that of the labels, an option is
                empty, or the label is unknown.
        """
        # A label can be given by its name, unless that is mapped to another label.
        labels = {key_of(name): name for name in self.labels}
        labels |= {key_of(value): label for value, label in (data.labels or {}).items()}
        unlabelled = {key_of(value) for value in data.unlabelled}

        def example(row: Row) -> tuple[dict[str, str], str, Sequence[str], tuple[()], tuple[str, ...]] | None:
            key = key_of(value_of(row, data.columns["label"]))
            if key in unlabelled:
                return None
            options, names = self._options(row, data.columns)
            known = labels if names is None else dict(zip(map(key_of, names), self.labels, strict=True))
            if key not in known:
                expected = ", ".join(map(str, known))
                raise TunediffError(
                    f"{row.place}: {data.columns['label']}: found {shown(row[data.columns['label']])}, expected one of "
                    f"{expected}, or a value that data.unlabelled lists"
                )
            inputs = inputs_of(row, self.inputs, data)
            return inputs, known[key], tags_of(row), (), options

        return cases_of(rows, example)

    def _options(self, row: Row, columns: Mapping[str, str]) -> tuple[tuple[str, ...], list[Any] | None]:
        """The options of a row, and their names in the label column if the row has them."""
        if "options" not in columns:
            return tuple(_text(value_of(row, columns[label]), row, columns[label]) for label in self.labels), None
        name, names = columns["options"], None
        found: Any = value_of(row, name)
        if isinstance(found, str):
            with suppress(ValueError):
                found = json.loads(found)
        if isinstance(found, dict):
            names, found = found.get("label"), found.get("text")
        expected = f"a list of {len(self.labels)} texts, one for each of task.labels"
        if not isinstance(found, list) or len(found) != len(self.labels):
            what = f"{len(found)} options" if isinstance(found, list) else shown(row[name])
            raise TunediffError(f"{row.place}: {name}: found {what}, expected {expected}")
        if names is not None and not (
            isinstance(names, list) and len(names) == len(set(map(key_of, names))) == len(found)
        ):
            raise TunediffError(f"{row.place}: {name}: label: found {shown(names)}, expected a name for each option")
        return tuple(_text(option, row, name) for option in found), names

    def notes(self, rows: Sequence[Row], cases: Sequence[Case | None], data: Origin) -> list[str]:
        twice = sum(case is not None and len(set(case.options)) < len(case.options) for case in cases)
        return [f"{twice:,} cases have a repeated option; the first occurrence is chosen"] if twice else []

    def ask(self, params: Params) -> Ask:
        """Ask for the most likely option of each case."""
        alone = self.option_score == "unconditional"
        return Ask(answer="options", names=list(self.labels), unconditional=alone)

    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Return the prediction file; the answer is the option with the highest score; of ties, the first.

        log_probs are the scores, normalised over the options.
        """
        gold = np.array([self.labels.index(case.label) for case in cases])
        scores = self._scores(cases, answers, "")
        chosen = scores[self.option_score]
        places = chosen.argmax(axis=1)
        frame = copied_columns(cases, answers)
        frame["log_probs"] = column(list(log_softmax(chosen, axis=1)))
        frame["text"] = [case.options[place] for case, place in zip(cases, places, strict=True)]
        frame["prediction"] = column(found := [self.labels[place] for place in places])
        frame["outcome"] = self.outcomes(self.gold(cases), found)
        for name in self._other_scores:
            frame[name] = (scores[name.removeprefix(SCORE)].argmax(axis=1) == gold).astype(np.float64)
        if has_setting(answers, "again"):
            again = self._scores(cases, answers, "again_")[self.option_score].argmax(axis=1)
            frame["again_prediction"] = column([self.labels[place] for place in again])
        return frame

    def _scores(self, cases: Sequence[Case], answers: pd.DataFrame, before: str) -> dict[str, Scores]:
        """The scores of the options by name, each of shape (n_cases, n_options), higher for more likely options."""
        sums, tokens = (np.array(answers[f"{before}{name}_log_probs"].tolist()) for name in ("sum", "token"))
        characters, lengths = (
            np.array([[len(part(option)) for option in case.options] for case in cases]) for part in (str, str.encode)
        )
        found = {"sum": sums, "token": tokens, "character": sums / characters, "byte": sums / lengths}
        if "unconditional_log_probs" in answers:
            found["unconditional"] = sums - np.array(answers["unconditional_log_probs"].tolist())
        return found

    @property
    def _other_scores(self) -> list[str]:
        """The columns of the other scores that need no further evaluation."""
        return [f"{SCORE}{name}" for name in MEASURES if name not in (self.option_score, "unconditional")]

    @property
    def measured(self) -> tuple[str, ...] | None:
        return (*(super().measured or ()), *self.scores)

    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """Return the result of `tunediff.metrics.accuracy.score`, and the share of right cases for each other score."""
        return super().metrics(frame, validation) | {name: float(frame[name].mean()) for name in self.scores}

    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        yield from super().described(frame, metrics)
        yield ", ".join(f"{name} {metrics[key]:.1%}" for key, name in self.scores.items())

    # For the comparison

    @cached_property
    def words(self) -> Words:  # type: ignore[override]
        return replace(
            Classification.words,
            measure=MEASURES[self.option_score] if self.name else "accuracy",
            gold="right option",
            confusion="Each row is the position of the right option, each column the position of the chosen one; "
            "the diagonal is right.",
            method=(
                f"An option is chosen by its log-likelihood after the prompt: {MEASURES[self.option_score]}."
                if self.name
                else "The stage that wrote the files determines which likelihood chose an option.",
                "The others are also reported, as defined by lm-evaluation-harness: acc is the total, acc_norm per "
                "character of the option, acc_bytes per byte, acc_mutual_info against the option without a prompt.",
                *Classification.words.method[1:],
            ),
        )

    compared = ("classes", "scores")
    families: ClassVar[tuple[Family, ...]] = (*Classification.families, Family("right_option", "the right option is"))
    hub = ("multiple-choice", "Multiple choice")

    @property
    def scores(self) -> Mapping[str, str]:
        names = self._other_scores if self.name else self.scored
        return {name: MEASURES[name.removeprefix(SCORE)] for name in names}

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.scores)

    @property
    def parts(self) -> dict[str, str]:
        return super().parts | {"label_bias": "the position bias"}

    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """Return the answers of majority, longest, options_alone and calibrated_base.

        majority is the most frequent position of the right option in training, longest the option with the most
        characters, and options_alone a bag-of-words classifier of options without inputs. Without training cases, only
        longest and calibrated_base remain.
        """
        answers: dict[str, Answers] = {"longest": longest_options(test, self.labels)}
        if train:
            answers["majority"] = [majority_label(case.label for case in train)] * len(test)
            answers["options_alone"] = likeliest_options(train, test, self.labels)
        return answers | {name: base[name] for name in ("calibrated_base",) if name in base}

    @property
    def baseline_names(self) -> dict[str, str]:
        return {
            "majority": "always the same position",
            "longest": "the longest option",
            "options_alone": "bag of words of the options alone",
            "calibrated_base": "base model without its position bias",
        }

    @property
    def baseline_phrases(self) -> dict[str, str]:
        return {
            "majority": "always choosing the position that is right most often in training",
            "longest": "always choosing the longest option",
        }

    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        """Return the features of the inputs, and right_option: whether the right option is the longest or shortest."""
        return super().features(cases, train).assign(right_option=[self._length(case) for case in cases])

    def _length(self, case: Case) -> str:
        lengths = list(map(len, case.options))
        length = lengths[self.labels.index(case.label)]
        if min(lengths) == max(lengths):
            return "as long as all others"
        return "the longest" if length == max(lengths) else "the shortest" if length == min(lengths) else "between"

    def gold_record(self, case: Case) -> dict[str, Any]:
        return {"options": list(case.options)}

    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        options = record.get("options")
        if (
            not isinstance(options, list)
            or len(options) != len(self.labels)
            or not all(isinstance(option, str) for option in options)
        ):
            raise TunediffError(
                f"{place}: options: found {shown(options)}, expected a list of {len(self.labels)} texts"
            )
        return super().checked_record(record, place) | {"options": list(map(visible, options))}

    def gold_text(self, record: Mapping[str, Any]) -> str:
        options = record.get("options")
        if options is None:
            return str(record["label"])
        return f"{record['label']}: {options[self.labels.index(record['label'])]}"

    def read_gold(self, table: pd.DataFrame, label: pd.Series, name: str) -> dict[str, pd.Series]:
        """Return the scores of a table, each 0 or 1."""
        for key in self.columns:
            odd = ~table[key].isin([0, 1])
            if odd.any():
                row = table.index[int(odd.to_numpy().argmax())]
                raise TunediffError(f"{name}, row {row}: {key}: found {table[key][row]}, expected 0 or 1")
        return {key: table[key].astype(float) for key in self.columns}


def _text(value: object, row: Row, name: str) -> str:
    with suppress(TypeError):  # a list or an object, which `checked_text` refuses
        value = verbatim_text(value)
    return checked_text(value, f"{row.place}: {name}")
