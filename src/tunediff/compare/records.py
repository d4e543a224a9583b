"""Records of data/cases.jsonl: one per test case, with its transition and an explanation of the clearest flips."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tunediff.compare.comparison import with_transitions
from tunediff.compare.explanations.causes import FLIPS, causes, plain
from tunediff.data.cases import MODELS
from tunediff.metrics.calibration import gold_margins, label_codes
from tunediff.stats.bootstrap import Floats

if TYPE_CHECKING:
    from tunediff.compare.comparison import Comparison

# Fields of a cause that the record of its case already has, maybe under another name.
_RECORD_FIELDS = ("case_id", "transition", "label", "base_prediction", "tuned_prediction", "clauses", "explanation")


def case_records(
    comparison: "Comparison", slices: Sequence[Sequence[str]], stable: pd.Series | None = None
) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready record per case of a pipeline run, in the order of the test split.

    Args:
        comparison: a comparison that has its cases.
        slices: names of the slices of each case.
        stable: whether the base model gives the same answer at another batch size, by case_id; None if not measured.

    Yields:
        case_id, the input fields (such as premise and hypothesis), label, the fields of `Task.gold_record`,
        base_prediction and tuned_prediction (None if invalid), transition, base_log_probs and tuned_log_probs (natural
        logarithms, in the order of the label list; omitted if not available), the scores of the task (such as base_f1),
        tags, base_margin and tuned_margin if answers are labels, slices, and for explained flips evidence, clauses and
        explanation.
    """
    task, aligned = comparison.task, comparison.aligned
    columns = {"base_prediction": "prediction_base", "tuned_prediction": "prediction_tuned"}
    columns |= {f"{who}_{name}": f"{name}_{who}" for name in ("log_probs", *task.scores) for who in MODELS}
    found = {key: plain(aligned[column]) for key, column in columns.items() if column in aligned}
    transition = comparison.cells.astype(object).tolist()
    margins = _margins(comparison)
    why = causes(comparison, _clearest(comparison, margins), stable)
    explained = {
        cause["case_id"]: {
            "evidence": {name: one for name, one in cause.items() if name not in _RECORD_FIELDS and one is not None},
            "clauses": cause["clauses"],
            "explanation": cause["explanation"],
        }
        for cause in why
    }
    for row, case in enumerate(comparison.cases):
        record = {"case_id": case.case_id, **case.inputs, "label": case.label, **task.gold_record(case)}
        for key, values in found.items():
            if not key.endswith("_log_probs"):
                record[key] = values[row]
            elif values[row] is not None:
                record[key] = [float(one) for one in values[row]]
            if key == "tuned_prediction":
                record["transition"] = transition[row]
        record["tags"] = list(case.tags)
        record |= {name: float(values[row]) for name, values in margins.items()}
        yield record | {"slices": slices[row]} | explained.get(case.case_id, {})


def _margins(comparison: "Comparison") -> dict[str, Floats]:
    """base_margin and tuned_margin of each case, if answers are labels."""
    if not (comparison.task.answers_are_labels and comparison.log_probs):
        return {}
    gold = label_codes(comparison.task.labels, comparison.aligned["label"])
    return {f"{model}_margin": gold_margins(comparison.log_probs[model], gold) for model in MODELS}


def _clearest(comparison: "Comparison", margins: Mapping[str, Floats]) -> npt.NDArray[np.intp]:
    """The rows of the largest flips, repaired and broken in turn, at most `Diff.causes_limit`."""
    score = next(iter(comparison.task.scores), None)
    if margins:
        change = margins["tuned_margin"] - margins["base_margin"]
    elif score is not None:
        change = (comparison.aligned[f"{score}_tuned"] - comparison.aligned[f"{score}_base"]).to_numpy()
    else:
        change = np.zeros(len(comparison))
    cells = comparison.cells.reset_index(drop=True)
    flips = pd.Series(change)[cells.isin(FLIPS)].abs().sort_values(ascending=False, kind="stable")
    turn = flips.groupby(cells[flips.index], observed=True).cumcount().sort_values(kind="stable")
    return np.sort(turn.index[: comparison.settings.causes_limit].to_numpy(dtype=np.intp))


def case_lines(comparison: "Comparison", groups: Iterable[int] | None = None) -> Iterator[dict[str, Any]]:
    """Yield one JSON-ready record per case of two prediction files, in the form of data/cases.jsonl.

    Args:
        comparison: a comparison of two files.
        groups: groups of its pairs; None: all.
    """
    assert comparison.pairs is not None
    pairs = comparison.pairs if groups is None else comparison.pairs.part(groups)
    task = comparison.task
    names = {"case_id": "case_id", **{name: name for name in task.inputs}, "label": "label"}
    names |= {"base_prediction": "prediction_base", "tuned_prediction": "prediction_tuned", "transition": "transition"}
    names |= {f"{who}_{name}": f"{name}_{who}" for name in ("log_probs", *task.scores) for who in MODELS}
    names["cluster"] = "cluster"
    for cases in with_transitions(pairs):
        known = {key: column for key, column in names.items() if column in cases}
        columns: list[Iterable[Any]] = [
            (row.tolist() for row in cases[column]) if column.startswith("log_probs_") else plain(cases[column])
            for column in known.values()
        ]
        for name in task.shared_columns:  # gold answers
            columns.append([answer._asdict() for answer in answers] for answers in cases[name])
        for values in zip(*columns, strict=True):
            yield dict(zip((*known, *task.shared_columns), values, strict=True))
