"""Paired differences of metrics whose corpus value is not a mean over cases: SQuAD's best thresholds, BLEU and others.

    threshold_differences(aligned, 0.95, aligned["context"])
    # [Difference("best exact match", 0.412, 0.798, ...), Difference("best F1", ...)]
    text_differences(answers, aligned["prediction_base"], aligned["prediction_tuned"], 0.95, clusters)
    # [Difference("BLEU", 0.21, 0.77, ...), Difference("ROUGE-1", ...), ..., Difference("METEOR", ...)]

SQuAD's best exact match and F1 use a threshold that is tuned on the test questions, so each replicate tunes it again.
BLEU is a ratio of sums over cases, which each replicate recomputes. ROUGE and METEOR are means.

All values are in 0..1, including BLEU.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.effects.differences import Difference, score_difference
from tunediff.config.task import UNANSWERABLE
from tunediff.data.cases import MODELS, RIGHT
from tunediff.metrics.squad import threshold_gains
from tunediff.metrics.text import bleu_counts, corpus_bleu, meteor_cases, meteor_name, rouge_cases
from tunediff.stats import permutation
from tunediff.stats.bootstrap import (
    AT_ONCE,
    REPLICATES,
    Clusters,
    Floats,
    affordable,
    bootstrap_interval,
    cluster_codes,
    draws,
    expanded_percentiles,
    units,
)
from tunediff.stats.discordance import Flags
from tunediff.stats.permutation import swap_test, swap_test_of


def threshold_differences(aligned: pd.DataFrame, confidence: float, clusters: Clusters) -> list[Difference]:
    """Compare best exact match and best F1, as `tunediff.metrics.squad.best_threshold` defines them.

    Args:
        aligned: the result of `tunediff.compare.pairs.align.align`: label (answerable or unanswerable), and of both
            models prediction, outcome, f1 and log_probs of [answerable, unanswerable].
        confidence: level of the intervals.
        clusters: of length n_cases, such as the paragraph, resampled and swapped as a whole; None resamples and swaps
            single cases.

    Returns:
        An empty list if a model gives no probability of "no answer", or if there is a single case.
    """
    tables = [_two_numbers(aligned.get(f"log_probs_{model}")) for model in MODELS]
    if any(table is None for table in tables) or len(aligned) < 2:
        return []
    no_answer = np.exp([table[:, 1] for table in tables if table is not None])
    unanswerable = (aligned["label"] == UNANSWERABLE).to_numpy()
    codes = cluster_codes(clusters, len(aligned))
    rows = []
    for metric, column in (("best exact match", "outcome"), ("best F1", "f1")):
        gains = [_gains(aligned, model, column, ~unanswerable) for model in MODELS]
        pair = _Pair.ranked(np.stack(gains), no_answer, unanswerable, codes)
        base, tuned = (float(values[0]) for values in pair.best(np.ones((1, len(aligned)))))
        low, high = _retuned_interval(pair, confidence)
        p = swap_test_of(pair.swapped, pair.n_units, affordable(permutation.REPLICATES, len(aligned)))
        rows.append(Difference(metric, base, tuned, tuned - base, low, high, p, p))
    return rows


class _Pair(NamedTuple):
    """The questions of two models, sorted by increasing probability of "no answer"."""

    gains: Floats  # score of the answer minus that of "no answer", of shape (2, n_cases)
    orders: npt.NDArray[np.intp]  # order of each model's questions, of shape (2, n_cases)
    together: npt.NDArray[np.intp]  # order of both models' questions, interleaved base, tuned; shape (2 n_cases,)
    unanswerable: Flags
    codes: npt.NDArray[np.intp]  # the unit of each case

    @classmethod
    def ranked(cls, gains: Floats, no_answer: Floats, unanswerable: Flags, codes: npt.NDArray[np.intp]) -> "_Pair":
        orders = np.argsort(no_answer, axis=1, kind="stable")
        return cls(gains, orders, np.argsort(no_answer.T.ravel(), kind="stable"), unanswerable, codes)

    @property
    def n_units(self) -> int:
        return int(self.codes.max()) + 1

    def best(self, weights: Floats) -> list[Floats]:
        """The best mean score of each model for case weights of shape (replicates, n_cases)."""
        start, cases = weights @ self.unanswerable, weights.sum(axis=1)
        return [
            (start + _highest((weights * gains)[:, order])) / cases
            for gains, order in zip(self.gains, self.orders, strict=True)
        ]

    def swapped(self, swaps: Flags) -> Floats:
        """Tuned minus base after swapping the models' answers in some units, of shape (replicates,)."""
        n, gains = len(self.codes), self.gains.T.ravel()[self.together]
        cases, is_tuned = np.divmod(self.together, 2)
        found = []
        step = max(1, AT_ONCE // (2 * n))
        for first in range(0, len(swaps), step):
            after = swaps[first : first + step][:, self.codes[cases]] ^ is_tuned.astype(np.bool_)
            found.append((_highest(after * gains) - _highest(~after * gains)) / n)
        return np.concatenate(found)


def _highest(gains: Floats) -> Floats:
    """The highest sum over any first k questions that are answered; 0 if it is best to answer none."""
    return np.asarray(np.maximum(np.cumsum(gains, axis=1).max(axis=1), 0.0))


def _gains(aligned: pd.DataFrame, model: str, column: str, answerable: Flags) -> Floats:
    values = aligned[f"{column}_{model}"]
    scores: Floats = np.asarray(values == RIGHT if column == "outcome" else values, dtype=np.float64)
    return threshold_gains(scores, answerable, (aligned[f"prediction_{model}"] == "").to_numpy())


def _two_numbers(log_probs: pd.Series | None) -> Floats | None:
    """Log-probabilities of shape (n_cases, 2); None if a case has none."""
    if log_probs is None or log_probs.isna().any() or (log_probs.map(len) != 2).any():
        return None
    return np.array(log_probs.tolist(), dtype=np.float64)


def _retuned_interval(pair: _Pair, confidence: float) -> tuple[float, float]:
    if pair.n_units < 2:  # a single unit gives no information about sampling error
        return -1.0, 1.0
    values = []
    n = len(pair.codes)
    for drawn in draws(pair.n_units, affordable(REPLICATES, n)):
        step = max(1, AT_ONCE // n)
        for first in range(0, len(drawn), step):
            base, tuned = pair.best(drawn[first : first + step][:, pair.codes])
            values.append(tuned - base)
    return expanded_percentiles(np.concatenate(values), pair.n_units, confidence)


def text_differences(
    answers: Sequence[Sequence[str]],
    before: Sequence[str | None] | pd.Series,
    after: Sequence[str | None] | pd.Series,
    confidence: float,
    clusters: Clusters,
) -> list[Difference]:
    """Compare BLEU, ROUGE-1, ROUGE-2, ROUGE-L, ROUGE-Lsum and METEOR on the questions that have an answer.

    Args:
        answers: the reference texts of each question; empty if it has no answer.
        before: answers of the base model, empty for "no answer", null if invalid.
        after: answers of the tuned model.
        confidence: level of the intervals.
        clusters: of length n_cases, such as the paragraph, resampled and swapped as a whole; None resamples and swaps
            single cases.

    Returns:
        An empty list if no question has an answer. METEOR is named "METEOR without synonyms" if WordNet is missing.
    """
    references = [list(texts) for texts in answers if len(texts)]
    if not references:
        return []
    answerable = [len(texts) > 0 for texts in answers]
    texts = [pd.Series(list(given), dtype=object)[answerable].fillna("").tolist() for given in (before, after)]
    groups = None if clusters is None else pd.Series(list(clusters))[answerable]
    rows = [_bleu_difference([bleu_counts(references, given) for given in texts], confidence, groups)]
    by_case = [rouge_cases(references, given) | {meteor_name(): meteor_cases(references, given)} for given in texts]
    for name in by_case[0]:
        metric = name.replace("rouge", "ROUGE-").replace("meteor", "METEOR").replace("_", " ")
        rows.append(score_difference(metric, by_case[0][name], by_case[1][name], confidence, groups))
    return rows


def _bleu_difference(counts: Sequence[Floats], confidence: float, clusters: Clusters) -> Difference:
    def difference(sums: Floats) -> Floats:
        base, tuned = np.hsplit(sums, 2)
        return (corpus_bleu(tuned) - corpus_bleu(base)) / 100

    kept, swapped = np.hstack(counts), np.hstack(counts[::-1])
    base, tuned = (float(corpus_bleu(one.sum(axis=0)[None])[0]) / 100 for one in counts)
    drawn = units(kept, clusters)
    single = drawn.counts.sum() < 2
    low, high = (-1.0, 1.0) if single else bootstrap_interval(drawn, difference, confidence)
    p = swap_test(units(np.hstack([kept, swapped]), clusters), difference)
    return Difference("BLEU", base, tuned, tuned - base, low, high, p, p)
