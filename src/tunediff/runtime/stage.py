"""Parse the arguments of a stage script, which are paths.

    args = arguments(__doc__, reads=("splits",), writes=("metrics", "cost"))
    args.splits        # Path("data/splits"), after: python stages/NAME.py --splits data/splits --metrics ... --cost ...

The paths are written only in dvc.yaml; scripts have no default paths.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import output_path

PARAMS = Path("params.yaml")


def arguments(doc: str | None, reads: Sequence[str], writes: Sequence[str]) -> argparse.Namespace:
    """Parse the paths of a stage, all of them required.

    Args:
        doc: the script's docstring, shown by --help.
        reads: names of the paths to read, which must exist.
        writes: names of the paths to write, which must be inside the project.

    Raises:
        TunediffError: a path to read does not exist, or a path to write leads out of the project.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in reads:
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, required=True, help="read")
    for name in writes:
        parser.add_argument(f"--{name.replace('_', '-')}", required=True, help="written")
    args = parser.parse_args()
    for name in reads:
        if not getattr(args, name).exists():
            raise TunediffError(f"{getattr(args, name)}: there is no such file or folder (--{name.replace('_', '-')})")
    for name in writes:
        setattr(args, name, output_path(getattr(args, name)))
    return args


def check_path(key: str, named: str, read: Path) -> None:
    """Check that a path of params.yaml is the one that dvc.yaml passes to the stage and that DVC therefore tracks.

    Args:
        key: the key of params.yaml.
        named: its value.
        read: the path that the stage was given.

    Raises:
        TunediffError: the paths differ.
    """
    if Path(named).resolve() != read.resolve():
        raise TunediffError(f"params.yaml: {key}: found {named}, expected {read}, the dependency in dvc.yaml")
