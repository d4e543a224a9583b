"""The program `python` for tests that start programs: a fork of one that has imported what takes long.

    subprocess.run([warm_python(), "stages/train.py", ...])        # as with sys.executable, seconds sooner

All that is asked in another way than as a script, `-m` or `-c`, or with another seed for hashes or other settings of
the hub than the program was made for, gets a Python of its own. Beside it lies `dvc`, run by it. Tests that kill what
they start take `sys.executable`.
"""

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from tests.imports import ROOT

# Also where `sys.executable` is the warm one meanwhile.
PYTHON = sys.executable
# What Python reads when it starts, and the libraries of the hub when they are imported.
READ_AT_START = {"PYTHONHASHSEED", "HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_HUB_DISABLE_XET"}

# Run by every start of a program, so it imports next to nothing.
CLIENT = """#!{python} -IS
import os, sys
arguments = sys.argv[1:]
known = arguments and (arguments[0].endswith(".py") or arguments[0] in ("-m", "-c"))
own = {fixed!r} != {{name: os.environ[name] for name in {names!r} if name in os.environ}}
if own or not known:
    os.execv("{python}", ["{python}", *arguments])
import array, json, signal, socket, struct
if not os.path.exists("{folder}/socket"):
    import fcntl, subprocess, time
    # What tunediff.models sets before the first of these libraries is imported.
    quiet = {{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}}
    with open("{folder}/lock", "w") as lock, open("{folder}/log", "a") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = None
        while not os.path.exists("{folder}/socket"):
            started = started or subprocess.Popen(
                {server!r},
                env=os.environ | quiet,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if started.poll() is not None:
                sys.exit(open("{folder}/log").read())
            time.sleep(0.05)
server = socket.socket(socket.AF_UNIX)
server.connect("{folder}/socket")
umask = os.umask(0)
os.umask(umask)
request = json.dumps([arguments, os.getcwd(), dict(os.environ), umask]).encode()
server.sendmsg([struct.pack("i", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(request)
[pid] = struct.unpack("i", server.recv(4, socket.MSG_WAITALL))
for sign in (signal.SIGTERM, signal.SIGINT):
    signal.signal(sign, lambda number, _: os.kill(pid, number))
[code] = struct.unpack("i", server.recv(4, socket.MSG_WAITALL))
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def warm_python(env=None) -> Path:
    """The program for what is started in this environment and `env`; each group of READ_AT_START has its own."""
    given = os.environ | (env or {})
    return _warm_python(tuple((name, given[name]) for name in sorted(READ_AT_START & given.keys())))


@functools.cache
def _warm_python(fixed):
    """The same for all workers. Its server is started with its first use, and ends with the tests."""
    worker = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    owner = os.getppid() if worker else os.getpid()
    suffix = f"-{hashlib.sha1(repr(fixed).encode()).hexdigest()[:8]}" if fixed else ""
    folder = Path(tempfile.gettempdir()) / f"warm-python-{worker or owner}{suffix}"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / "python"
    server = [PYTHON, str(ROOT / "tests/warm_server.py"), str(folder / "socket"), str(owner)]
    client = CLIENT.format(python=PYTHON, folder=folder, server=server, fixed=dict(fixed), names=READ_AT_START)
    for path, text in ((folder / "dvc", f'#!/bin/sh\nexec "{program}" -m dvc "$@"\n'), (program, client)):
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(text)
        new.chmod(0o755)
        new.rename(path)
    return program
