"""A Python that has imported torch, transformers and peft already, and runs scripts in forks of itself.

    python tests/warm_server.py SOCKET PID       # serves until the process PID has gone

To import these libraries takes seconds of CPU, and the tests start some hundred programs that do. A fork has them at
once and nothing of this project, so a program runs as it would in a fresh Python, from its own folder and code.
`tests/warm.py` starts the server and writes the program `python` that asks it.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path

LIBRARIES = [
    *("torch", "torch.distributed", "transformers", "transformers.modeling_utils", "transformers.models.auto"),
    *("transformers.models.llama.modeling_llama", "transformers.models.bert.modeling_bert"),
    *("transformers.tokenization_utils_tokenizers", "peft", "bitsandbytes", "accelerate", "safetensors.torch"),
    *("tokenizers", "tqdm", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.sparse", "scipy.optimize", "pydantic"),
    *("yaml", "psutil", "sklearn.linear_model", "sklearn.feature_extraction.text", "jinja2", "altair", "vl_convert"),
    *("dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.experiments.run", "dvc.repo.experiments.save", "dvc.output"),
    *("dvc.repo.experiments.queue.workspace", "dvc.stage.run", "dvc_data.hashfile.build", "scmrepo.git"),
]


def serve(path, owner):
    """Answer until the process `owner` has gone."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # as where only the light install is tested
            importlib.import_module(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "tunediff"]
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{path}.new")
    listener.listen(64)
    Path(f"{path}.new").rename(path)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running = {}
    while alive(owner):
        ready, _, _ = select.select([listener, awake], [], [], 2)
        if awake in ready:
            os.read(awake, 4096)
            end(running)
        if listener in ready:
            asked, _ = listener.accept()
            request, files = receive(asked)
            pid = os.fork()
            if pid == 0:
                for held in (listener, asked, *running.values()):
                    held.close()
                work(request, files)
            for file in files:
                os.close(file)
            running[pid] = asked
            asked.sendall(struct.pack("i", pid))
    shutil.rmtree(path.parent, ignore_errors=True)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def receive(asked):
    """What to run, as (arguments, folder, environment, umask), and its standard input, output and error."""
    data, files, _, _ = socket.recv_fds(asked, 4, 3)
    [size] = struct.unpack("i", data)
    return json.loads(asked.recv(size, socket.MSG_WAITALL)), files


def end(running):
    """Tell the exit code of each program that has ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with running.pop(pid) as asked, contextlib.suppress(OSError):
            asked.sendall(struct.pack("i", os.waitstatus_to_exitcode(status)))


def work(request, files):
    """Become the program; never returns."""
    arguments, folder, environment, umask = request
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for sign in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(sign, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for place, file in enumerate(files):
            os.dup2(file, place)
            os.close(file)
        os.chdir(folder)
        os.umask(umask)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = [*python_path(), *PATH]
        # What it starts with its own Python is warm too.
        sys.executable = str(PROGRAM)
        code = run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def python_path():
    """The folders of PYTHONPATH as Python takes them."""
    return [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]  # noqa: PTH100


def run(arguments):
    """Run `SCRIPT ...`, `-m MODULE ...` or `-c CODE ...`; its exit code."""
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            sys.argv = arguments
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    # Without the folder of this file; PYTHONPATH is each program's own.
    PATH = [part for part in sys.path[1:] if part not in python_path()]
    PROGRAM = Path(sys.argv[1]).with_name("python")
    serve(Path(sys.argv[1]), int(sys.argv[2]))
