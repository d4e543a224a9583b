"""What every stage script does first: take its paths as arguments.

    args = arguments(__doc__, reads=("splits",), writes=("metrics", "cost"))
    args.splits        # Path("data/splits"), after: python stages/NAME.py --splits data/splits --metrics ... --cost ...

The paths stand once, in dvc.yaml; a script never knows them by heart.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tunediff.runtime.errors import TunediffError
from tunediff.runtime.files import output_path

PARAMS = Path("params.yaml")


def arguments(doc: str | None, reads: Sequence[str], writes: Sequence[str]) -> argparse.Namespace:
    """The stage's paths by name, each required: what it reads must be there, what it writes must lie in the project.

    Args:
        doc: the script's docstring, shown by --help.
        reads: names of paths that are read.
        writes: names of paths that are written.

    Raises:
        TunediffError: a path to read is not there, or a path to write leads out of the project.
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
    """Refuse a path of params.yaml that dvc.yaml does not hand to the stage: DVC would watch another one.

    Raises:
        TunediffError: they differ.
    """
    if Path(named).resolve() != read.resolve():
        raise TunediffError(f"params.yaml: {key}: found {named}, expected {read}, which dvc.yaml refers to")
