"""Answers that cost next to nothing: the majority label, bags of words, the answer of the nearest training case.

On NLI a classifier that reads the hypothesis alone shows what the test set gives away without the premise (Gururangan
et al. 2018; Poliak et al. 2018):

    tfidf_logistic(train["hypothesis"], train["label"], test["hypothesis"])
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from tunediff.data.cases import Case
from tunediff.data.leaks import WORD
from tunediff.runtime.errors import TunediffError

Answers = Sequence[str | None]


def majority_label(train_labels: Iterable[str]) -> str:
    """The most frequent label of the training rows; of equals, the first by name.

    Raises:
        TunediffError: no training row.
    """
    counts = Counter(train_labels)
    if not counts:
        raise TunediffError("majority-label baseline: found no training row, expected at least one")
    return min(counts, key=lambda label: (-counts[label], label))


def tfidf_logistic(train_texts: Iterable[str], train_labels: Iterable[str], test_texts: Iterable[str]) -> list[str]:
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
    return [str(label) for label in model.predict(vectorizer.transform(test_texts))]


def frequent_answer(train: Sequence[str]) -> str:
    """The most frequent of the answers; of equals, the first in their order.

    Raises:
        TunediffError: no answer.
    """
    if not train:
        raise TunediffError("constant-answer baseline: found no training case, expected at least one")
    return Counter(train).most_common(1)[0][0]


def nearest_answers(train_texts: Sequence[str], train_answers: Sequence[str], test_texts: Sequence[str]) -> list[str]:
    """The answer of the training text that is nearest to each test text; of equals, the first.

    By the cosine of TF-IDF weighted words.

    Raises:
        TunediffError: no word at all in the training texts.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    try:
        known = vectorizer.fit_transform(train_texts).T.tocsc()
    except ValueError as error:
        raise TunediffError(
            f"nearest-case baseline: found no word in {len(train_texts)} training texts, expected some"
        ) from error
    wanted, found = vectorizer.transform(test_texts), []
    step = max(1, 16_000_000 // len(train_texts))  # at most 128 MB of similarities at a time
    for at in range(0, len(test_texts), step):
        found += (wanted[at : at + step] @ known).toarray().argmax(axis=1).tolist()
    return [train_answers[place] for place in found]


def marked(case: Case, inputs: Sequence[str]) -> str:
    """The inputs as one text; with several, each word carries the number of its input."""
    if len(inputs) == 1:
        return case.inputs[inputs[0]]
    return " ".join(WORD.sub(rf"{place}_\g<0>", case.inputs[name]) for place, name in enumerate(inputs))


def longest_options(cases: Sequence[Case], labels: Sequence[str]) -> list[str]:
    """The place of the option with the most characters of each case; of equals, the first."""
    return [labels[max(range(len(case.options)), key=lambda at: len(case.options[at]))] for case in cases]


def likeliest_options(train: Sequence[Case], test: Sequence[Case], labels: Sequence[str]) -> list[str]:
    """The place of the option of each test case that reads most like a right one, without its inputs.

    Logistic regression on TF-IDF of words and word pairs learns which options of the training cases are right; an
    option that it gives no word of is as likely as any other. Of equals, the first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    try:
        known = vectorizer.fit_transform([option for case in train for option in case.options])
    except ValueError:  # no word in any option
        return [labels[0]] * len(test)
    is_right = [label == case.label for case in train for label, _ in zip(labels, case.options, strict=True)]
    model = LogisticRegression(max_iter=1000).fit(known, is_right)
    scores = model.decision_function(vectorizer.transform([option for case in test for option in case.options]))
    return [labels[place] for place in scores.reshape(len(test), len(labels)).argmax(axis=1)]
