"""Read data sets in SQuAD's JSON, versions 1.1 and 2.0, as rows in the layout of the hub.

rows = read_squad(Path("data/raw/dev-v2.0.json"))
rows[0]          # {"id": "56ddde6b9a695914005b9628", "title": "Normans", "context": "The Normans (Norman: ...",
                 #  "question": "In what country is Normandy located?",
                 #  "answers": {"text": ["France", ...], "answer_start": [159, ...]}}
rows[0].place    # "data/raw/dev-v2.0.json, article 1 (Normans), paragraph 1, question 1"

A question without an answer has two empty lists. If the file does not give the start of an answer, it is None.
"""

from pathlib import Path
from types import NoneType
from typing import Any

from tunediff.data.sources import Row
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import LONE_SURROGATE, read_json, shown

_TYPE_NAMES = {str: "text", list: "a list", int: "a whole number", bool: "true or false", NoneType: "nothing"}


def read_squad(path: Path) -> list[Row]:
    """Return the questions of a file as rows {"id", "title", "context", "question", "answers"}, numbered from 1.

    Raises:
        TunediffError: the file is missing, is not JSON, is not in SQuAD's layout, or has no question.
    """
    rows: list[Row] = []
    for a, article in enumerate(_value(read_json(path), "data", str(path), list), start=1):
        place = f"article {a}"
        title = _value(article, "title", f"{path}, {place}", str, NoneType)
        place += f" ({title})" if title else ""
        for p, paragraph in enumerate(_value(article, "paragraphs", f"{path}, {place}", list), start=1):
            inner = f"{place}, paragraph {p}"
            context = _value(paragraph, "context", f"{path}, {inner}", str)
            for q, question in enumerate(_value(paragraph, "qas", f"{path}, {inner}", list), start=1):
                name = f"{inner}, question {q}"
                about = {key: _value(question, key, f"{path}, {name}", str) for key in ("id", "question")}
                values = {"id": about["id"], "title": title, "context": context, "question": about["question"]}
                values["answers"] = _answers(question, f"{path}, {name}")
                rows.append(Row(values, str(path), len(rows) + 1, name))
    if not rows:
        raise TunediffError(f"{path}: has no question, expected at least one")
    return rows


def _answers(question: Any, place: str) -> dict[str, list[Any]]:
    answers = _value(question, "answers", place, list)
    impossible = _value(question, "is_impossible", place, bool, NoneType)
    if impossible is not None and impossible == bool(answers):
        raise TunediffError(f"{place}: found is_impossible {impossible} and {len(answers)} answers, which contradict")
    return {
        "text": [_value(answer, "text", place, str) for answer in answers],
        "answer_start": [_value(answer, "answer_start", place, int, NoneType) for answer in answers],
    }


def _value(holder: Any, key: str, place: str, *kinds: type) -> Any:
    """The value of a JSON object at a key, None if it is missing, checked to have one of the expected types."""
    if not isinstance(holder, dict):
        raise TunediffError(f'{place}: found {shown(holder)}, expected an object with "{key}", as in SQuAD\'s JSON')
    value = holder.get(key)
    if type(value) not in kinds:
        expected = " or ".join(_TYPE_NAMES[kind] for kind in kinds)
        raise TunediffError(f"{place}: {key}: found {shown(value)}, expected {expected}, as in SQuAD's JSON")
    if isinstance(value, str) and (half := LONE_SURROGATE.search(value)):
        raise TunediffError(f"{place}: {key}: found {half[0]!r}, expected whole characters")
    return value
