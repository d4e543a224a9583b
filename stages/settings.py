"""Read params.yaml, whole, and write for each stage the values that can change its result.

python stages/settings.py --params params.yaml --settings data/settings
"""

from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json
from tunediff.runtime.stage import arguments
from tunediff.tasks.experiment import read_experiment, settings_of


def main() -> None:
    args = arguments(__doc__, reads=("params",), writes=("settings",))
    with replacing(args.settings) as folder:
        folder.mkdir()
        for stage, settings in settings_of(read_experiment(args.params)).items():
            write_json(folder / f"{stage}.json", settings)


if __name__ == "__main__":
    run(main)
