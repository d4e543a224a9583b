"""The stage `settings`, run in this process."""

from tunediff.runtime.files import write_json
from tunediff.tasks.experiment import read_experiment, settings_of


def settle(folder):
    """Write data/settings of the project in a folder, from its params.yaml."""
    for stage, values in settings_of(read_experiment(folder / "params.yaml")).items():
        write_json(folder / f"data/settings/{stage}.json", values)
