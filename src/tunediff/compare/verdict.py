"""Pass, fail or inconclusive: promises about the tuned model, checked against the measured intervals.

    judged = judge(promises, change, clusters, {"label: neutral": flags}, confidence=0.95)
    overall(judged)                    # "inconclusive"
    print(verdict_text(judged, 0.95))

A promise passes if the whole interval keeps it, and fails if the whole interval breaks it. Otherwise there are too few
cases, and the verdict names the number that would be enough. The probability that two equal models fail is at most one
minus the confidence: each end of an interval accounts for half of its error, and more than two promises share the error
level. With early stopping, a promise is checked after every case and decided at the first conclusive look
(`tunediff.stats.martingale`).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tunediff.compare.effects.transitions import change_interval
from tunediff.stats.bootstrap import Clusters, cluster_codes
from tunediff.stats.discordance import Flags
from tunediff.stats.intervals import cases_for_rate, clopper_pearson
from tunediff.stats.martingale import always_valid_interval, cases_to_decide, first_decision, sequential_units
from tunediff.stats.paired import cases_for_margin, difference_interval
from tunediff.stats.shares import share_interval

Verdict = Literal["pass", "fail", "inconclusive"]
ALL = "all"

Changes = npt.NDArray[np.int64]


class Promises(NamedTuple):
    """The promises about the tuned model; None: no such promise.

    max_negative_flip_rate: at most this share of all cases breaks. non_inferiority_margin: the difference is above
    minus this margin, over all cases and on each slice. max_forgotten_rate: at most this share of the cases of each
    other test set breaks. min_gain_over_baseline: the gain over the best trivial baseline is at least this.
    """

    max_negative_flip_rate: float | None = None
    non_inferiority_margin: float | None = None
    max_forgotten_rate: float | None = None
    min_gain_over_baseline: float | None = None


class Gain(NamedTuple):
    """The gain of the tuned model over the best trivial baseline with its interval, all in -1..1."""

    gain: float
    low: float
    high: float


class Judged(NamedTuple):
    """A promise, the measured interval, and the verdict.

    cases: number of cases. needed: total number of cases that would be conclusive at these rates; None if unknown or if
    no number is. read: with early stopping, the number of cases after which it was decided; else None.
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
    read: int | None = None


class Evaluated(NamedTuple):
    """The change of each case of a test set or slice (1 repaired, -1 broken, else 0), and its cluster."""

    change: Changes
    clusters: Clusters


def judge(
    promises: Promises,
    change: Changes,
    clusters: Clusters,
    slices: Mapping[str, Flags],
    confidence: float,
    gain: Gain | None = None,
    others: Mapping[str, Evaluated] = MappingProxyType({}),
    early: bool = False,
) -> list[Judged]:
    """Check each promise against the measured interval.

    Args:
        promises: the promises.
        change: change of each case, of length n_cases, at least 1: 1 repaired, -1 broken, else 0.
        clusters: cluster of each case, of length n_cases; None: cases are independent.
        slices: members of each slice that the margin is promised for, by name; at least one case each.
        confidence: level of every interval.
        gain: gain over the best trivial baseline, if measured.
        others: changes on other test sets, by name.
        early: check after every case, in the order given, and stop at the first conclusive look.
    """
    codes = cluster_codes(clusters, len(change))
    everything = Evaluated(change, codes)
    margin, rate = promises.non_inferiority_margin, promises.max_negative_flip_rate
    least = promises.min_gain_over_baseline
    compared = (
        {}
        if margin is None
        else {ALL: everything} | {name: Evaluated(change[inside], codes[inside]) for name, inside in slices.items()}
    )
    limits = {} if rate is None else {("negative flips", ALL): (everything, rate)}
    if (forgotten := promises.max_forgotten_rate) is not None:
        limits |= {("forgotten", name): (evaluated, forgotten) for name, evaluated in others.items()}
    shares = len(compared) + len(limits)
    # A failure shows at one end of an interval, so two promises need no correction. The interval of the gain is not
    # corrected: it uses up one of the two ends, and the other promises share the rest.
    strict = 1 - (1 - confidence) * min(1.0, (2 - (least is not None)) / max(1, shares))
    if early:  # a martingale gives no bound for a single end, so each promise takes an equal share of the level
        strict = 1 - (1 - confidence) / max(1, shares + (least is not None))
    found: list[Judged] = []
    for name, evaluated in compared.items():
        assert margin is not None
        if early:
            found.append(_early("non-inferiority", name, evaluated, -1, 0.0 - margin, 1, confidence, strict))
        else:
            found.append(_non_inferior(name, evaluated, margin, confidence, strict))
    for (promise, name), (evaluated, limit) in limits.items():
        if early:
            broken = evaluated._replace(change=(evaluated.change < 0).astype(np.int64))
            found.append(_early(promise, name, broken, 0, limit, -1, confidence, strict))
        else:
            found.append(_few_breaks(promise, name, evaluated, limit, confidence, strict))
    if least is not None and gain is not None:
        verdict = _verdict(gain.low >= least, gain.high < least)
        found.append(Judged("gain over the best baseline", ALL, verdict, *gain, least, len(change), None))
    return found


