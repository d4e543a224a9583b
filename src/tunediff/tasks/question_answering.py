"""Question answering: question and context in, a span of the context out.

A row in the hub's layout of SQuAD and the case that it becomes (repeated gold answers are kept once):

    {"id": "56ddde6b9a695914005b9628", "title": "Normans", "context": "The Normans (Norman: ...",
     "question": "In what country is ...", "answers": {"text": ["France", "France"], "answer_start": [159, 159]}}
    Case("CASEID", {"question": "In what country is ...", "context": "The Normans (Norman: ..."}, "answerable", (),
         (Answer("France", 159),))

A question whose lists are empty has the label `unanswerable`.
"""

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from tunediff.config.data import Origin
from tunediff.config.params import Params
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.data.cases import INVALID, MODELS, Answer, Case, answered
from tunediff.data.sources import Row
from tunediff.data.values import key_of
from tunediff.inputs.ask import Ask
from tunediff.metrics.accuracy import ONE_LABEL_SHARE
from tunediff.metrics.answer_scores import Answered, score_answers
from tunediff.metrics.named import text_inputs
from tunediff.metrics.squad import exact_match, token_f1
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.answer_clauses import ANSWER_CLAUSES, in_sentence, no_answer_odds
from tunediff.tasks.baselines import Answers
from tunediff.tasks.columns import cases_of, inputs_of, is_number, tags_of, value_of
from tunediff.tasks.families import Family, quarters, share, third
from tunediff.tasks.gold_answers import gold_answers, is_unlabelled, marked_answers, starts
from tunediff.tasks.grading import column, copied_columns, has_setting
from tunediff.tasks.question_rules import RULES, SETTINGS_RULES
from tunediff.tasks.question_wording import capitalised, question_wording
from tunediff.tasks.task import Chance, Tally, Task, Words


