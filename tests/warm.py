"""The program `python` for tests that start programs: a fork of one that has imported what takes long.

    subprocess.run([warm_python(), "stages/train.py", ...])        # as with sys.executable, seconds sooner

All that is asked in another way than as a script, `-m` or `-c`, with a seed for hashes or with settings of the hub,
which libraries read when they are imported, gets a Python of its own. Beside it lies `dvc`, run by it. Tests that kill
what they start take `sys.executable`.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock

from tests.imports import ROOT

# Settings of the hub, which its libraries read when they are imported.
OF_THE_HUB = {"HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE", "HF_HUB_CACHE"}

# Run by every start of a program, so it imports next to nothing.
CLIENT = """#!{python} -IS
import os, sys
arguments = sys.argv[1:]
known = arguments and (arguments[0].endswith(".py") or arguments[0] in ("-m", "-c"))
own = {hub!r} & set(os.environ)
seed = os.environ.get("PYTHONHASHSEED", "random") != "random"
if own or seed or not known:
    os.execv("{python}", ["{python}", *arguments])
import array, json, signal, socket, struct
server = socket.socket(socket.AF_UNIX)
server.connect("{socket}")
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


@functools.cache
def warm_python() -> Path:
    """The program; the first of the workers that asks starts the server, which ends with the tests."""
    worker = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    owner = os.getppid() if worker else os.getpid()
    folder = Path(tempfile.gettempdir()) / f"warm-python-{worker or owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    program, socket = folder / "python", folder / "socket"
    with FileLock(folder / "lock"):
        if not program.exists():
            # What tunediff.models sets before the first of these libraries is imported.
            quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
            command = [sys.executable, str(ROOT / "tests/warm_server.py"), str(socket), str(owner)]
            with (folder / "log").open("w") as log:
                server = subprocess.Popen(
                    command, env=os.environ | quiet, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            while not socket.exists():
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
            (folder / "dvc").write_text(f'#!/bin/sh\nexec "{program}" -m dvc "$@"\n')
            (folder / "dvc").chmod(0o755)
            program.write_text(CLIENT.format(python=sys.executable, socket=socket, hub=OF_THE_HUB))
            program.chmod(0o755)
    return program
