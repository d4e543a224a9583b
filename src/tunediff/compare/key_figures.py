"""The figures by which experiments are compared in `dvc exp show` and `dvc metrics diff`, at most twelve.

summary(gather(comparison))     # {"n": 1500, "accuracy_base": 0.322, "accuracy_tuned": 0.821, ...}

Costs are excluded, because durations differ in every run (see `tunediff cost`).
"""

from tunediff.compare.evidence import Evidence
from tunediff.data.cases import INVALID

DIFFERENCE_KEYS = (
    *("n", "accuracy_base", "accuracy_tuned", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high"),
    *("repaired", "broken", "gain_over_baseline"),
)


def summary(found: Evidence) -> dict[str, float]:
    """Return at most twelve figures of a comparison; those that were not measured are omitted.

    Args:
        found: the result of `tunediff.compare.evidence.gather`.

    Returns:
        Some keys of metrics/diff_cases.json, the numbers of invalid answers, and the tuned model's negative
        log-likelihood in nats per case.
    """
    metrics = {key: found.metrics[key] for key in DIFFERENCE_KEYS if key in found.metrics}
    for model in ("base", "tuned"):
        metrics[f"invalid_{model}"] = int((found.comparison.aligned[f"outcome_{model}"] == INVALID).sum())
    calibration = found.figures.get("calibration", {})
    return metrics | {key: calibration[key] for key in ("nll_tuned",) if key in calibration}
