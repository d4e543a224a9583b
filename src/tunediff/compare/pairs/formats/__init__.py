"""Formats of other tools, one module each. To add one, add a module and an entry in `FORMATS`."""

from tunediff.compare.pairs.file_format import FileFormat
from tunediff.compare.pairs.formats import (
    eval_events,
    harness,
    helm,
    inspect_log,
    lighteval,
    promptfoo,
    squad_answers,
)

FORMATS: tuple[FileFormat, ...] = (
    harness.FORMAT,
    inspect_log.FORMAT,
    lighteval.FORMAT,
    promptfoo.FORMAT,
    eval_events.FORMAT,
    helm.FORMAT,
    squad_answers.FORMAT,
)
