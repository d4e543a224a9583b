"""Rules of generation tasks for params.yaml: `RULES` for all test sets, `SETTINGS_RULES` for the main one only."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tunediff.config.grade import Grade
from tunediff.config.loading import nearest
from tunediff.config.params import Params
from tunediff.config.task import ANSWER
from tunediff.runtime.files import shown
from tunediff.tasks.columns import columns_fit, no_options, single_setting
from tunediff.tasks.graders import FUNCTION, METHODS, MODULE, Grader

# A score that counts as right at its maximum unless there is a threshold.
_WHOLE = "json_fields"


def _labels_fit(params: Params) -> str | None:
    if params.task.labels == [ANSWER]:
        return None
    return f"task.labels: found {params.task.labels}, expected [{ANSWER}] for generation"


def _no_values(params: Params) -> str | None:
    if params.data.labels is None:
        return None
    return "data.labels: given, but task.name is generation, whose answers are not labels"


def _head_fits(params: Params) -> str | None:
    if params.model.head == "lm":
        return None
    return f"model.head is {params.model.head}, but task.name is generation; expected lm, which generates text"


def _no_choices(params: Params) -> str | None:
    if params.prompt.choices is None:
        return None
    return "prompt.choices: given, but task.name is generation"


def _grades_fit(params: Params) -> str | None:
    if not params.task.grade:
        return "task.grade: missing, expected a grading method, such as exact"
    names = Counter(Grader(grade).name for grade in params.task.grade)
    lines = [line for at, grade in enumerate(params.task.grade) for line in _of_grade(at, grade)]
    if (lenient := sum(grade.lenient for grade in params.task.grade)) > 1:
        lines.append(f"task.grade: found {lenient} lenient grades, expected at most one")
    lines += [f"task.grade: found {n} grades named {name}, expected a unique name for each (name)"
              for name, n in names.items() if n > 1]  # fmt: skip
    return "; ".join(lines) or None


def _of_grade(at: int, grade: Grade) -> Iterator[str]:
    """One error per invalid key of a grade."""
    key, by = f"task.grade.{at}", grade.by
    if by not in METHODS and not FUNCTION.fullmatch(by) and by.removeprefix(MODULE) in ("", by):
        expected = f"{', '.join(METHODS)}, {MODULE}NAME or FILE.py:FUNCTION{nearest(by, METHODS)}"
        yield f"{key}.by: found {shown(by)}, expected {expected}"
        return
    method = Grader(grade).method
    read = {"by", "name", "threshold", "pattern", "lenient", *method.keys}
    for name, field in Grade.model_fields.items():
        if name not in read and getattr(grade, name) != field.default:
            yield f"{key}.{name}: given, but {key}.by is {by}, which does not read it"
    if grade.lenient and not at:
        yield f"{key}.lenient: given, but the first grade decides what is right; expected it on a further grade"
    if grade.pattern is not None and (fault := _pattern_fault(grade.pattern)):
        yield f"{key}.pattern: found {shown(grade.pattern)}, expected a regular expression: {fault}"
    if grade.json_schema is not None and (fault := _schema_fault(grade.json_schema)):
        yield f"{key}.json_schema: expected a JSON Schema: {fault}"
    if grade.threshold is not None and (at or method.decides):
        why = f"{key}.by is {by}, which needs no threshold" if method.decides else "only the first grade has one"
        yield f"{key}.threshold: given, but {why}"
    if grade.threshold is None and not at and not method.decides and by != _WHOLE and not FUNCTION.fullmatch(by):
        yield f"{key}.threshold: missing, expected the lowest {by} of a right answer, above 0 and at most 1"


def _pattern_fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None


def _schema_fault(schema: dict[str, Any]) -> str | None:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        return shown(error.message, 120)
    return None


def _method_fits(params: Params) -> str | None:
    if params.evaluate.scoring_method == "generation":
        return None
    return (
        f"evaluate.scoring_method is {params.evaluate.scoring_method}, but task.name is generation; expected generation"
    )


RULES = (_labels_fit, columns_fit("answers"), _no_values, _head_fits, _no_choices, _grades_fit, no_options)
SETTINGS_RULES = (_method_fits, single_setting)
