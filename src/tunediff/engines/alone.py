"""Whether a case that is asked alone gets the answer that it got among others: the standing check of a prediction.

    check_alone(lengths, found, lambda i: engine.log_probs([prompts[i]], texts, title)[0], "float32", title)

Batches may change an answer by rounding and by nothing else. A few cases, spread by length, are
asked again, each alone.
"""

import math
from collections.abc import Callable, Sequence

from tunediff.runtime.errors import TunediffError

# Cases that are asked again.
SAMPLE = 8
# Nats by which rounding may move a log-likelihood, for each 20 nats of it, by the dtype of the model. In bfloat16,
# logits of 16 to 32 are 0.125 apart: SmolLM2-135M in NF4 was off by 0.31, answers that depend on the batch by 1.3 and
# more.
ROUNDING = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.6}


def apart(first: Sequence[float], second: Sequence[float], scales: Sequence[float] | None = None) -> float:
    """How far two rows of log-probabilities are apart: the largest difference of a pair, in nats.

    Equal values are 0 apart, also where both are minus infinity. NaN where a value of either row is NaN, for it is no
    smaller than any difference.

    Args:
        first: log-probabilities.
        second: as many.
        scales: what each difference is divided by; 1 where there are none.
    """
    furthest = 0.0
    for one, other, scale in zip(first, second, scales or [1.0] * len(second), strict=True):
        furthest = farther(furthest, 0.0 if one == other else abs(one - other) / scale)
    return furthest


def farther(one: float, other: float) -> float:
    """The larger of two differences; NaN where either is NaN, which `max` would lose."""
    return other if not other <= one and not math.isnan(one) else one


def check_alone(
    lengths: Sequence[int],
    found: Sequence[Sequence[float] | str],
    ask: Callable[[int], Sequence[float] | str],
    dtype: str,
    title: str,
) -> None:
    """Ask some cases again, each alone, and compare.

    Of numbers (log-likelihoods in nats) none may be off by more than rounding. Of texts all have to be the same in
    float32; where numbers are coarser, rounding decides between words that are as likely, so most have to be.

    Args:
        lengths: of each case the tokens of its prompt.
        found: of each case the answer among others: log-likelihoods, or a text.
        ask: gives the answer to a case alone, by its number.
        dtype: of the model: float32, float16 or bfloat16.
        title: what was asked, for the error.

    Raises:
        TunediffError: an answer depends on the cases beside it.
    """
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    n = min(SAMPLE, len(order))
    sample = [order[k * (len(order) - 1) // max(n - 1, 1)] for k in range(n)]
    limit, texts, furthest = ROUNDING.get(dtype, max(ROUNDING.values())), [], 0.0
    for i in dict.fromkeys(sample):
        among, alone = found[i], ask(i)
        if isinstance(among, str) or isinstance(alone, str):
            texts.append(among == alone)
            continue
        scales = [max(1.0, abs(other) / 20) if math.isfinite(other) else 1.0 for other in alone]
        furthest = farther(furthest, apart(among, alone, scales))
    wrong = texts.count(False)
    if not furthest <= limit:
        raise TunediffError(
            f"{title}: evaluated alone, a case gets log-likelihoods that differ by {furthest:.2g} nats from those in "
            f"a batch, expected at most {limit:g}: this model's answers depend on the batch"
        )
    if wrong > (0 if dtype == "float32" else len(texts) // 2):
        raise TunediffError(
            f"{title}: evaluated alone, {wrong} of {len(texts)} cases get a different text than in a batch: this "
            "model's answers depend on the batch"
        )
