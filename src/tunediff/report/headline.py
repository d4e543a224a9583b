"""The headline of the findings: whether a difference was shown, and how it compares with trivial baselines."""

from tunediff.data.cases import INVALID, MODELS
from tunediff.report.notation import capitalised, counted, decimal, percent, points
from tunediff.report.results import Metrics, Record, Results
from tunediff.tasks.task import Task


def best_baseline(results: Results) -> float | None:
    """Return the accuracy of the best trivial baseline, in 0..1; None if none was measured."""
    return max((value for key, value in results.baselines.items() if key.endswith("_accuracy")), default=None)


def _beaten(results: Results) -> bool:
    """Whether a trivial baseline is at least as accurate as the tuned model."""
    best = best_baseline(results)
    return best is not None and results.diff_cases["accuracy_tuned"] <= best


def is_difference_shown(diff: Metrics, confidence: float) -> bool:
    """Return whether a difference was shown: the exact test rejects chance and the interval excludes zero."""
    return diff["mcnemar_p"] < 1 - confidence and not diff["accuracy_delta_low"] <= 0 <= diff["accuracy_delta_high"]


def headline_sentence(results: Results) -> str:
    """Return the headline."""
    diff, models = results.diff_cases, results.models
    base, tuned = percent(diff["accuracy_base"]), percent(diff["accuracy_tuned"])
    cases, change = counted(int(diff["n"]), "test case"), capitalised(models.change)
    if silent := _invalid_throughout(results):
        return _silent_headline(results, silent)
    if not is_difference_shown(diff, results.confidence):
        return f"No difference was shown between the {models.base} and the {models.tuned} on {cases}."
    # With one seed, the claim is about this checkpoint and not about the recipe.
    who = f"In this checkpoint, {models.change}" if results.train else change
    if diff["accuracy_delta"] < 0:
        return f"{who} made the model worse: {results.task.words.measure} fell from {base} to {tuned} on {cases}."
    if results.untrained_head and "gain_over_baseline" in diff:
        return f"{who} reached {tuned} {results.task.words.measure} on {cases}, {_over_baseline(results)}."
    gain = f"{who} raised {results.task.words.measure} from {base} to {tuned} on {cases}"
    return f"{gain}, no more than a trivial baseline scores." if _beaten(results) else f"{gain}."


def _over_baseline(results: Results) -> str:
    """The comparison with the best trivial baseline, which replaces the gain if the base has an untrained head."""
    diff, models = results.diff_cases, results.models
    best = f"the best trivial baseline{best_name(results)}; the head of the {models.base} was untrained"
    if diff["gain_over_baseline_low"] > 0:
        return f"{decimal(100 * diff['gain_over_baseline'], 1)} points above {best}"
    if diff["gain_over_baseline"] <= 0:
        return f"no more than {best}"
    return f"not shown to be above {best}"


def best_name(results: Results) -> str:
    """Return the best trivial baseline and its score, in parentheses."""
    score = percent(results.diff_cases["baseline_best"])
    return f" ({baseline_name(results.worth[0], results.task)}, {score})" if results.worth else f" ({score})"


def lost_sentence(results: Results) -> str:
    """Return a sentence about losses on other test sets, for the headline; empty if there are none."""
    lost = [
        f"{row['measure']} on {row['set']} fell from {percent(row['accuracy_base'])} to "
        f"{percent(row['accuracy_tuned'])}"
        for row in results.retention
        if row["delta"] < 0 and _is_change_shown(row, results.confidence)
    ]
    return f" Losses on other test sets: {', '.join(lost)}." if lost else ""


def _is_change_shown(row: Record, confidence: float) -> bool:
    """Whether a change on a further test set was shown, with p adjusted for the number of test sets."""
    return bool(row["p_holm"] < 1 - confidence and not row["low"] <= 0 <= row["high"])


def _invalid_throughout(results: Results) -> tuple[str, ...]:
    """The models, base and tuned, that gave no valid answer at all."""
    before = sum(flow.cases for flow in results.flows if flow.before == INVALID)
    after = sum(flow.cases for flow in results.flows if flow.after == INVALID)
    n = int(results.diff_cases["n"])
    return tuple(who for who, invalid in zip(MODELS, (before, after), strict=True) if invalid == n)


def _silent_headline(results: Results, silent: tuple[str, ...]) -> str:
    """The headline if a model gave no valid answer, so that a gain is mostly or only due to the answer format."""
    diff, cases = results.diff_cases, counted(int(results.diff_cases["n"]), "test case")
    names = {"base": results.models.base, "tuned": results.models.tuned}
    if len(silent) == 2:
        return f"Neither the {names['base']} nor the {names['tuned']} gave a valid answer to any of {cases}."
    [invalid] = silent
    [valid] = set(MODELS) - {invalid}
    headline = (
        f"The {names[invalid]} gave no valid answer to any of {cases}; the {names[valid]} is right on "
        f"{percent(diff[f'accuracy_{valid}'])}."
    )
    if f"choices_accuracy_{invalid}" not in diff:
        return headline
    change = "gained" if invalid == "base" else "lost"
    return (
        f"{headline} Scored by its choices, the {names[invalid]} is right on "
        f"{percent(diff[f'choices_accuracy_{invalid}'])}: of the {points(diff['accuracy_delta'])} {change}, "
        f"{points(diff['gain_answer_format'])} are the answer format."
    )


def baseline_name(row: Record, task: Task) -> str:
    """Return the name of a baseline for readers."""
    name = str(row["baseline"])
    return task.baseline_names.get(name, name)
