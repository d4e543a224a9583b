"""Check that answers do not depend on the batch: a case evaluated alone must get the same answer.

    check_alone(lengths, found, lambda i: engine.log_probs([prompts[i]], texts, title)[0], "float32", title)

Every prediction runs this check on a few cases, spread by length. Only rounding may differ between batches.
"""

import math
from collections.abc import Callable, Sequence

from tunediff.runtime.errors import TunediffError

# Number of cases that are evaluated again.
SAMPLE = 8
# Tolerance of a log-likelihood by the dtype of the model, in nats per 20 nats of its size. In bfloat16, logits of 16 to
# 32 are spaced 0.125 apart: SmolLM2-135M in NF4 differed by 0.31, models whose answers depend on the batch by 1.3 and
# more.
ROUNDING = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.6}


def max_difference(first: Sequence[float], second: Sequence[float], scales: Sequence[float] | None = None) -> float:
    """Return the largest difference between two rows of log-probabilities, in nats; NaN if any value is NaN.

    Two values of minus infinity do not differ.

    Args:
        first: log-probabilities.
        second: log-probabilities, of the same length.
        scales: divisors of the differences; None: 1.
    """
    largest = 0.0
    for left, right, scale in zip(first, second, scales or [1.0] * len(second), strict=True):
        largest = nan_max(largest, 0.0 if left == right else abs(left - right) / scale)
    return largest


def nan_max(first: float, second: float) -> float:
    """Return the larger of two numbers; unlike with `max`, NaN if either is NaN."""
    return second if not second <= first and not math.isnan(first) else first


def check_alone(
    lengths: Sequence[int],
    found: Sequence[Sequence[float] | str],
    ask: Callable[[int], Sequence[float] | str],
    dtype: str,
    title: str,
) -> None:
    """Evaluate a few cases again, each alone, and compare the answers.

    Log-likelihoods (in nats) may differ only by rounding. Generated texts must all be equal in float32; in lower
    precision, rounding decides between equally likely words, so more than half of them must be.

    Args:
        lengths: number of prompt tokens of each case.
        found: answer to each case in its batch: log-likelihoods, or a text.
        ask: returns the answer to a single case, by its index.
        dtype: dtype of the model: float32, float16 or bfloat16.
        title: what was evaluated, for the error.

    Raises:
        TunediffError: an answer depends on the other cases of its batch.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    n = min(SAMPLE, len(order))
    sample = [order[k * (len(order) - 1) // max(n - 1, 1)] for k in range(n)]
    limit, texts, largest = ROUNDING.get(dtype, max(ROUNDING.values())), [], 0.0
    for i in dict.fromkeys(sample):
        batched, alone = found[i], ask(i)
        if isinstance(batched, str) or isinstance(alone, str):
            texts.append(batched == alone)
            continue
        scales = [max(1.0, abs(value) / 20) if math.isfinite(value) else 1.0 for value in alone]
        largest = nan_max(largest, max_difference(batched, alone, scales))
    wrong = texts.count(False)
    if not largest <= limit:
        raise TunediffError(
            f"{title}: evaluated alone, a case gets log-likelihoods that differ by {largest:.2g} nats from those in "
            f"a batch, expected at most {limit:g}: this model's answers depend on the batch"
        )
    if wrong > (0 if dtype == "float32" else len(texts) // 2):
        raise TunediffError(
            f"{title}: evaluated alone, {wrong} of {len(texts)} cases get a different text than in a batch: this "
            "model's answers depend on the batch"
        )
