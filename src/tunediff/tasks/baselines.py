"""Trivial baselines: the majority label, bags of words, the answer of the nearest training case.

On NLI, a classifier that reads only the hypothesis shows how far labels can be predicted without the premise
(Gururangan et al. 2018; Poliak et al. 2018):

    tfidf_logistic(train["hypothesis"], train["label"], test["hypothesis"])
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from tunediff.data.cases import Case
from tunediff.data.leaks import WORD
from tunediff.runtime.errors import TunediffError

Answers = Sequence[str | None]


def majority_label(train_labels: Iterable[str]) -> str:
    """Return the most frequent label of the training rows; ties are resolved alphabetically."""
    counts = Counter(train_labels)
    return min(counts, key=lambda label: (-counts[label], label))


def tfidf_logistic(train_texts: Sequence[str], train_labels: Sequence[str], test_texts: Iterable[str]) -> list[str]:
    """Train logistic regression on TF-IDF of words and word pairs; predict the label of each test text.

    There are at least two labels. The result is deterministic, given the order of the rows.

    Raises:
        TunediffError: the training rows have no word.
    """
    # scikit-learn takes over a second to import.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    # One-letter words are kept: "a" versus "the", and figures, are cues that a classifier can use.
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
    """Return the most frequent answer; of ties, the one that occurs first.

    Raises:
        TunediffError: there is no answer.
    """
    if not train:
        raise TunediffError("constant-answer baseline: found no training case, expected at least one")
    return Counter(train).most_common(1)[0][0]


def nearest_answers(train_texts: Sequence[str], train_answers: Sequence[str], test_texts: Sequence[str]) -> list[str]:
    """Return the answer of the nearest training text for each test text; of ties, the first.

    The distance is the cosine distance of TF-IDF weighted words.

    Raises:
        TunediffError: the training texts have no word.
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
    """Return the inputs as one text; with several inputs, each word is marked with the number of its input."""
    if len(inputs) == 1:
        return case.inputs[inputs[0]]
    return " ".join(WORD.sub(rf"{place}_\g<0>", case.inputs[name]) for place, name in enumerate(inputs))


def longest_options(cases: Sequence[Case], labels: Sequence[str]) -> list[str]:
    """Return the label of the option with the most characters for each case; of ties, the first."""
    return [labels[max(range(len(case.options)), key=lambda at: len(case.options[at]))] for case in cases]


def likeliest_options(train: Sequence[Case], test: Sequence[Case], labels: Sequence[str]) -> list[str]:
    """Return the label of the option that is most likely right, judged without the inputs, for each test case.

    Logistic regression on TF-IDF of words and word pairs is trained on the options of the training cases. Options
    without known words are equally likely. Of ties, the first.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b")  # noqa: S106
    try:
        known = vectorizer.fit_transform([option for case in train for option in case.options])
    except ValueError:  # the options have no words
        return [labels[0]] * len(test)
    is_right = [label == case.label for case in train for label, _ in zip(labels, case.options, strict=True)]
    model = LogisticRegression(max_iter=1000).fit(known, is_right)
    scores = model.decision_function(vectorizer.transform([option for case in test for option in case.options]))
    return [labels[place] for place in scores.reshape(len(test), len(labels)).argmax(axis=1)]
