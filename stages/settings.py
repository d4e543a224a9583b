"""Check params.yaml, and write for each stage the values that can change its result and a hash of its code.

python stages/settings.py --params params.yaml --scripts stages --code src/tunediff --settings data/settings
"""

from tunediff.runtime.errors import run
from tunediff.runtime.files import replacing, write_json
from tunediff.runtime.release import check_code
from tunediff.runtime.stage import arguments
from tunediff.tasks.experiment import read_experiment, stage_files


def main() -> None:
    args = arguments(__doc__, reads=("params", "scripts", "code"), writes=("settings",))
    check_code(args.code)
    with replacing(args.settings) as folder:
        folder.mkdir()
        for stage, settings in stage_files(read_experiment(args.params), args.scripts).items():
            write_json(folder / f"{stage}.json", settings)


if __name__ == "__main__":
    run(main)
