"""The summary that a comparison prints: key figures, and the checks that it fails.

print(diff_summary(gather(comparison)))
"""

from tunediff.compare.comparison import Comparison
from tunediff.compare.effects.power import power_sentence
from tunediff.compare.effects.transitions import negative_flips
from tunediff.compare.evidence import Evidence
from tunediff.data.cases import MODELS


def diff_summary(found: Evidence) -> str:
    """Return a summary of the pipeline's comparison, a few lines of text.

    Args:
        found: the result of `tunediff.compare.evidence.gather` for a comparison that has its cases.
    """
    metrics, comparison = found.metrics, found.comparison
    task, n = comparison.task, int(metrics["n"])
    lines = [
        f"diff_cases: {_change(found)}",
        f"  difference {_points(metrics, 'accuracy_delta')} points, {comparison.confidence:.0%} interval, exact "
        f"McNemar p = {metrics['mcnemar_p']:.3g}; {n:,} cases detect {100 * metrics['minimum_detectable_delta']:.1f} "
        "or more",
    ]
    for stem, name in task.scores.items():
        lines.append(
            f"  {name} {metrics[f'{stem}_base']:.1%} -> {metrics[f'{stem}_tuned']:.1%}: "
            f"{_points(metrics, f'{stem}_delta')} points, sign-flip p = {metrics[f'{stem}_p']:.3g}"
        )
    if "gain" in found.tables:
        parts = found.tables["gain"]
        net = [f"{task.parts[part]} {cases:+,}" for part, cases in zip(parts["part"], parts["cases"], strict=True)]
        lines.append(f"  net cases by part of the gain: {', '.join(net)} = {int(parts['cases'].sum()):+,}")
    for key, how in (("noise_floor", "at another batch size"), ("noise_floor_seed", "with another new head")):
        if f"{key}_flips" in metrics:
            lines.append(f"  without training, {how}, {int(metrics[f'{key}_flips']):,} cases flip")
    if "baselines" in found.tables:
        best = found.tables["baselines"].iloc[0]
        lines.append(
            f"  over the best trivial baseline ({best['baseline'].replace('_', ' ')}, {best['accuracy']:.1%}): "
            f"{_points(metrics, 'gain_over_baseline')} points"
        )
    clean = found.figures.get("contamination", {})
    if leaked := int(clean.get("leaked", 0)):
        repaired = int(clean["repaired_leaked"])
        lines.append(
            f"  {leaked:,} cases have a duplicate or near-duplicate in training, {repaired:,} of them repaired"
        )
    for name, one in found.retained.items():
        lines.append(
            f"  {name}: {one['accuracy_base']:.1%} -> {one['accuracy_tuned']:.1%} on {int(one['n']):,} cases: "
            f"{int(one['forgotten']):,} forgotten ({one['forgotten_low']:.2%} to {one['forgotten_high']:.2%}), "
            f"{int(one['gained']):,} gained; McNemar p = {one['p_holm']:.3g}, adjusted for {len(found.retained):,}"
            + (f"; answer format {100 * one['format']:+.1f} points" if "format" in one else "")
        )
    return "\n".join([*lines, *_against_itself(found), *_checks(found)])


def file_summary(found: Evidence) -> str:
    """Return a summary of the comparison of two files: how each was interpreted, and what changed."""
    metrics, flips = found.metrics, negative_flips(found.comparison.cells, found.comparison.confidence)
    confidence, broken = found.comparison.confidence, int(metrics["broken"])
    power = power_sentence(int(metrics["n"]), int(metrics["repaired"]), broken, alpha=1 - confidence)
    pairs = found.comparison.pairs
    read = zip(pairs.names, pairs.origins, strict=True) if pairs else ()
    lines = [
        *(f"read {name}: {origin}" for name, origin in read),
        f"diff: {_change(found)}",
        f"  difference {100 * metrics['accuracy_delta']:+.1f} points, {confidence:.0%} interval "
        f"{100 * metrics['accuracy_delta_low']:+.1f} to {100 * metrics['accuracy_delta_high']:+.1f}, exact McNemar "
        f"p = {metrics['mcnemar_p']:.3g}",
        f"  broken: {broken:,} of {flips.n:,} = {flips.rate:.2%} (exact interval {flips.low:.2%} to "
        f"{flips.high:.2%}), {flips.rate_of_right:.2%} of the {flips.base_right:,} that were right; two independent "
        f"models with these accuracies would break {flips.expected_if_independent:,.0f}",
        f"  {power}",
    ]
    if kinds := score_interpretations(found.comparison):
        lines.append(f"  scores: interpreted as {' before, '.join(kinds.values())} after")
    return "\n".join([*lines, *_against_itself(found), *_checks(found)])


def score_interpretations(comparison: Comparison) -> dict[str, str]:
    """Return how the scores of both files are interpreted: {"scores_base": "probabilities", ...}; empty if none."""
    scored = (comparison.pairs.scored if comparison.pairs else None) or ()
    return {f"scores_{model}": one.interpretation for model, one in zip(MODELS, scored, strict=False)}


def _change(found: Evidence) -> str:
    metrics = found.metrics
    n, repaired, broken = (int(metrics[key]) for key in ("n", "repaired", "broken"))
    return (
        f"{found.comparison.task.words.measure} {metrics['accuracy_base']:.1%} -> {metrics['accuracy_tuned']:.1%} on "
        f"{n:,} case{'s' * (n != 1)}: {repaired:,} repaired - {broken:,} broken = {repaired - broken:+,}"
    )


def _against_itself(found: Evidence) -> list[str]:
    """A line that says so if no answer differs."""
    if any(found.metrics[key] for key in ("repaired", "broken", "both_wrong_changed")):
        return []
    return ["  zero flips: no answer differs, as when a model is compared with itself (A/A)"]


def _checks(found: Evidence) -> list[str]:
    return [
        f"  {check.code} {check.name}: {check.sentence}"
        + (f" Acknowledged: {check.acknowledged}" if check.acknowledged else "")
        for check in found.checks
    ]


def _points(metrics: dict[str, float], key: str) -> str:
    value, low, high = (100 * metrics[f"{key}{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"