def overall(judged: Sequence[Judged]) -> Verdict:
    """Return fail if any promise fails, else inconclusive if any is, else pass."""
    found = {one.verdict for one in judged}
    return "fail" if "fail" in found else "inconclusive" if "inconclusive" in found else "pass"


def verdict_metrics(judged: Sequence[Judged]) -> dict[str, object]:
    """Return verdict, and verdict_cases_needed if it is inconclusive and the number is known."""
    if not judged:
        return {}
    verdict = overall(judged)
    needed = [one.needed for one in judged if one.verdict == "inconclusive"]
    known = [number for number in needed if number is not None]
    # No number is enough unless it is enough for every promise.
    enough = {"verdict_cases_needed": max(known)} if verdict == "inconclusive" and len(known) == len(needed) else {}
    return {"verdict": verdict, **enough}


def verdict_text(judged: Sequence[Judged], confidence: float) -> str:
    """Return the verdict and its promises as text, one line each."""
    return "\n".join([f"verdict: {overall(judged)}", *(f"  {judged_line(one, confidence)}" for one in judged)])


def judged_line(one: Judged, confidence: float) -> str:
    """Return one line about a promise: the measured value with its interval, the limit, and the verdict."""
    where = f"of all {one.cases:,} cases" if one.scope == ALL else f"of the {one.cases:,} cases of {one.scope}"
    if one.read is not None and one.read < one.cases:
        where = f"after {one.read:,} {where}"
    ends = f"({100 * confidence:.4g} % interval{'' if one.read is None else ' valid at every look'} "
    if one.promise in ("negative flips", "forgotten"):
        what = (
            f"{one.promise} {where}: {one.estimate:.2%} {ends}{one.low:.2%} to {one.high:.2%}), at most "
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
        return f"{line}; no number of cases is known to be conclusive"
    return (
        f"{line}; at these rates about {one.needed:,} cases would be conclusive, "
        f"{max(0, one.needed - one.cases):,} more"
    )


def _verdict(kept: bool, broken: bool) -> Verdict:
    return "pass" if kept else "fail" if broken else "inconclusive"


def _non_inferior(name: str, evaluated: Evaluated, margin: float, confidence: float, strict: float) -> Judged:
    change, codes = evaluated
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
    return Judged("non-inferiority", name, verdict, estimate, low, high, 0.0 - margin, n, needed)


def _few_breaks(
    promise: str, name: str, evaluated: Evaluated, limit: float, confidence: float, strict: float
) -> Judged:
    broken, codes = evaluated.change < 0, evaluated.clusters
    n, count = len(broken), int(broken.sum())
    low, high = share_interval(broken, clopper_pearson, confidence, codes)
    lowest = low if strict == confidence else share_interval(broken, clopper_pearson, strict, codes)[0]
    verdict = _verdict(high <= limit, lowest > limit)
    needed = None
    if verdict == "inconclusive":
        plain, end = clopper_pearson(count, n, confidence), 1 if count / n < limit else 0
        needed = _inflated(cases_for_rate(count, n, limit, confidence), count / n, plain[end], (low, high)[end], n)
    return Judged(promise, name, verdict, count / n, low, high, limit, n, needed)


def _early(
    promise: str, name: str, evaluated: Evaluated, least: int, limit: float, kept: int, confidence: float, strict: float
) -> Judged:
    """Judge, with early stopping, whether a mean of values in least..1 is above (kept 1) or below (kept -1) a limit."""
    units, n = sequential_units(evaluated.change, evaluated.clusters, least), len(evaluated.change)
    levels = -np.log(1 - confidence), -np.log(1 - strict)
    stopped = first_decision(units, limit, *levels[::kept])
    verdict: Verdict = "inconclusive"
    if stopped is not None:
        units = units.first(stopped)
        verdict = "pass" if kept * (units.mean - limit) > 0 else "fail"
    needed = cases_to_decide(units, limit, levels[0]) if stopped is None else None
    needed = None if needed is None else max(n + 1, needed)
    interval = always_valid_interval(units, confidence)
    return Judged(promise, name, verdict, units.mean, *interval, limit, n, needed, int(units.seen[-1]))


def _inflated(needed: int | None, estimate: float, plain: float, wide: float, n: int) -> int | None:
    """Scale a number of cases by the square of how much clusters widen the interval.

    The result is at least one more than n, because n cases were too few.
    """
    if needed is None:
        return None
    wider = (wide - estimate) / (plain - estimate) if plain != estimate else 1.0
    return max(n + 1, int(np.ceil(needed * wider**2)))
