r"""Generation: one or more texts in, free text out, graded against one or more references.

A row and the case that it becomes (`data.columns` is {question: question, answers: answer}):

    {"question": "Ann has 3 apples and buys 4. How many?", "answer": "3 + 4 = 7\n#### 7"}
    Case("CASEID", {"question": "Ann has 3 apples ..."}, "answer", (), (Answer("3 + 4 = 7\n#### 7", None),))

Section task names the grades of an answer (`tunediff.tasks.graders`): the first decides what is right, the others are
additional scores. An answer is invalid if it is empty, does not match the first grade's pattern, or is not JSON
although the grade requires it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.task import ANSWER, TaskSection
from tunediff.data.cases import INVALID, MODELS, RIGHT, WRONG, Answer, Case
from tunediff.data.sources import Row
from tunediff.data.values import key_of, verbatim_text
from tunediff.inputs.ask import Ask
from tunediff.metrics.named import text_inputs
from tunediff.metrics.text import bleu_counts, bleu_dictionary
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.stats.intervals import wilson
from tunediff.tasks.answer_traits import TRAITS, Trait, traits
from tunediff.tasks.baselines import Answers, frequent_answer, marked, nearest_answers
from tunediff.tasks.columns import cases_of, checked_text, inputs_of, is_number, tags_of, value_of
from tunediff.tasks.families import Family, quarters
from tunediff.tasks.generation_clauses import GENERATION_CLAUSES
from tunediff.tasks.generation_rules import RULES, SETTINGS_RULES
from tunediff.tasks.gold_answers import is_unlabelled, marked_answers
from tunediff.tasks.graders import METHODS, Gold, Grader
from tunediff.tasks.grading import column, copied_columns, has_setting
from tunediff.tasks.task import Task, Words

SCORE = "score_"


@dataclass(frozen=True)
class Generation(Task):
    """Texts that are answered in free text.

    Attributes:
        graders: the grades of params.yaml, of which the first decides what is right; empty for a prediction file.
        scored: for a prediction file, its columns of scores.
    """

    graders: tuple[Grader, ...] = ()
    scored: tuple[str, ...] = ()

    rules = RULES
    settings_rules = SETTINGS_RULES

    @classmethod
    def from_section(cls, section: TaskSection) -> Self:
        return cls(
            *(section.name, section.inputs, section.labels, section.source_input, section.partial_input),
            graders=tuple(map(Grader, section.grade)),
        )

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> Self | None:
        found = list(columns)
        if not {"answers", *TRAITS} <= set(found):
            return None
        return cls("", (), (), "", "", scored=tuple(name for name in found if name.startswith(SCORE)))

    @property
    def files(self) -> Sequence[Path]:
        return [grader.file for grader in self.graders if grader.file is not None]

    @cached_property
    def outcome(self) -> Grader:
        """The grade that decides what is right."""
        return self.graders[0]

    @property
    def _score_graders(self) -> dict[str, Grader]:
        """The grades that give a score, by column: all except for a first grade that only decides right or wrong."""
        given = [grader for at, grader in enumerate(self.graders) if at or not grader.method.decides]
        return {f"{SCORE}{grader.name}": grader for grader in given}

    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """Return the case of each row, in the order of the rows; None for a row without a reference.

        The cell of the references has a text, a number, an object (which becomes JSON), or a list of these. Repeated
        references count once.

        Raises:
            TunediffError: a column is missing, or a value is empty or not text.
        """
        unlabelled = {key_of(value) for value in data.unlabelled}

        def example(row: Row) -> tuple[dict[str, str], str, Sequence[str], tuple[Answer, ...]] | None:
            gold = value_of(row, data.columns["answers"])
            if not isinstance(gold, list) and is_unlabelled(gold, unlabelled):
                return None
            references = _references(gold, f"{row.place}: {data.columns['answers']}")
            inputs = inputs_of(row, self.inputs, data)
            return inputs, ANSWER, tags_of(row), references

        return cases_of(rows, example)

    def ask(self, params: Params) -> Ask:
        """Ask for free text of any number of lines."""
        return Ask(answer="text", stop=params.prompt.stop or [])

    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Return the prediction file; an answer is right according to the first grade."""
        texts, gold = list(answers["text"]), self.gold(cases)
        found = [self.outcome.taken(text) for text in texts]
        frame = copied_columns(cases, answers)
        frame["prediction"] = column(found)
        frame["outcome"] = self.outcomes(gold, found)
        frame["answers"] = pd.Series([[answer.text for answer in case.answers] for case in cases], dtype=object)
        for name, grader in self._score_graders.items():
            frame[name] = grader.scores(grader.golds(_golds(cases)), [grader.taken(text) for text in texts])
        expected = [[answer.text for answer in case.answers] + list(case.inputs.values()) for case in cases]
        frame = frame.assign(**traits(texts, list(answers["finish_reason"]), expected))
        for setting in ("again", "seed"):
            if has_setting(answers, setting):
                frame[f"{setting}_prediction"] = column([self.outcome.taken(one) for one in answers[f"{setting}_text"]])
        return frame

    @property
    def graded_alone(self) -> bool:
        """False if a pattern must match all references or none, or a module of `evaluate` is called once for all."""
        return all(grader.graded_alone for grader in self.graders)

    @property
    def measured(self) -> tuple[str, ...] | None:
        corpus = any(grader.grade.by == "bleu" for grader in self.graders)
        return (*self.scores, *self.traits, *(("case_id", "answers", "text") if corpus else ()))

    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """Return n, accuracy, accuracy_low, accuracy_high (Wilson), the means of scores and traits, and invalid.

        If BLEU is a grade, the corpus BLEU and its components are included (`bleu_dictionary`).
        """
        n, right = len(frame), int((frame["outcome"] == RIGHT).sum())
        low, high = wilson(right, n, 0.95)
        found = {"n": n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high}
        found |= {name: float(frame[name].mean()) for name in (*self.scores, *self.traits)}
        for grader in self.graders:
            if grader.grade.by == "bleu":
                rows = zip(frame["case_id"], frame["answers"], strict=True)
                golds = grader.golds([Gold(case_id, {}, tuple(answers)) for case_id, answers in rows])
                texts = [grader.taken(text) or "" for text in frame["text"]]
                found |= bleu_dictionary(bleu_counts([list(gold.references) for gold in golds], texts).sum(axis=0))
        return found | {"invalid": int((frame["outcome"] == INVALID).sum())}

    def module_inputs(self, features: Any, frame: pd.DataFrame) -> Mapping[str, Sequence[Any]] | None:
        """Return generated texts, with all references or with the first one."""
        return text_inputs(features, list(map(list, frame["answers"])), [text.strip() for text in frame["text"]])

    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        """Yield the metrics as text, then the traits of the answers."""
        scores = "".join(f", {name} {metrics[key]:.3f}" for key, name in self.scores.items())
        yield (
            f"{self.words.measure} {metrics['accuracy']:.1%} ({metrics['accuracy_low']:.1%} to "
            f"{metrics['accuracy_high']:.1%}){scores}, invalid {int(metrics['invalid']):,}"
        )
        yield ", ".join(
            f"{trait.name} {metrics[key]:.1%}" if trait.is_share else f"{trait.name} {metrics[key]:.1f}"
            for key, trait in self.traits.items()
        )

    # For the comparison

    @cached_property
    def words(self) -> Words:
        others = [grader.words for grader in self.graders[1:]]
        further = f" Also reported: {', '.join(others)}." if others else ""
        measure = self.outcome.measure if self.graders else "share of right answers"
        return Words(
            measure=measure,
            gold="reference",
            cases="cases",
            invalid=("could not be parsed and counts", "could not be parsed and count"),
            no_answer={None: "(not parsed)"},
            gain="",
            confusion="",
            tags="Test cases have tags, such as the type of question",
            probabilities="",
            method=(
                f"Answers are graded by {measure}.{further} Interval of a score or trait: cluster bootstrap; test: "
                "sign flips by cluster.",
                "An answer that is empty or could not be parsed is invalid: it counts as wrong and stays in the "
                "denominator.",
                "An answer counts as being in another script if most of its letters belong to a script (Latin, "
                "Cyrillic, ...) that occurs in neither references nor inputs; languages with the same script are "
                "not distinguished. Repeated sequences of four words are those that already occurred in the answer "
                "(Welleck et al. 2020).",
            ),
        )

    answers_are_labels = False
    compared = ("scores",)
    traits: ClassVar[Mapping[str, Trait]] = TRAITS
    families = (
        Family("input_words", "input length", quarters),
        Family("answer_words", "reference length", quarters),
        Family("answer_lines", "reference lines"),
    )
    clauses = GENERATION_CLAUSES
    figures = ("n", "accuracy", "accuracy_low", "accuracy_high", *TRAITS, "invalid")
    hub = ("text-generation", "Text generation")

    @property
    def scores(self) -> Mapping[str, str]:
        if self.graders:
            return {name: grader.words for name, grader in self._score_graders.items()}
        bare = {name: name.removeprefix(SCORE) for name in self.scored}
        return {name: METHODS[by].words if by in METHODS else by.replace("_", " ") for name, by in bare.items()}

    @property
    def lenient(self) -> str | None:
        return next((name for name, grader in self._score_graders.items() if grader.grade.lenient), None)

    @property
    def columns(self) -> tuple[str, ...]:
        return ("answers", *self.scores, *self.traits)

    def classes(self, answers: Iterable[str | None]) -> list[str | None]:
        return [None if answer is None else ANSWER for answer in answers]

    def gold(self, cases: Sequence[Case]) -> list[Gold]:
        return self.outcome.golds(_golds(cases)) if cases else []

    def right(self, gold: Gold, answer: str) -> bool:
        return self.outcome.right(gold, answer)

    def outcomes(self, gold: Iterable[Gold], answers: Iterable[str | None]) -> list[str]:
        """Return the outcome of each answer; all at once, because a module of `evaluate` may grade them in one call."""
        found, golds = list(answers), list(gold)
        scores = self.outcome.scores(golds, found)
        return [
            INVALID if answer is None else RIGHT if score >= self.outcome.threshold else WRONG
            for answer, score in zip(found, scores, strict=True)
        ]

    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """Return the answers of constant, nearest and base.

        constant is the most frequent training answer, nearest the answer of the training case with the nearest inputs,
        and base that of the base model.
        """
        answers = [gold.references[0] for gold in self.gold(train)]
        queries, known = ([marked(case, self.inputs) for case in split] for split in (test, train))
        given = {
            "constant": [frequent_answer(answers)] * len(test),
            "nearest": nearest_answers(known, answers, queries),
        }
        taken = {name: [self.outcome.method.taken(one) for one in each] for name, each in given.items()}
        return {**taken, "base": base["base"]}

    @property
    def baseline_names(self) -> dict[str, str]:
        return {
            "constant": "the most frequent training answer",
            "nearest": "the answer of the nearest training case",
            "base": "base model",
        }

    @property
    def baseline_phrases(self) -> dict[str, str]:
        return {
            "constant": "always giving the most frequent training answer",
            "nearest": "giving the answer of the nearest training case",
        }

    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        rows = [
            {
                "input_words": sum(len(text.split()) for text in case.inputs.values()),
                "answer_words": min((len(answer.text.split()) for answer in case.answers), default=0),
                "answer_lines": "several" if any("\n" in answer.text.strip() for answer in case.answers) else "one",
            }
            for case in cases
        ]
        return pd.DataFrame(rows, index=pd.Index([case.case_id for case in cases], name="case_id"))

    def model_evidence(self, rows: pd.DataFrame, cases: Sequence[Case], who: str) -> dict[str, list[Any]]:
        texts, taken = rows[f"text_{who}"].tolist(), rows[f"prediction_{who}"].tolist()
        # The text is omitted if it equals the answer, which the evidence already has.
        written = [None if text.strip() == answer else text for text, answer in zip(texts, taken, strict=True)]
        found: dict[str, list[Any]] = {
            "text": written,
            "words": rows[f"trait_words_{who}"].tolist(),
            "repetition": rows[f"trait_repetition_{who}"].tolist(),
            "other_script": (rows[f"trait_other_script_{who}"] > 0).tolist(),
        }
        first = next(iter(self.scores), None)
        return found if first is None else found | {"score": rows[f"{first}_{who}"].tolist()}

    def case_evidence(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        first = next(iter(self.scores.values()), None)
        return {} if first is None else {"score_name": [first] * len(cases)}

    def neighbour(self, case: Case, distance: float) -> dict[str, Any]:
        answer = next((answer.text for answer in case.answers), "")
        question = case.inputs[next(iter(self.inputs))]
        return {"case_id": case.case_id, "question": question, "answer": answer, "distance": distance}

    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        for who in MODELS:
            answer = record.get(f"{who}_prediction", 0)
            if not (answer is None or isinstance(answer, str)):
                raise TunediffError(f"{place}: {who}_prediction: found {shown(answer)}, expected null or text")
            for name in (f"{who}_{score}" for score in self.scores):
                score = record.get(name)
                if not is_number(score) or not 0 <= float(score or 0) <= 1:
                    raise TunediffError(f"{place}: {name}: found {shown(score)}, expected a number in 0..1")
        return dict(record) | {"answers": marked_answers(record, "", place)}

    def gold_text(self, record: Mapping[str, Any]) -> str:
        return " / ".join(self.gold_texts(record))

    def read_gold(self, table: pd.DataFrame, label: pd.Series, name: str) -> dict[str, pd.Series]:
        try:
            gold = [tuple(Answer(str(text), None) for text in texts) for texts in table["answers"]]
            numbers = {key: table[key].astype(float) for key in (*self.scores, *self.traits)}
        except (TypeError, ValueError, OverflowError) as error:
            raise TunediffError(
                f"{name}: answers, scores: found {error}, expected lists of texts, and numbers"
            ) from None
        for key, values in numbers.items():
            most = 1.0 if key in self.scores or self.traits[key].is_share else np.finfo(np.float64).max
            outside = ~values.between(0, most)
            if outside.any():
                row = values.index[int(outside.to_numpy().argmax())]
                expected = "a number in 0..1" if most == 1 else "a number, at least 0"
                raise TunediffError(f"{name}, row {row}: {key}: found {shown(table[key][row])}, expected {expected}")
        return {"answers": pd.Series(gold, index=table.index, dtype=object), **numbers}


def _golds(cases: Sequence[Case]) -> list[Gold]:
    return [Gold(case.case_id, case.inputs, tuple(answer.text for answer in case.answers)) for case in cases]


def _references(gold: object, place: str) -> tuple[Answer, ...]:
    """The distinct references of a cell, in order."""
    values = gold if isinstance(gold, list) else [gold]
    if not values:
        raise TunediffError(f"{place}: found no reference, expected at least one")
    texts = [json.dumps(one, ensure_ascii=False) if isinstance(one, dict) else _plain(one, place) for one in values]
    return tuple(Answer(checked_text(text, place), None) for text in dict.fromkeys(texts))


def _plain(value: object, place: str) -> str | None:
    try:
        return verbatim_text(value)
    except TypeError:
        raise TunediffError(
            f"{place}: found {shown(value)}, expected text, a number, an object or a list of them"
        ) from None
