"""Pass, fail or inconclusive: what was promised of the tuned model, held against the intervals of what was measured.

    judged = judge(wanted, change, clusters, {"label: neutral": flags}, confidence=0.95)
    overall(judged)                    # "inconclusive"
    print(verdict_text(judged, 0.95))

A promise passes where the whole interval keeps it and fails where none of the interval does; where the interval holds
both, too few cases were asked, and the verdict says how many would do. So two models that are equal fail as rarely as
the confidence says: each end of an interval is wrong in half of its cases, and of more than two promises each takes
its share of them to fail.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.compare.effects.transitions import change_interval
from tunediff.stats.bootstrap import Clusters, cluster_codes
from tunediff.stats.intervals import cases_for_rate, clopper_pearson
from tunediff.stats.paired import cases_for_margin, difference_interval
from tunediff.stats.shares import share_interval

Verdict = Literal["pass", "fail", "inconclusive"]
ALL = "all"

Flags = npt.NDArray[np.bool_]
Changes = npt.NDArray[np.int64]


class Wanted(NamedTuple):
    """What is promised; None: nothing.

    max_negative_flip_rate: of all cases at most this share breaks. non_inferiority_margin: the difference is above
    minus this, of all cases and of each slice. min_gain_over_baseline: the gain over the best trivial baseline is at
    least this.
    """

    max_negative_flip_rate: float | None = None
    non_inferiority_margin: float | None = None
    min_gain_over_baseline: float | None = None


class Gain(NamedTuple):
    """What the tuned model adds to the best trivial baseline, with its interval, all in -1..1."""

    gain: float
    low: float
    high: float


class Judged(NamedTuple):
    """A promise, what was measured, and the verdict.

    cases: how many were asked. needed: how many in all would do at these rates; None where no number does or none is
    known.
    """

    promise: str
    scope: str
    verdict: Verdict
    estimate: float
    low: float
    high: float
    limit: float
    cases: int
    needed: int | None


def judge(
    wanted: Wanted,
    change: Changes,
    clusters: Clusters,
    slices: Mapping[str, Flags],
    confidence: float,
    gain: Gain | None = None,
) -> list[Judged]:
    """Hold what is promised against what was measured.

    Args:
        wanted: the promises.
        change: what became of each case, of length n_cases, at least 1: 1 repaired, -1 broken, else 0.
        clusters: what cases may share, of length n_cases; None: every case stands for itself.
        slices: which cases are in each slice that the margin is promised for, by name; each of at least one.
        confidence: of every interval.
        gain: over the best trivial baseline, where it was measured.
    """
    codes = None if clusters is None else cluster_codes(clusters)
    everything = {ALL: np.ones(len(change), dtype=np.bool_)}
    margin, rate, least = wanted.non_inferiority_margin, wanted.max_negative_flip_rate, wanted.min_gain_over_baseline
    compared = {} if margin is None else everything | dict(slices)
    found: list[Judged] = []
    shares = len(compared) + (rate is not None)
    # A failure is found at one end of an interval: two promises share the level as they are. The interval of the gain
    # is as it was measured: it takes one of the two ends, and the others share what it leaves.
    strict = 1 - (1 - confidence) * min(1.0, (2 - (least is not None)) / max(1, shares))
    for name, inside in compared.items():
        assert margin is not None
        shared = None if codes is None else codes[inside]
        found.append(_non_inferior(name, change[inside], shared, margin, confidence, strict))
    if rate is not None:
        found.append(_few_breaks(change < 0, codes, rate, confidence, strict))
    if least is not None and gain is not None:
        verdict = _verdict(gain.low >= least, gain.high < least)
        found.append(Judged("gain over the best baseline", ALL, verdict, *gain, least, len(change), None))
    return found


def overall(judged: Sequence[Judged]) -> Verdict:
    """Fail where one promise fails, else inconclusive where one is, else pass."""
    found = {one.verdict for one in judged}
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


def verdict_metrics(judged: Sequence[Judged]) -> dict[str, object]:
    """Return verdict, and verdict_cases_needed where cases are missing and their number is known."""
    if not judged:
        return {}
    verdict = overall(judged)
    needed = [one.needed for one in judged if one.verdict == "inconclusive"]
    known = [number for number in needed if number is not None]
    # Where one of them is told by no number of cases, none is named.
    wanted = {"verdict_cases_needed": max(known)} if verdict == "inconclusive" and len(known) == len(needed) else {}
    return {"verdict": verdict, **wanted}


def verdict_text(judged: Sequence[Judged], confidence: float) -> str:
    """Say the verdict and, a line each, what it is made of."""
    return "\n".join([f"verdict: {overall(judged)}", *(f"  {judged_line(one, confidence)}" for one in judged)])


def judged_line(one: Judged, confidence: float) -> str:
    """Say what became of a promise, in a line."""
    where = f"of all {one.cases:,} cases" if one.scope == ALL else f"of the {one.cases:,} cases of {one.scope}"
    ends = f"({100 * confidence:.4g} % interval "
    if one.promise == "negative flips":
        what = (
            f"negative flips {where}: {one.estimate:.2%} {ends}{one.low:.2%} to {one.high:.2%}), at most "
            f"{one.limit:.2%} allowed"
        )
    else:
        kind = "at least" if one.promise.startswith("gain") else "above"
        what = (
            f"{one.promise} {where}: {100 * one.estimate:+.1f} points {ends}{100 * one.low:+.2f} to "
            f"{100 * one.high:+.2f}), {kind} {100 * one.limit:+.2f} wanted"
        )
    line = f"{what}: {one.verdict}"
    if one.verdict == "pass" and one.promise == "non-inferiority" and one.high < 0:
        line += ", and significantly worse"
    if one.verdict != "inconclusive":
        return line
    if one.needed is None:
        return f"{line}; no number of cases would tell, as far as is known"
    return f"{line}; at these rates about {one.needed:,} cases would tell, {max(0, one.needed - one.cases):,} more"


def _verdict(kept: bool, broken: bool) -> Verdict:
    return "pass" if kept else "fail" if broken else "inconclusive"


def _non_inferior(
    name: str, change: Changes, codes: Clusters, margin: float, confidence: float, strict: float
) -> Judged:
    n, repaired, broken = len(change), int((change > 0).sum()), int((change < 0).sum())
    low, high = change_interval(change, confidence, codes)
    highest = high if strict == confidence else change_interval(change, strict, codes)[1]
    verdict = _verdict(low > -margin, highest < -margin)
    estimate = (repaired - broken) / n
    needed = None
    if verdict == "inconclusive":
        plain = difference_interval(repaired, broken, n, confidence)
        end = 0 if estimate > -margin else 1
        needed = _inflated(
            cases_for_margin(repaired, broken, n, margin, confidence), estimate, plain[end], (low, high)[end], n
        )
    return Judged("non-inferiority", name, verdict, estimate, low, high, -margin, n, needed)


def _few_breaks(broken: Flags, codes: Clusters, limit: float, confidence: float, strict: float) -> Judged:
    n, count = len(broken), int(broken.sum())
    low, high = share_interval(broken, clopper_pearson, confidence, codes)
    lowest = low if strict == confidence else share_interval(broken, clopper_pearson, strict, codes)[0]
    verdict = _verdict(high <= limit, lowest > limit)
    needed = None
    if verdict == "inconclusive":
        plain, end = clopper_pearson(count, n, confidence), 1 if count / n < limit else 0
        needed = _inflated(cases_for_rate(count, n, limit, confidence), count / n, plain[end], (low, high)[end], n)
    return Judged("negative flips", ALL, verdict, count / n, low, high, limit, n, needed)


def _inflated(needed: int | None, estimate: float, plain: float, wide: float, n: int) -> int | None:
    """A number of cases for an interval that is wider by what cases share: by the square of how much wider it is.

    At least one more than there are: these were too few.
    """
    if needed is None:
        return None
    wider = (wide - estimate) / (plain - estimate) if plain != estimate else 1.0
    return max(n + 1, int(np.ceil(needed * wider**2)))
