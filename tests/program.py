"""The program `tunediff` and the stages, run as people run them; in this process where that makes no difference.

code, out, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl")
done = script(folder, ROOT / "stages/prepare.py", "--raw", "data/raw", ...)     # as of subprocess.run
"""

import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
import traceback

from tests.warm import READ_AT_START, warm_python

MODULE = "tunediff.commands.main"


def tunediff(folder, *arguments, python=None, **env):
    """Run it in a folder: exit code, standard output, standard error. `python`: one that a process is started of."""
    if python is None and not READ_AT_START & env.keys():
        from tunediff.commands.main import main

        done = _here(folder, "tunediff", main, arguments, env)
    else:
        done = _process(folder, python, ["-m", MODULE, *arguments], env)
    return done.returncode, done.stdout, done.stderr


def script(folder, path, *arguments, python=None, **env):
    """Run the script of a stage in a folder; `python`: as for `tunediff`."""
    if python is None and not READ_AT_START & env.keys():
        return _here(folder, path, lambda: runpy.run_path(str(path), run_name="__main__"), arguments, env)
    return _process(folder, python, [path, *arguments], env)


def _process(folder, python, arguments, env):
    return subprocess.run(
        [python or warm_python(env), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "120"} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def _here(folder, program, main, arguments, env):
    """Call `main` as a program of that name with these arguments: folder, environment and outputs are put back."""
    arguments = [str(program), *map(str, arguments)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
        stack.enter_context(contextlib.chdir(folder))
        stack.callback(_restore, os.environ.copy(), sys.argv, sys.path[:], sys.executable)
        os.environ |= {"COLUMNS": "120"} | {name: str(value) for name, value in env.items()}
        sys.argv, sys.executable = arguments, str(warm_python())
        with _outputs(files):
            code = _exit_code(main)
        texts = []
        for file in files:
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)


def _restore(environment, arguments, path, executable):
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[:], sys.executable = arguments, path, executable


@contextlib.contextmanager
def _outputs(files):
    """Standard output and error go to two files, also those of programs that are started meanwhile."""
    streams, numbers = (sys.stdout, sys.stderr), (1, 2)
    for stream in streams:
        stream.flush()
    kept = [os.dup(number) for number in numbers]
    for number, file in zip(numbers, files, strict=True):
        os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in numbers)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout.close()
        sys.stderr.close()
        sys.stdout, sys.stderr = streams
        for number, copy in zip(numbers, kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def _exit_code(main):
    """How the process would have ended."""
    try:
        main()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
