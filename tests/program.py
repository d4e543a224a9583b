"""The program `tunediff`, run as people run it."""

import os
import subprocess

from tests.warm import warm_python


def tunediff(folder, *arguments, python=None, **env):
    """Run it in a folder: exit code, standard output, standard error. `python`: in place of the warm one."""
    done = subprocess.run(
        [python or warm_python(), "-m", "tunediff.commands.main", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "120"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
