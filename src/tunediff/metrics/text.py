"""BLEU, ROUGE and METEOR of free-text answers, computed by the usual libraries.

    >>> found = text_scores([["the cat sat on the mat"], ["a dog", "one dog"]], ["the cat sat on a mat", "one dog"])
    >>> round(found["bleu"], 1), found["bleu_system_length"], round(found["rougeL"], 3)
    (55.8, 8, 0.917)

Several references of a case are handled as in the libraries:

    BLEU      sacrebleu: an n-gram counts up to its maximum count in any reference, and the reference length is the
              closest one. Cases may have different numbers of references.
    ROUGE     rouge-score: the best reference of each case, separately for each ROUGE (`score_multi`), then the mean
              over the cases. `evaluate` uses the same scores, but its mean is the median of bootstrap samples.
    METEOR    nltk: the best reference of each case, then the mean over the cases, like `evaluate`.

BLEU is a ratio of sums over the corpus, so it can be computed from the sum of `bleu_counts` over the cases.

rouge-score only reads the letters a to z and digits, and none of the libraries splits text without spaces into words.
If more than one case in twenty has references in other scripts than Latin, all texts are split into words first
(`words`): by Unicode letters, and into single characters in Chinese, Japanese, Thai and other scripts without spaces.
For Latin script, results are identical to those of the libraries.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tunediff.runtime.errors import TunediffError

Floats = npt.NDArray[np.float64]
Texts = Sequence[str]

ORDERS = 4  # BLEU counts n-grams of one to four words
ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")

# If a larger share of the cases is not in Latin script, all texts are split into words by Unicode.
FEW = 0.05
# Characters of scripts without spaces between words, and full-width punctuation: Thai, Lao, Tibetan, Burmese, Khmer;
# Chinese and Japanese.
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u3190-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_CHARACTER = re.compile(f"[{_UNSPACED}]")


def is_latin(answers: Sequence[Texts]) -> bool:
    """Return whether nearly all cases have references in mostly Latin letters, which the libraries can read.

    Args:
        answers: the reference texts of each case.
    """
    return sum(not _is_latin("".join(references)) for references in answers) <= FEW * len(answers)


def _is_latin(text: str) -> bool:
    if text.isascii():
        return True
    letters = [unicodedata.name(letter, "") for letter in text if letter.isalpha()]
    return 2 * sum(name.startswith("LATIN") for name in letters) >= len(letters)


def words(text: str) -> str:
    """Return a text with a space around each character of scripts without spaces between words.

    >>> words("東京タワー, Tokyo")
    '東 京 タ ワ ー , Tokyo'
    """
    parts: list[str] = []
    for character in text:
        # A combining mark belongs to the character before it.
        marked = unicodedata.category(character) in ("Mn", "Mc")
        if parts and not marked and (_CHARACTER.match(character) or _CHARACTER.match(parts[-1])):
            parts.append(character)
        elif parts:
            parts[-1] += character
        else:
            parts.append(character)
    return re.sub(r"[^\S\n]+", " ", " ".join(parts)).strip()


class _Words:
    """A tokenizer for rouge-score that reads letters and digits of any script, in lower case."""

    def tokenize(self, text: str) -> list[str]:
        marks = "".join(one if one.isalnum() or unicodedata.category(one)[0] == "M" else " " for one in text.lower())
        return words(marks).split()


def text_scores(answers: Sequence[Texts], predictions: Texts) -> dict[str, float]:
    """Return BLEU, ROUGE and METEOR of a corpus, as a flat dict.

    Args:
        answers: the reference texts of each case, at least one.
        predictions: the predicted text of each case.

    Returns:
        bleu and bleu_precision_1 to _4 in 0..100; bleu_brevity_penalty in 0..1; bleu_system_length and
        bleu_reference_length in words. rouge1, rouge2, rougeL, rougeLsum: F-measure, 0..1. meteor, or
        meteor_without_synonyms if nltk does not find WordNet: 0..1.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    found = bleu_dictionary(bleu_counts(answers, predictions).sum(axis=0))
    found |= {name: float(scores.mean()) for name, scores in rouge_cases(answers, predictions).items()}
    return found | {meteor_name(): float(meteor_cases(answers, predictions).mean())}


