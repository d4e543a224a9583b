"""Records of OpenAI's evals (`oaieval --record_path`): events with the outcome of each sample.

    {"spec": {"completion_fns": ["gpt"], "eval_name": "x.dev.v0", ...}}
    {"run_id": "1", "event_id": 0, "sample_id": "x.dev.0", "type": "sampling", "data": {"prompt": ..., "sampled": "A"}}
    {"run_id": "1", "event_id": 1, "sample_id": "x.dev.0", "type": "match", "data": {"correct": true, "expected": "A",
     "picked": "A", ...}}
    {"final_report": {"accuracy": 1.0}}

The outcome is `correct` of the event match, else a number of the event metrics, such as `score` of a model-graded eval.
A sample with other events but neither of these is invalid. Several match events of a sample are repeats.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tunediff.compare.pairs.file_format import FileFormat, ReadOptions, Rows
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, text_or_none
from tunediff.compare.pairs.predictions import Predictions

MATCH, METRICS = "match", "metrics"
CORRECT = "correct"

Event = tuple[int | str, Mapping[str, Any]]


def is_events(row: Mapping[str, Any]) -> bool:
    """Whether a row is the first of a record of OpenAI's evals, or an event of it."""
    spec = row.get("spec")
    return (isinstance(spec, dict) and "completion_fns" in spec) or {"sample_id", "event_id", "data"} <= row.keys()


def read_events(rows: Rows, name: str, options: ReadOptions) -> Predictions:
    """Return the samples of a record as predictions.

    Args:
        rows: events, each after its line.
        name: name of the file for error messages.
        options: metric: correct, or a number of the event metrics; None: the first that exists.

    Raises:
        TunediffError: no sample has an outcome, or none of that name.
    """
    samples: dict[str, list[Event]] = defaultdict(list)
    for number, row in rows:
        if row.get("sample_id") is not None and isinstance(row.get("data"), dict):
            samples[str(row["sample_id"])].append((number, row))
    found = [CORRECT for events in samples.values() for _ in _of_kind(events, MATCH)]
    for events in samples.values():
        for _, data in _of_kind(events, METRICS):
            found += [key for key, value in data.items() if value is None or isinstance(value, bool | int | float)]
    metric, described = chosen_metric(found, options.metric, name)
    answers = [one for case_id, events in samples.items() for one in _answers(case_id, events, metric)]
    return from_graded(answers, name, options, f"a record of OpenAI's evals, {described}", metric)


def _of_kind(events: Sequence[Event], kind: str) -> list[tuple[int | str, Mapping[str, Any]]]:
    return [(number, row["data"]) for number, row in events if row.get("type") == kind]


def _answers(case_id: str, events: Sequence[Event], metric: str) -> list[Graded]:
    number, _ = events[0]
    prompt, sampled = "", None
    for _, data in _of_kind(events, "sampling"):
        given = data.get("prompt")
        prompt = prompt or (given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))
        sampled = sampled or text_or_none(data.get("sampled"))
    outcomes = _of_kind(events, MATCH if metric == CORRECT else METRICS)
    graded = [(place, data) for place, data in outcomes if metric in data]
    if not graded:
        errors = [str(data.get("type", "unknown")) for _, data in _of_kind(events, "error")]
        why = f"error {errors[0]}" if errors else "no score"
        return [Graded(number, case_id, None, sampled, prompt=prompt, why=why)]
    matched = _of_kind(events, MATCH)
    answers = []
    for at, (place, data) in enumerate(graded):
        match = data if metric == CORRECT else matched[at][1] if at < len(matched) else {}
        answer = text_or_none(match.get("picked")) or text_or_none(match.get("sampled")) or sampled
        gold = text_or_none(match.get("expected"))
        answers.append(Graded(place, case_id, data[metric], answer, gold, prompt, repeat=at + 1))
    return answers


FORMAT = FileFormat("a record of OpenAI's evals", is_events, read_events)
