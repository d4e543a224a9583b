"""Forms in which answers are handed to other tools, a file each: a new one is a file here and a name in `FORMS`.

for path in FORMS["lm-eval"](Path("samples"), answers):     # answers: a SetAnswers
    ...                                                     # the files that were written
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
