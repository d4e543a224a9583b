"""Rules of question answering for params.yaml. Each returns an error message, or None.

    task.inputs: found ['text'], expected [question, context] for question_answering

`RULES` apply to all test sets, `SETTINGS_RULES` to the main one only.
"""

from tunediff.config.params import Params
from tunediff.config.task import ANSWERABLE, UNANSWERABLE
from tunediff.tasks.columns import columns_fit, no_grades, no_options, single_setting


def _inputs_fit(params: Params) -> str | None:
    if params.task.inputs == ["question", "context"]:
        return None
    return f"task.inputs: found {params.task.inputs}, expected [question, context] for question_answering"


def _labels_fit(params: Params) -> str | None:
    if params.task.labels in ([ANSWERABLE], [ANSWERABLE, UNANSWERABLE]):
        return None
    return (
        f"task.labels: found {params.task.labels}, expected [answerable] or [answerable, unanswerable] for "
        "question_answering"
    )


def _no_values(params: Params) -> str | None:
    if params.data.labels is None:
        return None
    return "data.labels: given, but task.name is question_answering, whose labels follow from the answers"


def _head_fits(params: Params) -> str | None:
    if params.model.head in ("lm", "span"):
        return None
    return f"model.head is {params.model.head}, but task.name is question_answering"


def _no_choices(params: Params) -> str | None:
    if params.model.head != "lm" or params.prompt.choices is None:
        return None
    return "prompt.choices: given, but task.name is question_answering"


def _method_fits(params: Params) -> str | None:
    if params.evaluate.scoring_method != "choices":
        return None
    return "evaluate.scoring_method is choices, but task.name is question_answering, whose answers are not choices"


RULES = (_inputs_fit, _labels_fit, columns_fit("answers"), _no_values, _head_fits, _no_choices, no_grades, no_options)
SETTINGS_RULES = (_method_fits, single_setting)
