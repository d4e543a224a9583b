"""Kill anything, any time: the pipeline is killed at random moments, and what comes out is as if nobody had.

pytest tests/test_kills.py                   # two kills
pytest tests/test_kills.py --long            # fifty, in every stage: figures in docs/reliability.md
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
import yaml

from tests.pipeline import NAMES
from tests.project import SMALL, Project, deterministic, environment, nothing_is_left

pytestmark = pytest.mark.pipeline

SEED = 20
STAGES = NAMES[1:]  # the stage settings takes a second and tells no cost
TUNEDIFF = (sys.executable, "-m", "tunediff.commands.main")
# What DVC says where the kill cut off a note that it writes in place: `tunediff repro` clears it away.
REFUSED = re.compile(r"dvc\.lock' (validation failed|is invalid)|Unable to read RWLock-file|structure is corrupted")
# Behind the end of a stage, DVC stores what it wrote.
STORING = 0.8


def begin(project, *command):
    """Start a command in a process group of its own, with Ctrl-C as on a terminal."""
    return subprocess.Popen(
        command,
        cwd=project.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell starts what runs in the background with Ctrl-C ignored, and so would this be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stop_in(process, stages, sign, ready, seconds):
    """Send a signal to the group, in one of the stages; what was said, and the stage it was in.

    Args:
        process: as `start` gives it.
        stages: the signal waits for one of them to begin.
        sign: the signal.
        ready: whether the stage has come as far as the signal shall wait for; the next stage ends the wait too.
        seconds: from then on.
    """
    output, at, ended = [], [], threading.Event()

    def read():
        for line in process.stdout:
            output.append(line)
            if line.startswith("Running stage"):
                at.append(line.split("'")[1])
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    began = None
    while not ended.is_set():
        here = at[-1] if at else None
        if began is None and here in stages:
            began = here
        if began is not None and (here != began or ready()):
            break
        time.sleep(0.02)
    ended.wait(seconds)
    if process.poll() is None:
        os.killpg(process.pid, sign)
    process.wait()
    reader.join()
    # DVC takes a killed process for a living one until the system has taken its number back.
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    return "".join(output), at[-1] if at else None


def progress(project, name):
    """How much an interrupted stage has done so far: saves that are whole, and bytes of answers."""
    scratch = project.folder / ".scratch" / name
    answers = sum(path.stat().st_size for path in scratch.glob("*/*.jsonl"))
    return len(list(scratch.glob("*/*/whole"))) + answers


def moment(project, name, number, seconds, draw):
    """When the kill of a stage with this number comes: where it has something new to lose, or at any time, in turn."""
    if number % 2 == 0 and name in ("base_model", "train", "predict_base", "predict_tuned"):
        before = progress(project, name)
        return (lambda: progress(project, name) > before), draw.uniform(0, 0.3)
    drawn, first = draw.uniform(0, seconds), []

    def after_a_while():
        first.append(time.monotonic())
        return first[-1] - first[0] > drawn

    return after_a_while, 0.0


def newest_saves(project):
    """The newest whole save of each training that was begun, by its folder."""
    found = {}
    for mark in (project.folder / ".scratch").glob("*/*/checkpoint-*/whole"):
        step = int(mark.parent.name.rpartition("-")[2])
        folder = str(mark.parents[1].relative_to(project.folder))
        found[folder] = max(step, found.get(folder, 0))
    return found


def kill_again_and_again(project, kills, seconds, draw):
    """Kill `dvc repro` in the given stages, one after the other; where each hit, and what went on from where."""
    hits, gone_on, saves = Counter(), Counter(), {}
    for number, name in enumerate(kills):
        hit = None
        while hit is None:
            # A stage that has ended runs again, and so do those behind it that have not.
            forget(project, name)
            when = moment(project, name, kills[:number].count(name), seconds[name] + STORING, draw)
            for command in (("dvc",), TUNEDIFF):
                process = begin(project, *command, "repro")
                output, at = stop_in(process, [name], signal.SIGKILL, *when)
                if process.returncode <= 0 or not REFUSED.search(output):
                    break
                gone_on["cleared"] += 1
            assert process.returncode in (0, -signal.SIGKILL), output
            hit = at if process.returncode == -signal.SIGKILL else None
            gone_on += check_saves(output, saves)
            saves = newest_saves(project)
        hits[hit] += 1
    return hits, gone_on, saves


def finish(project, saves):
    """Run the pipeline to its end; what went on from where."""
    output = project.run("dvc", "repro", check=False)
    refused = REFUSED.search(output)
    if refused:
        output = project.run(*TUNEDIFF, "repro")
    assert "Data and pipelines are up to date" in output or "dvc push" in output, output
    return check_saves(output, saves) + Counter(cleared=bool(refused))


def check_saves(output, saves):
    """No run went on from an older save than the newest that was whole: it repeats less than a save interval."""
    found = re.findall(r"resuming from (\.scratch/(?:train|base_model)/\w+)/checkpoint-(\d+)", output)
    for folder, step in found:
        assert int(step) == saves[folder], output
    answered = re.findall(r"were answered before the run was interrupted", output)
    return Counter(saves=len(found), answers=len(answered))


def seconds_of(project):
    return {name: project.metrics(f"cost/{name}")["seconds"] for name in STAGES}


def forget(project, *stages):
    """Let DVC forget what these stages made, so that they run again."""
    lock = project.folder / "dvc.lock"
    try:
        found = yaml.safe_load(lock.read_text())
        for name in found["stages"].keys() & set(stages):
            del found["stages"][name]
    except (FileNotFoundError, yaml.YAMLError, TypeError, AttributeError):  # nothing yet, or a kill cut it off
        return
    lock.write_text(yaml.safe_dump(found, sort_keys=False))
    shutil.rmtree(project.folder / ".dvc/cache/runs", ignore_errors=True)


def test_a_killed_training_and_a_killed_evaluation_end_as_if_nobody_had_killed_them(small_run, tmp_path):
    project, draw = small_run.copy(tmp_path), random.Random(SEED)
    forget(project, "predict_base", "train")
    seconds = seconds_of(project)
    hits, gone_on, saves = kill_again_and_again(project, ["predict_base", "train"], seconds, draw)
    assert hits.total() == 2
    gone_on += finish(project, saves)
    # Both were killed where they had something to lose.
    assert gone_on["saves"] == 1
    assert gone_on["answers"] >= 1
    assert deterministic(project.results()) == deterministic(small_run.results())
    nothing_is_left(project)


@pytest.mark.long
def test_fifty_kills_change_nothing(small_run, tmp_path, capsys):
    project, draw = Project(tmp_path, **SMALL), random.Random(SEED)
    kills = sorted([STAGES[i % len(STAGES)] for i in range(50)], key=STAGES.index)
    hits, gone_on, saves = kill_again_and_again(project, kills, seconds_of(small_run), draw)
    gone_on += finish(project, saves)
    assert deterministic(project.results()) == deterministic(small_run.results())
    nothing_is_left(project)
    with capsys.disabled():
        where = ", ".join(f"{name} {hits[name]}" for name in STAGES)
        print(f"\n{hits.total()} kills ({where})")
        print(f"{gone_on['saves']} times a training went on from its newest whole save")
        print(f"{gone_on['cleared']} times the kill cut off a note of DVC, and tunediff repro cleared it away")
        print(f"{gone_on['answers']} times an evaluation did not ask again what had been answered")
    assert hits.total() == 50
    assert all(hits[name] for name in STAGES)


@pytest.mark.parametrize("program", ["dvc", "tunediff"])
def test_ctrl_c_ends_in_a_line_that_says_how_to_go_on(program, small_run, tmp_path):
    project = small_run.copy(tmp_path)
    forget(project, "diff_cases")
    # Before the stage reads its data, when its parameters are there.
    command = {"dvc": ("dvc",), "tunediff": TUNEDIFF}[program]
    process = begin(project, *command, "repro")
    output, hit = stop_in(process, ["diff_cases"], signal.SIGINT, lambda: True, 1.5)
    assert hit == "diff_cases"
    assert process.returncode != 0
    if program == "tunediff":
        assert output.rstrip().endswith("tunediff: stopped; run the same command to resume from the last checkpoint"), (
            output
        )
    project.run("dvc", "repro")
    assert deterministic(project.results()) == deterministic(small_run.results())
    nothing_is_left(project)
