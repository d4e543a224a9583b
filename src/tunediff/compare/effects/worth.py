"""What costs next to nothing: the majority label, bags of words, the base model without its label preference.

A fine-tuned model is worth its GPU by what it adds to the best of these, on the same cases. On NLI a classifier that
reads the hypothesis alone shows what the test set gives away without the premise (Gururangan et al. 2018; Poliak et al.
2018):

    tfidf_logistic(train["hypothesis"], train["label"], test["hypothesis"], test["label"]).accuracy

    table = worth(gold, tuned_predictions, trivial_baselines(train, test, task, base_log_probs))
    worth_metrics(table)       # {"baseline_best": 0.64, "gain_over_baseline": 0.24, ...}

Of question answering they are: no answer to any question, a name out of the likeliest sentence, and the base model.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import eq
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.label_bias import calibrated_predictions
from tunediff.compare.explanations.question_wording import capitalised
from tunediff.config.task import UNANSWERABLE, Task
from tunediff.data.cases import Case
from tunediff.runtime.errors import TunediffError
from tunediff.stats.intervals import wilson
from tunediff.stats.paired import difference_interval, mcnemar_exact

Answers = Sequence[str | None]

_WORD = re.compile(r"\w+")


class Baseline(NamedTuple):
    """Predictions of a baseline on the test cases, in their order, and its accuracy in 0..1."""

    predictions: list[str]
    accuracy: float


def majority_label(train_labels: Iterable[str], test_labels: Sequence[str]) -> Baseline:
    """Answer the most frequent label of the training rows for every test case; of equals, the first by name.

    Raises:
        TunediffError: no training row.
    """
    counts = Counter(train_labels)
    if not counts:
        raise TunediffError("majority-label baseline: found no training row, expected at least one")
    answer = min(counts, key=lambda label: (-counts[label], label))
    return _scored([answer] * len(test_labels), test_labels)


def tfidf_logistic(
    train_texts: Iterable[str],
    train_labels: Iterable[str],
    test_texts: Iterable[str],
    test_labels: Sequence[str],
) -> Baseline:
    """Train logistic regression on TF-IDF of words and word pairs; predict the label of each test text.

    The same rows in the same order give the same predictions: nothing in it is drawn at random.

    Raises:
        TunediffError: fewer than two labels or no word at all in the training rows.
    """
    # scikit-learn takes over a second to import: only who asks for this baseline pays for it.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    train_texts, train_labels = list(train_texts), list(train_labels)
    if len(set(train_labels)) < 2:
        raise TunediffError(
            f"bag-of-words baseline: labels of the training rows: found {sorted(set(train_labels))}, "
            "expected at least two"
        )
    # One-letter words stay in: "a" against "the", and figures, are cues that a cheap classifier may use.
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    try:
        train_features = vectorizer.fit_transform(train_texts)
    except ValueError as error:
        raise TunediffError(
            f"bag-of-words baseline: found no word in {len(train_texts)} training texts, expected some"
        ) from error
    model = LogisticRegression(max_iter=1000).fit(train_features, train_labels)
    return _scored([str(label) for label in model.predict(vectorizer.transform(test_texts))], test_labels)


def trivial_baselines(
    train: Sequence[Case],
    test: Sequence[Case],
    task: Task,
    base_log_probs: npt.NDArray[np.float64] | None = None,
    few_shot: Answers | None = None,
) -> dict[str, Answers]:
    """Return the predictions of every baseline on the test cases, in their order, by name.

    Args:
        train: the training cases.
        test: the test cases.
        task: names of inputs and labels.
        base_log_probs: of the base model on the test cases, of shape (n_cases, n_labels); None: not measured.
        few_shot: predictions of the base model with examples in its prompt; None: not measured.

    Returns:
        majority; bag_of_words, which reads all inputs, a word of one input apart from the same word of another, and
        partial_input, which reads the partial-input input alone (one of the two where the task has one input; neither
        where the training cases cannot train a classifier, having one label or no word); calibrated_base;
        few_shot_base.

    Raises:
        TunediffError: no training case.
    """
    labels, gold = [case.label for case in train], [case.label for case in test]
    answers: dict[str, Answers] = {"majority": majority_label(labels, gold).predictions}
    read = {"partial_input": [task.partial_input]}
    if len(task.inputs) > 1:
        read["bag_of_words"] = task.inputs
    words = any(_WORD.search(text) for case in train for text in case.inputs.values())
    for name, inputs in read.items() if words and len(set(labels)) > 1 else ():
        texts = ([_marked(case, inputs) for case in split] for split in (train, test))
        answers[name] = tfidf_logistic(next(texts), labels, next(texts), gold).predictions
    if base_log_probs is not None:
        answers["calibrated_base"] = calibrated_predictions(base_log_probs, task.labels).tolist()
    if few_shot is not None:
        answers["few_shot_base"] = few_shot
    return answers


def answer_baselines(test: Sequence[Case], labels: Sequence[str], base: Answers) -> dict[str, Answers]:
    """Return the answers of every baseline to the test questions, in their order, by name.

    Args:
        test: the test cases, with question and context.
        labels: the label list of the task.
        base: answers of the base model, None where invalid.

    Returns:
        no_answer: none to any question, where questions may have none; capitalised: see
        `tunediff.compare.explanations.question_wording.capitalised`; base: the base model as it stands.
    """
    never: dict[str, Answers] = {"no_answer": [""] * len(test)} if UNANSWERABLE in labels else {}
    words = [capitalised(case.inputs["question"], case.inputs["context"]) for case in test]
    return never | {"capitalised": words, "base": base}


def worth(
    gold: Sequence[Any],
    tuned: Answers,
    baselines: Mapping[str, Answers],
    confidence: float = 0.95,
    fits: Callable[[Any, str], bool | int] = eq,
) -> pd.DataFrame:
    """Return what the tuned model adds to each baseline on the same cases, best baseline first.

    The best baseline is the one that these cases show best, which is in its favour and not in the tuned model's.

    Args:
        gold: the right label of each case, or whatever `fits` holds an answer against.
        tuned: predictions of the tuned model, None where invalid, in the same order.
        baselines: predictions of each baseline by name, in the same order.
        confidence: of every interval.
        fits: whether an answer is right, given the gold one first.

    Returns:
        baseline: its name. accuracy: its own, 0..1, with the Wilson interval low..high. repaired: cases that the
        tuned model has right and the baseline wrong; broken: the other way round. gain: tuned minus baseline, in
        -1..1, with its paired interval gain_low..gain_high (Tango 1998). p: exact McNemar test.

    Raises:
        TunediffError: no case, or other numbers of predictions than cases.
    """
    n = len(gold)
    for name, answers in {"tuned model": tuned, **baselines}.items():
        if len(answers) != n or n == 0:
            raise TunediffError(f"worth: {name}: found {len(answers)} predictions for {n} cases, expected one each")

    def matches(answers: Answers) -> npt.NDArray[np.bool_]:
        pairs = zip(gold, answers, strict=True)
        return np.array([answer is not None and bool(fits(one, answer)) for one, answer in pairs])

    right = matches(tuned)
    rows = []
    for name, answers in baselines.items():
        own = matches(answers)
        repaired, broken = int((right & ~own).sum()), int((own & ~right).sum())
        low, high = wilson(int(own.sum()), n, confidence)
        gain_low, gain_high = difference_interval(repaired, broken, n, confidence)
        rows.append(
            {
                "baseline": name,
                "accuracy": own.mean(),
                "low": low,
                "high": high,
                "repaired": repaired,
                "broken": broken,
                "gain": (repaired - broken) / n,
                "gain_low": gain_low,
                "gain_high": gain_high,
                "p": mcnemar_exact(repaired, broken),
            }
        )
    return pd.DataFrame(rows).sort_values("accuracy", ascending=False, kind="stable", ignore_index=True)


def worth_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Return baseline_best, its accuracy, and gain_over_baseline with its interval _low and _high, all fractions.

    Args:
        table: what `worth` returns.
    """
    best = table.iloc[0]
    return {
        "baseline_best": float(best["accuracy"]),
        "gain_over_baseline": float(best["gain"]),
        "gain_over_baseline_low": float(best["gain_low"]),
        "gain_over_baseline_high": float(best["gain_high"]),
    }


def _marked(case: Case, inputs: Sequence[str]) -> str:
    """The inputs as one text; with several, each word carries the number of its input."""
    if len(inputs) == 1:
        return case.inputs[inputs[0]]
    return " ".join(_WORD.sub(rf"{place}_\g<0>", case.inputs[name]) for place, name in enumerate(inputs))


def _scored(predictions: list[str], test_labels: Sequence[str]) -> Baseline:
    right = sum(predicted == label for predicted, label in zip(predictions, test_labels, strict=True))
    return Baseline(predictions, right / len(predictions))
