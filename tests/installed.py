"""tunediff as a wheel installs it, in a folder of its own: the package, and in it what projects are made of."""

import os
import shutil
import sys
import tomllib
from pathlib import Path

from tests.imports import ROOT


def install(site):
    """Put into a folder what the wheel holds, as pyproject.toml says; the folder."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    [package] = wheel["wheel"]["packages"]
    compiled = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / package, site / Path(package).name, ignore=compiled)
    for source, target in wheel["wheel"]["force-include"].items():
        (site / target).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, site / target, ignore=compiled)
        else:
            shutil.copyfile(ROOT / source, site / target)
    return site


def environment_of(site):
    """The variables under which programs find it, and not this clone."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(site), "COLUMNS": "200", "NO_COLOR": "1"}
