"""The program `tunediff`, run as people run it."""

import os
import subprocess
import sys


def tunediff(folder, *arguments, **env):
    """Run it in a folder: exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "tunediff.commands.main", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "120"} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