@dataclass(frozen=True)
class QuestionAnswering(Task):
    """Questions about a context, answered with a span of it, or with empty text if there is no answer."""

    rules = RULES
    settings_rules = SETTINGS_RULES

    @classmethod
    def from_columns(cls, columns: Iterable[str]) -> Self | None:
        return cls("", (), (), "", "") if set(cls.columns) <= set(columns) else None

    def cases(self, rows: Sequence[Row], data: Origin) -> list[Case | None]:
        """Return the case of each row, in the order of the rows; None for a row without a gold label.

        Answers keep their order. Repeated answers are dropped, because exact match and F1 use the best answer. A wrong
        or missing start is replaced by that of the first occurrence in the context, or by None if there is none.

        Raises:
            TunediffError: a column is missing, answers are not in the hub's layout, a text is empty, or a question has
                no answer although `task.labels` has no `unanswerable`.
        """
        unlabelled = {key_of(value) for value in data.unlabelled}

        def example(row: Row) -> tuple[dict[str, str], str, Sequence[str], tuple[Answer, ...]] | None:
            if is_unlabelled(value_of(row, data.columns["answers"]), unlabelled):
                return None
            gold = gold_answers(row, self.labels, data)
            inputs = inputs_of(row, self.inputs, data)
            return inputs, ANSWERABLE if gold else UNANSWERABLE, tags_of(row), gold

        return cases_of(rows, example)

    def notes(self, rows: Sequence[Row], cases: Sequence[Case | None], data: Origin) -> list[str]:
        """Return a note on how the starts of the gold answers were determined."""
        return [f"starts of the answers: {', '.join(f'{n:,} {how}' for how, n in starts(rows, cases, data).items())}"]

    def ask(self, params: Params) -> Ask:
        """Ask for a span of the context, or for one line of free text."""
        if params.model.head != "span":
            return Ask(answer="text", stop=list(dict.fromkeys(["\n", *(params.prompt.stop or [])])))
        return Ask(answer="span", names=list(self.labels) if UNANSWERABLE in self.labels else [])

    def grade(self, cases: Sequence[Case], answers: pd.DataFrame, ask: Ask) -> pd.DataFrame:
        """Return the prediction file; an answer is right if it equals a gold answer by SQuAD's exact match."""

        def predictions(text: str, log_probs: str) -> list[str | None]:
            if ask.answer == "text":
                return [parse_answer(one, self.labels) for one in answers[text]]
            if not ask.names:
                return list(answers[text])
            # The text is the most likely span, even if "no answer" is more likely.
            return [one if row[0] > row[1] else "" for one, row in zip(answers[text], answers[log_probs], strict=True)]

        frame = copied_columns(cases, answers)
        gold, found = self.gold(cases), predictions("text", "log_probs")
        frame["prediction"] = column(found)
        frame["outcome"] = self.outcomes(gold, found)
        frame["answers"] = pd.Series(gold, dtype=object)
        frame["f1"] = [0.0 if one is None else token_f1(texts, one) for texts, one in zip(gold, found, strict=True)]
        for setting in ("again", "seed"):
            if has_setting(answers, setting):
                frame[f"{setting}_prediction"] = column(predictions(f"{setting}_text", f"{setting}_log_probs"))
        return frame

    @property
    def measured(self) -> tuple[str, ...] | None:
        return ("prediction", "log_probs", "answers")

    def tunes_threshold(self, ask: Ask) -> bool:
        """Return whether the model gives a probability of no answer."""
        return ask.answer == "span" and bool(ask.names)

    def metrics(self, frame: pd.DataFrame, validation: pd.DataFrame | None) -> dict[str, float]:
        """Return the result of `tunediff.metrics.answer_scores.score_answers`."""
        return score_answers(*_answered(frame), validation=None if validation is None else _answered(validation))

    def module_inputs(self, features: Any, frame: pd.DataFrame) -> Mapping[str, Sequence[Any]] | None:
        """Return texts, with all references or with the first one; or the layout of squad and squad_v2."""
        given, answered = features["predictions"], _answered(frame)
        texts = [text or "" for text in answered.predictions]
        if inputs := text_inputs(features, answered.answers, texts):
            return inputs
        if not isinstance(given, Mapping) or not {"id", "prediction_text"} <= set(given):
            return None
        ids = frame["case_id"].tolist()
        predictions = [{"id": one, "prediction_text": text} for one, text in zip(ids, texts, strict=True)]
        if "no_answer_probability" in given:
            sure = [0.0] * len(ids) if answered.log_probs is None else np.exp([row[1] for row in answered.log_probs])
            predictions = [one | {"no_answer_probability": float(p)} for one, p in zip(predictions, sure, strict=True)]
        references = [
            # The layout requires starts, but the modules do not use them.
            {"id": one, "answers": {"text": list(gold), "answer_start": [0] * len(gold)}}
            for one, gold in zip(ids, answered.answers, strict=True)
        ]
        return {"predictions": predictions, "references": references}

    def described(self, frame: pd.DataFrame, metrics: Mapping[str, float]) -> Iterator[str]:
        """Yield the metrics as text, then those of the questions with and without an answer."""
        yield (
            f"exact match {metrics['exact']:.1f} % ({metrics['exact_low']:.1f} to {metrics['exact_high']:.1f} %), "
            f"F1 {metrics['f1']:.1f} %, invalid {int(metrics['invalid']):,}"
        )
        for key, words in (("HasAns", "with an answer"), ("NoAns", "without an answer")):
            if len(self.labels) > 1 and f"{key}_total" in metrics:
                yield (
                    f"{words}: exact match {metrics[f'{key}_exact']:.1f} %, F1 {metrics[f'{key}_f1']:.1f} %, "
                    f"{int(metrics[f'{key}_total']):,} questions"
                )
        for key, words in (("best", "best on these questions"), ("validated", "best on the validation split")):
            if f"{key}_exact" in metrics:
                yield (
                    f"no answer above the threshold that is {words}: "
                    f"exact match {metrics[f'{key}_exact']:.1f} % (above {metrics[f'{key}_exact_thresh']:.3f}), "
                    f"F1 {metrics[f'{key}_f1']:.1f} % (above {metrics[f'{key}_f1_thresh']:.3f})"
                )
        if "bleu" in metrics:
            meteor = next(key for key in metrics if key.startswith("meteor"))
            rouge = ", ".join(
                f"{key.replace('rouge', 'ROUGE-')} {metrics[key]:.3f}" for key in metrics if "rouge" in key
            )
            named = meteor.replace("meteor", "METEOR").replace("_", " ")
            yield f"BLEU {metrics['bleu']:.1f}, {rouge}, {named} {metrics[meteor]:.3f}"

    # For the comparison

    words = Words(
        measure="exact match",
        gold="gold answer",
        cases="questions",
        invalid=("could not be parsed and counts", "could not be parsed and count"),
        no_answer={None: "(not parsed)", "": "(no answer)"},
        gain="Contributions to the change of the questions with and without an answer",
        confusion="Rows: whether a question has an answer. Columns: whether a model gave one, right or wrong.",
        tags="Questions that have an answer and questions that have none",
        marked="The gold answer is marked in the context.",
        probabilities="The probabilities are of whether a question has an answer, not of the answer itself. ",
        method=(
            "A question is right if the answer, ignoring case, punctuation and articles, equals one of the gold "
            "answers, or is empty if there is none (Rajpurkar et al. 2016, 2018). Interval of F1: cluster "
            "bootstrap; test: sign flips by cluster.",
            "An answer that cannot be parsed counts as wrong and stays in the denominator. A model is called "
            "degenerate if it answers over 95 % of the questions, or abstains on over 95 %, and fewer questions "
            "than that are of this kind.",
        ),
    )
    columns = ("answers", "f1")
    scores: ClassVar = {"f1": "F1"}
    score_notes: ClassVar = {"f1": "based on the words shared with the gold answer"}
    answers_are_labels = False
    compared = ("scores", "thresholds", "texts")
    kinds: ClassVar = {"has_answer": ANSWERABLE, "no_answer": UNANSWERABLE}
    kind_words: ClassVar = {
        "has_answer": ("that have an answer", "with an answer"),
        "no_answer": ("that have none", "without one"),
    }
    families = (
        Family("question_word", "question word"),
        Family("answer_words", "answer length", quarters),
        Family("context_words", "context length", quarters),
        Family("overlap", "overlap", share),
        Family("answer_overlap", "sentence overlap", share),
        Family("position", "answer in the context", third),
    )
    clauses = ANSWER_CLAUSES
    figures = ("n", "exact", "exact_low", "exact_high", "f1", "invalid")
    # Thresholds of the validation split are known to an evaluation only.
    evaluated: ClassVar = {
        "validated_exact": "Exact match, no answer above the threshold of the validation split",
        "validated_f1": "F1, no answer above the threshold of the validation split",
    }
    probabilities: ClassVar = {
        "nll": "Negative log-likelihood of whether there is an answer, nats",
        "brier": "Brier score, 0 to 2, of whether there is an answer",
        "ece": "Calibration error, 0 to 1, of whether there is an answer",
    }
    hub = ("question-answering", "Question answering")

    @property
    def parts(self) -> dict[str, str]:
        return {
            "has_answer": "answering questions that have an answer",
            "no_answer": "abstaining where there is no answer",
        }

    @property
    def leak_inputs(self) -> tuple[str, ...]:
        return self.source_input, self.partial_input

    @property
    def near_inputs(self) -> Sequence[str]:
        return [self.partial_input]

    def classes(self, answers: Iterable[str | None]) -> list[str | None]:
        return [answered(answer) for answer in answers]

    def gold(self, cases: Sequence[Case]) -> list[list[str]]:
        return [[answer.text for answer in case.answers] for case in cases]

    def right(self, gold: Sequence[str], answer: str) -> bool:
        return bool(exact_match(gold, answer))

    def chance(self, tally: Tally) -> Chance:
        none = sum(cases for (label, _), cases in tally.items() if label == UNANSWERABLE)
        return Chance(none / sum(tally.values()), "never answering")

    def degenerate(self, tally: Tally) -> str | None:
        n = sum(tally.values())
        for kind, what in ((ANSWERABLE, "an answer to"), (UNANSWERABLE, "no answer to")):
            given = sum(cases for (_, answer), cases in tally.items() if answer == kind) / n
            true = sum(cases for (label, _), cases in tally.items() if label == kind) / n
            if given > ONE_LABEL_SHARE >= true:
                questions = f"{n:,} question{'s' * (n != 1)}"
                return f"It gives {what} {100 * given:.1f} % of {questions}; {100 * true:.1f} % are {kind}."
        return None

    def text_scores(self, metrics: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        texts = {name: value for name, value in metrics.items() if name.startswith(("rouge", "meteor"))}
        # Text metrics cover the questions that have an answer.
        return metrics.get("HasAns_f1", metrics.get("f1", 0)) / 100, texts

    def accuracy(self, metrics: Mapping[str, float]) -> dict[str, float]:
        return {f"accuracy{end}": metrics[f"exact{end}"] / 100 for end in ("", "_low", "_high")}

    def baselines(self, train: Sequence[Case], test: Sequence[Case], base: Mapping[str, Answers]) -> dict[str, Answers]:
        """Return the answers of no_answer, capitalised and base.

        no_answer answers no question, if questions may have no answer; capitalised takes a name from the sentence most
        similar to the question; base is the base model.
        """
        never: dict[str, Answers] = {"no_answer": [""] * len(test)} if UNANSWERABLE in self.labels else {}
        names = [capitalised(case.inputs["question"], case.inputs["context"]) for case in test]
        return never | {"capitalised": names, "base": base["base"]}

    @property
    def baseline_names(self) -> dict[str, str]:
        return {
            "no_answer": "no answer to any question",
            "capitalised": "a name from the most similar sentence",
            "base": "base model",
        }

    @property
    def baseline_phrases(self) -> dict[str, str]:
        return {
            "no_answer": "never answering",
            "capitalised": "taking a name from the sentence most similar to the question",
        }

    def features(self, cases: Sequence[Case], train: Sequence[Case] = ()) -> pd.DataFrame:
        return question_wording(cases)

    def model_evidence(self, rows: pd.DataFrame, cases: Sequence[Case], who: str) -> dict[str, list[Any]]:
        given = [None if pd.isna(answer) else answer for answer in rows[f"prediction_{who}"]]
        read = rows[f"outcome_{who}"] != INVALID
        found: dict[str, list[Any]] = {
            "answered": [bool(answer) if readable else None for answer, readable in zip(given, read, strict=True)],
            "f1": rows[f"f1_{who}"].tolist(),
            "in_sentence": [in_sentence(case, answer) for case, answer in zip(cases, given, strict=True)],
        }
        log_probs = rows.get(f"log_probs_{who}")
        return found if log_probs is None else found | {"no_answer_odds": [no_answer_odds(one) for one in log_probs]}

    def case_evidence(self, cases: Sequence[Case]) -> dict[str, list[Any]]:
        texts = self.features(cases)
        found = {
            name: texts[name].astype(object).where(texts[name].notna(), None).tolist()
            for name in ("question_word", "answer_overlap", "position")
        }
        return found | {"answer_words": [None if pd.isna(count) else int(count) for count in texts["answer_words"]]}

    def neighbour(self, case: Case, distance: float) -> dict[str, Any]:
        answer = next((answer.text for answer in case.answers), "")
        return {"case_id": case.case_id, "question": case.inputs["question"], "answer": answer, "distance": distance}

    def checked_record(self, record: Mapping[str, Any], place: str) -> dict[str, Any]:
        for who in MODELS:
            answer, scores, f1 = (record.get(f"{who}_{name}", 0) for name in ("prediction", "log_probs", "f1"))
            if not (answer is None or isinstance(answer, str)):
                raise TunediffError(f"{place}: {who}_prediction: found {shown(answer)}, expected null or text")
            if f"{who}_log_probs" in record and scores is not None:
                numbers = scores if isinstance(scores, list) and all(map(is_number, scores)) else []
                if len(numbers) != len(self.labels):
                    expected = f"{len(self.labels)} numbers, one per label"
                    raise TunediffError(f"{place}: {who}_log_probs: found {shown(scores)}, expected {expected}")
            if f"{who}_f1" not in record or not is_number(f1) or not 0 <= f1 <= 1:
                found = shown(record.get(f"{who}_f1"))
                raise TunediffError(f"{place}: {who}_f1: found {found}, expected a number in 0..1")
        return dict(record) | {"answers": marked_answers(record, record["context"], place)}

    def gold_text(self, record: Mapping[str, Any]) -> str:
        return " / ".join(self.gold_texts(record)) or self.words.no_answer[""]

    def read_gold(self, table: pd.DataFrame, label: pd.Series, name: str) -> dict[str, pd.Series]:
        try:
            gold = [tuple(Answer(str(text), None) for text in texts) for texts in table["answers"]]
            f1 = table["f1"].astype(float)
        except (TypeError, ValueError, OverflowError) as error:
            raise TunediffError(f"{name}: answers, f1: found {error}, expected lists of texts, and numbers") from None
        unknown = ~label.isin([ANSWERABLE, UNANSWERABLE])
        if unknown.any():
            row = f1.index[int(unknown.to_numpy().argmax())]
            found = shown(label[row])
            raise TunediffError(f"{name}, row {row}: label: found {found}, expected {ANSWERABLE} or {UNANSWERABLE}")
        outside = ~f1.between(0, 1)
        if outside.any():
            row = f1.index[int(outside.to_numpy().argmax())]
            raise TunediffError(f"{name}, row {row}: f1: found {shown(table['f1'][row])}, expected a number in 0..1")
        return {"answers": pd.Series(gold, index=table.index, dtype=object), "f1": f1}

    def read_answers(self, answers: pd.Series) -> pd.Series:
        return answers  # empty text means that there is no answer


def parse_answer(text: str, labels: Sequence[str]) -> str | None:
    r"""Return the answer in a generated text, which is its first line; None if there is no text.

    If `labels` has `unanswerable`, an answer of that word, ignoring case and punctuation, means that there is no
    answer, and empty text is returned.

    >>> parse_answer(" in the park\nQuestion: Who", ["answerable"])
    'in the park'
    >>> parse_answer("Unanswerable.", ["answerable", "unanswerable"])
    ''
    """
    line = text.strip().split("\n")[0].strip()
    if UNANSWERABLE in labels and line.casefold().strip(string.punctuation + string.whitespace) == UNANSWERABLE:
        return ""
    return line or None


def _answered(frame: pd.DataFrame) -> Answered:
    """The questions of a prediction file in the form for scoring; with log_probs only if every case has two."""
    given = frame["log_probs"].notna().all() and (frame["log_probs"].map(len) == 2).all()
    return Answered(
        answers=[list(texts) for texts in frame["answers"]],
        predictions=frame["prediction"].astype(object).where(frame["prediction"].notna(), None).tolist(),
        log_probs=frame["log_probs"].tolist() if given else None,
    )
