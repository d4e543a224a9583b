"""A pipeline of three stages that measure their cost as ours do, in a folder of its own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from tests.imports import ROOT, SOURCE
from tests.warm import warm_python
from tunediff.runtime.cost import RUN

SCRIPT = """
import json, subprocess, sys, time
from pathlib import Path
from tunediff.runtime.cost import measured

name, reads, writes = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with measured(Path(f"metrics/cost/{name}.json")):
    if name == "train" and Path("fail").exists():
        sys.exit(7)
    if name == "train" and Path("wait").exists():
        # What it starts ends on Ctrl-C, and on SIGTERM not.
        subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 600; true"])
    while name == "train" and Path("wait").exists():
        Path("waiting").touch()
        time.sleep(0.05)
    # Costs of two runs as short as these may be equal to the last digit; with this much memory they are not.
    held = b"x" * 2**26 if name == "train" and Path("large").exists() else b""
    writes.parent.mkdir(exist_ok=True)
    if name == "diff_cases":
        values = {"n": 100, "repaired": 49, "broken": 2, "accuracy_delta": 0.47}
        writes.write_text(json.dumps(values | {"accuracy_delta_low": 0.361, "accuracy_delta_high": 0.572}))
    else:
        writes.write_text(reads.read_text() + name)
"""
NAMES = ["prepare", "train", "diff_cases"]


def stage(name, reads, writes, sections, metrics=()):
    cost = {f"metrics/cost/{name}.json": {"cache": False}}
    outs = {"metrics": [*metrics, cost]} if metrics else {"outs": [writes], "metrics": [cost]}
    return {
        "cmd": f"python script.py {name} {reads} {writes}",
        "deps": ["script.py", reads],
        "params": sections,
        **outs,
    }


STAGES = {
    "prepare": stage("prepare", "raw.txt", "splits.txt", ["data"]),
    "train": stage("train", "splits.txt", "tuned.txt", ["train"]),
    "diff_cases": stage(
        "diff_cases", "tuned.txt", "metrics/diff_cases.json", ["diff"], [{"metrics/diff_cases.json": {"cache": False}}]
    ),
}


class Pipeline:
    """A folder with the three stages, where no environment is activated and `python` is another one."""

    def __init__(self, folder, git=False):
        self.folder = folder
        self.env = os.environ | {"PATH": os.defpath, "PYTHONPATH": str(SOURCE)}
        self.env.pop(RUN, None)
        (folder / "script.py").write_text(SCRIPT)
        (folder / "raw.txt").write_text("raw")
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
        shutil.copy(ROOT / "params.yaml", folder)
        if git:
            self.git("init", "--quiet")
        self.dvc("init", *([] if git else ["--no-scm"]), "--quiet")
        self.dvc("config", "core.analytics", "false")
        if git:
            (folder / ".gitignore").write_text("metrics/cost\n.scratch\n")
            self.git("add", ".")
            self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "start")

    def dvc(self, *arguments):
        activated = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"}
        subprocess.run([warm_python(), "-m", "dvc", *arguments], cwd=self.folder, env=self.env | activated, check=True)

    def git(self, *arguments):
        subprocess.run(["git", *arguments], cwd=self.folder, check=True)

    def tunediff(self, *command):
        """Exit code, and what follows DVC's own lines."""
        warm = [warm_python(), *self.command(*command)[1:]]
        done = subprocess.run(warm, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        output = done.stdout[done.stdout.rfind("stage  ") :] if "stage  " in done.stdout else done.stdout
        return done.returncode, output, done.stderr

    def command(self, *arguments):
        return [sys.executable, "-m", "tunediff.commands.main", *arguments]

    def change(self, **changes):
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in changes.items():
            params[section] |= values
        path.write_text(yaml.safe_dump(params))

    def seconds(self, *names):
        costs = [json.loads((self.folder / f"metrics/cost/{name}.json").read_text()) for name in names]
        return sum(cost["seconds"] for cost in costs)

    def start_and_wait_in_train(self, *command):
        (self.folder / "wait").touch()
        process = subprocess.Popen(
            self.command(*command or ["repro"]),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell starts what runs in the background with Ctrl-C ignored, and so would this be.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        end = time.monotonic() + 120
        # Ctrl-C before `sleep` is there would leave it running.
        while not (self.folder / "waiting").exists() or "sleep" not in names_below(process.pid):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "train did not begin"
            time.sleep(0.05)
        return process


def names_below(pid):
    """Names of the programs that a process started, and those started by them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return {one.name() for one in psutil.Process(pid).children(recursive=True) if one.is_running()}
    return set()
