"""What a stage depends on of params.yaml, as the stage `settings` writes it: defaults filled in, nothing else in it.

    settings = read_settings(Path("data/settings/predict_base.json"), PredictSettings)
    settings.sets["test"].prompt.template

A stage depends on its own file, not on params.yaml: a key that cannot change its result is not in it, so another value
of that key runs nothing again.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tunediff.config.section import Section, Whole
from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import read_json

Settings = TypeVar("Settings", bound=Section)


class MachineSettings(Section):
    """How stages run here: nothing that they find depends on it, so none declares it."""

    logging_steps: Whole
    save_total_limit: Whole | None
    num_processes: Whole
    """Of predict_base and predict_tuned."""


def read_machine(path: Path) -> MachineSettings:
    """The machine's settings, which lie beside those of a stage."""
    return read_settings(path.with_name("machine.json"), MachineSettings)


def read_settings(path: Path, kind: type[Settings]) -> Settings:
    """The settings of a stage.

    Raises:
        TunediffError: the file is missing, or of another version of tunediff.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise TunediffError(f"{path}: {error.error_count()} values are not as expected; run dvc repro") from None
