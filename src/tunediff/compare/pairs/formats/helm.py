"""Files of HELM with statistics per instance: per_instance_stats.json and display_predictions.json.

    [{"instance_id": "id1", "train_trial_index": 0, "stats": [{"name": {"name": "exact_match", "split": "test"},
      "count": 1, "sum": 1, "mean": 1.0, ...}, ...]}, ...]                                      per_instance_stats.json
    [{"instance_id": "id1", "train_trial_index": 0, "predicted_text": "Paris", "stats": {"exact_match": 1.0}}, ...]

HELM writes an instance once for each of its metrics and trials. A perturbed instance is a separate case in the cluster
of the original; trials are repeats. Neither file has gold answers, and the first has no predictions either.
"""

from collections.abc import Mapping
from typing import Any

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, object_or_empty, text_or_none
from tunediff.compare.pairs.predictions import Predictions
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import shown
from tunediff.tasks.columns import is_number

# Names of the main metric in HELM's scenarios; other metrics must be named by the user.
USUAL = (
    *("exact_match", "quasi_exact_match", "prefix_exact_match", "quasi_prefix_exact_match"),
    *("math_equiv_chain_of_thought", "math_equiv", "final_number_exact_match", "ifeval_strict_accuracy"),
)


def is_instances(row: Mapping[str, Any]) -> bool:
    """Whether a row is an instance of HELM with its statistics."""
    return {"instance_id", "stats"} <= row.keys()


def read_instances(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return the instances of a file as predictions.

    Args:
        rows: instances, each with its number.
        name: name of the file for error messages.
        options: metric: the statistic that decides what is right; None: the first of `USUAL` that exists.

    Raises:
        TunediffError: a row is not an instance, or there is no such statistic.
    """
    merged: dict[tuple[str, str, int], dict[str, Any]] = {}
    for number, row in rows:
        figures = _figures(row.get("stats"))
        trial = row.get("train_trial_index", 0)
        if not is_instances(row) or figures is None or type(trial) is not int:
            raise TunediffError(f"{name}, row {number}: found {shown(row)}, expected an instance of HELM")
        perturbed = ", ".join(f"{key} {one}" for key, one in object_or_empty(row.get("perturbation")).items())
        key = str(row["instance_id"]), perturbed, trial
        one = merged.setdefault(key, {"number": number, "figures": {}})
        one["figures"] |= figures
        one["text"] = (
            one.get("text") or text_or_none(row.get("mapped_output")) or text_or_none(row.get("predicted_text"))
        )
    found = {key: None for one in merged.values() for key in one["figures"]}
    usual = next((one for one in USUAL if one in found), None)
    if options.metric is None and usual is None:
        listed = ", ".join(found) or "none"
        raise TunediffError(f"{name}: metric: found {shown(listed, 300)}, expected one of them as --metric")
    metric, _ = chosen_metric(list(found), options.metric or usual, name)
    several = len({perturbed for _, perturbed, _ in merged}) > 1
    first = min((trial for *_, trial in merged), default=0)
    answers = [
        Graded(
            one["number"],
            f"{instance}, {perturbed}" if perturbed else instance,
            one["figures"].get(metric),
            one["text"],
            cluster=instance if several else None,
            repeat=trial - first + 1,
        )
        for (instance, perturbed, trial), one in merged.items()
    ]
    return from_graded(answers, name, options, f"instances of HELM, metric {metric}", metric)


def _figures(stats: Any) -> dict[str, Any] | None:
    if isinstance(stats, dict):
        return stats
    if not isinstance(stats, list):
        return None
    found: dict[str, Any] = {}
    for stat in stats:
        name = stat.get("name") if isinstance(stat, dict) else None
        if not isinstance(name, dict) or not isinstance(name.get("name"), str):
            return None
        # A statistic that was never computed has a count of 0 and no mean.
        mean = stat.get("mean")
        found[name["name"]] = mean if is_number(mean) and stat.get("count", 1) else None
    return found


FORMAT = FileFormat("instances of HELM", is_instances, read_instances)