def bleu_counts(answers: Sequence[Texts], predictions: Texts) -> Floats:
    """Return the counts of each case for BLEU, of shape (n_cases, 10).

    The columns: predicted words, words of the reference with the closest length, matching n-grams of 1 to 4 words,
    predicted n-grams of 1 to 4 words.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    from sacrebleu.metrics import BLEU

    answers, predictions = _readable(answers, predictions)
    # effective_order avoids a warning of sacrebleu for single cases; the counts are the same.
    bleu = BLEU(effective_order=True)
    rows = []
    for references, prediction in zip(answers, predictions, strict=True):
        score = bleu.sentence_score(prediction, list(dict.fromkeys(references)))
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows, dtype=np.float64)


def bleu_dictionary(sums: Floats) -> dict[str, float]:
    """Return BLEU and its components from summed `bleu_counts`, like sacrebleu (smoothing: exp)."""
    from sacrebleu.metrics import BLEU

    counts = [int(value) for value in sums]
    score = BLEU.compute_bleu(
        counts[2 : 2 + ORDERS], counts[2 + ORDERS :], sys_len=counts[0], ref_len=counts[1], smooth_method="exp"
    )
    return {
        "bleu": float(score.score),
        **{f"bleu_precision_{order}": float(value) for order, value in enumerate(score.precisions, start=1)},
        "bleu_brevity_penalty": float(score.bp),
        "bleu_system_length": score.sys_len,
        "bleu_reference_length": score.ref_len,
    }


def corpus_bleu(sums: Floats) -> Floats:
    """Return BLEU of many corpora, in 0..100, of shape (corpora,), from summed `bleu_counts` of shape (corpora, 10).

    The formula of sacrebleu with its smoothing `exp`: the k-th order without a match counts as 1 / 2^k matches (method
    3 of Chen and Cherry 2014).
    """
    predicted, reference = sums[:, 0], sums[:, 1]
    shared, runs = sums[:, 2 : 2 + ORDERS], sums[:, 2 + ORDERS :]
    missed = (shared == 0) & (runs > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=1), shared)
    matched = (runs > 0).all(axis=1) & (shared > 0).any(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.log(smoothed / runs).mean(axis=1)
        brevity = np.minimum(0.0, 1 - reference / predicted)
        return np.where(matched, 100 * np.exp(precision + brevity), 0.0)


def bleu_cases(answers: Sequence[Texts], predictions: Texts) -> Floats:
    """Return BLEU of each case, 0..1, of shape (n_cases,): sacrebleu's sentence score, smoothing `exp`.

    Orders that a short answer does not have are ignored (effective order). The mean is not the BLEU of the corpus.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    from sacrebleu.metrics import BLEU

    return _sentence_scores(BLEU(effective_order=True), *_readable(answers, predictions))


def chrf_cases(answers: Sequence[Texts], predictions: Texts) -> Floats:
    """Return chrF of each case (Popovic 2015), 0..1, of shape (n_cases,): sacrebleu's sentence score, beta 2, order 6.

    It counts character n-grams, so it works for every script; the best reference counts.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    from sacrebleu.metrics import CHRF

    _check(answers)
    return _sentence_scores(CHRF(), answers, predictions)


def _sentence_scores(metric: Any, answers: Sequence[Texts], predictions: Texts) -> Floats:
    """The score of each case by a metric of sacrebleu, in 0..1."""
    pairs = zip(answers, predictions, strict=True)
    scores = [metric.sentence_score(text, list(dict.fromkeys(references))).score / 100 for references, text in pairs]
    # Rounding can make the score of a perfect answer slightly larger than 1.
    return np.minimum(np.array(scores, dtype=np.float64), 1.0)


def rouge_cases(answers: Sequence[Texts], predictions: Texts) -> dict[str, Floats]:
    """Return F-measures of ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum of each case, 0..1, each of shape (n_cases,).

    Words are split by rouge-score without stemming, like in `evaluate`. ROUGE-Lsum treats lines as sentences.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _check(answers)
    tokenizer = None if is_latin(answers) else _Words()
    scorer = RougeScorer(list(ROUGE), use_stemmer=False, tokenizer=tokenizer)
    rows = []
    for references, prediction in zip(answers, predictions, strict=True):
        best = scorer.score_multi(list(dict.fromkeys(references)), prediction)
        rows.append([best[name].fmeasure for name in ROUGE])
    return dict(zip(ROUGE, np.array(rows, dtype=np.float64).T, strict=True))


def meteor_cases(answers: Sequence[Texts], predictions: Texts) -> Floats:
    """Return METEOR of each case with nltk's parameters (alpha 0.9, beta 3, gamma 0.5), 0..1, of shape (n_cases,).

    Words are matched exactly, then by stem, then by WordNet's synonyms. If nltk does not find WordNet, synonyms are
    omitted, which `meteor_name` indicates. Texts are not split into sentences, because nltk would have to download a
    model for that.

    Raises:
        TunediffError: there is no case, or a case has no reference.
    """
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.translate.meteor_score import meteor_score

    answers, predictions = _readable(answers, predictions)
    cut = NLTKWordTokenizer().tokenize
    synonyms = _wordnet() or SimpleNamespace(synsets=lambda _: ())
    scores = [
        meteor_score([cut(text) for text in dict.fromkeys(references)], cut(prediction), wordnet=synonyms)
        for references, prediction in zip(answers, predictions, strict=True)
    ]
    return np.array(scores, dtype=np.float64)


def meteor_name() -> str:
    """Return the name of the METEOR variant that this machine can compute."""
    return "meteor" if _wordnet() else "meteor_without_synonyms"


@cache
def _wordnet() -> Any:
    """The reader of WordNet in nltk, None if its files are not found."""
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    return wordnet


def _readable(answers: Sequence[Texts], predictions: Texts) -> tuple[Sequence[Texts], Texts]:
    """The checked texts, split into words if the libraries could not do so."""
    _check(answers)
    if is_latin(answers):
        return answers, predictions
    return [[words(text) for text in references] for references in answers], [words(text) for text in predictions]


def _check(answers: Sequence[Texts]) -> None:
    if not len(answers):
        raise TunediffError("found no text to score, expected at least one")
    for number, references in enumerate(answers, start=1):
        if not len(references):
            raise TunediffError(f"text {number}: found no reference, expected at least one")
