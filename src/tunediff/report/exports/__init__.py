"""Formats for other tools, one module each. To add one, add a module and an entry in `FORMS`.

for path in FORMS["lm-eval"](Path("samples"), answers):     # answers: a SetAnswers
    ...                                                     # the written files
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from tunediff.report.exports.every_eval_ever import write_evaluation
from tunediff.report.exports.harness_samples import write_samples
from tunediff.report.exports.set_answers import SetAnswers

FORMS: Mapping[str, Callable[[Path, SetAnswers], list[Path]]] = {
    "lm-eval": write_samples,
    "every-eval-ever": write_evaluation,
}
