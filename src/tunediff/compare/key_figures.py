"""The dozen figures by which experiments are compared: what `dvc exp show` and `dvc metrics diff` show.

summary(gather(comparison))     # {"n": 1500, "accuracy_base": 0.322, "accuracy_tuned": 0.821, ...}

Costs are not among them: seconds differ on every run, so they would differ in every comparison (`tunediff cost`).
"""

from tunediff.compare.evidence import Evidence
from tunediff.data.cases import INVALID

OF_DIFFERENCE = (
    *("n", "accuracy_base", "accuracy_tuned", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high"),
    *("repaired", "broken", "gain_over_baseline"),
)


def summary(found: Evidence) -> dict[str, float]:
    """Return at most twelve figures of a comparison; what was not measured is left out.

    Args:
        found: what `tunediff.compare.evidence.gather` returns.

    Returns:
        Keys of metrics/diff_cases.json as they are there, the numbers of invalid answers, and the tuned model's
        negative log-likelihood in nats per case.
    """
    metrics = {key: found.metrics[key] for key in OF_DIFFERENCE if key in found.metrics}
    for model in ("base", "tuned"):
        metrics[f"invalid_{model}"] = int((found.comparison.aligned[f"outcome_{model}"] == INVALID).sum())
    calibration = found.figures.get("calibration", {})
    return metrics | {key: calibration[key] for key in ("nll_tuned",) if key in calibration}
