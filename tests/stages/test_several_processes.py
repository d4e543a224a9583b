"""Stages in several processes, run as DVC runs them: on one host, and on two that are network namespaces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from tests.imports import ROOT
from tests.settings import settle
from tests.tiny import (
    CASE_SET,
    CASES,
    PROMPT,
    TASK,
    adapt_section,
    engine_of,
    load,
    model_section,
    train_section,
    write_model,
)
from tunediff.data.answers import read_answers, write_answers
from tunediff.data.cases import write_cases
from tunediff.engines.asking import ask_cases
from tunediff.engines.other_settings import other_settings
from tunediff.inputs.settings import PredictSettings
from tunediff.models.adapt import adapt_model
from tunediff.runtime.files import read_json
from tunediff.runtime.processes import ADDRESS, HOST, HOSTS, PROCESSES
from tunediff.training.features import write_features
from tunediff.training.finetune import finetune
from tunediff.training.targets import training_rows

pytestmark = pytest.mark.pipeline

PATIENCE = 900  # seconds; a machine with other work on it may take long
EPOCHS = 15
SMALL = train_section(per_device_train_batch_size=2, num_train_epochs=EPOCHS, learning_rate=1e-3, num_processes=2)
TRAIN = ("--train", "cases.jsonl", "--validation", "cases.jsonl", "--base", "base", "--features", "features")
TRAIN += ("--settings", "data/settings/train.json", "--tuned", "tuned", "--log", "log.csv", "--metrics", "metrics.json")
TRAIN += ("--loss", "loss.json", "--environment", "environment.json", "--cost", "cost.json")
PREDICT = ("--settings", "settings/predict_base.json", "--test-sets", "sets", "--validation", "cases.jsonl")
PREDICT += ("--base", "base", "--answers", "answers", "--environment", "environment.json", "--cost", "cost.json")
EVALUATION = {"scoring_method": "choices", "batch_tokens": 128, "settings": ["generation"]}


@pytest.fixture
def project(tmp_path, tokenizer, monkeypatch):
    """A folder with a small model, its cases, and parameters that ask for two processes."""
    monkeypatch.chdir(tmp_path)  # the model's id is a path from here
    write_model(Path("published"), "llama", tokenizer)
    load(Path("base"), Path("published"))
    write_cases(Path("cases.jsonl"), CASES[:7])
    write_features(Path("features"), {})  # no base is frozen under an adapter
    params = yaml.safe_load((ROOT / "recipes" / "minilm-snli.yaml").read_text(encoding="utf-8"))
    params |= {"task": TASK.model_dump(), "prompt": PROMPT.model_dump(), "evaluate": EVALUATION}
    params |= {"adapt": adapt_section("lora").model_dump(), "train": SMALL.model_dump()}
    params["pretrain"] = {"path": "published", "text": "none"}
    params["model"] = {"source": "folder", "id": "published", "head": "lm", "quantization": "none"}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    settle(tmp_path)
    return tmp_path


def start(stage, options, host=None, **env):
    """The stage's command; on a host where one is given."""
    command = [sys.executable, str(ROOT / "stages" / f"{stage}.py"), *options]
    command = ["ip", "netns", "exec", host, *command] if host else command
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")} | env
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """Exit code, standard output, and the lines of standard error that tunediff wrote."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()  # its processes end with it
    return process.returncode, out, [line for line in err.splitlines() if "Warning" not in line], err


def loaded():
    model = load(Path("base"), Path("published"))
    return replace(model, model=adapt_model(model.model, adapt_section("lora"), SMALL.seed))


@pytest.fixture
def hosts(request):
    """Two hosts and the address of the first: network namespaces with a cable between them, and nothing else."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the program ip, to make network namespaces")
    names = [f"tunediff-{os.getpid()}-{number}" for number in range(2)]

    def ip(*arguments):
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no network namespaces here: ip {' '.join(arguments)}: {done.stderr.strip()}")

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, start=1):
            ip("-n", name, "address", "add", f"10.99.0.{number}/30", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
        yield names, "10.99.0.1:29500"
    finally:
        for name in names:
            inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for process in map(int, inside.split()):
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(process).kill()
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def wait_for(what, processes):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and all(process.poll() is None for process in processes):
        if found := what():
            return found
        time.sleep(0.05)
    for process in processes:
        process.kill()
    pytest.fail("\n".join(process.communicate()[1] for process in processes))


def workers_of(process):
    """What torch's agent has started for a stage's command; torch starts helpers of its own besides."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if {"RANK", PROCESSES} <= child.environ().keys()]


def test_a_worker_killed_on_one_of_two_hosts_ends_the_run_in_a_line_and_one_host_goes_on(hosts, project):
    names, address = hosts
    environment = {HOSTS: "2", ADDRESS: address, "TORCH_CPP_LOG_LEVEL": "ERROR"}  # as tunediff launch sets it
    running = [start("train", TRAIN, name, **environment, **{HOST: str(i)}) for i, name in enumerate(names)]
    saved = wait_for(lambda: sorted(Path(".scratch/train").glob("*/checkpoint-*/whole")), running)
    workers = [workers_of(process) for process in running]
    assert [len(some) for some in workers] == [1, 1]
    workers[1][0].send_signal(signal.SIGKILL)
    (code_0, _, lines_0, _), (code_1, _, lines_1, _) = map(end, running)
    assert (code_0, code_1) == (1, 1)
    goes_on = "run the same command to resume from the last checkpoint"
    assert lines_1 == [f"tunediff: process 1 of 2 was killed (SIGKILL); {goes_on}"]
    assert lines_0 == [f"tunediff: another process or its host terminated; {goes_on}"]
    assert psutil.wait_procs([*workers[0], *workers[1]], timeout=30)[1] == []
    assert not Path("tuned").exists()
    assert not Path("log.csv").exists()

    # How many hosts there are is no parameter: what two began, one ends.
    code, out, _, err = end(start("train", TRAIN))
    assert code == 0, err
    last = max(int(path.parent.name.rpartition("-")[2]) for path in saved)
    begun = int(out.split("resuming from")[1].split()[0].rpartition("-")[2])
    assert last <= begun < 2 * EPOCHS
    rows = training_rows(model := loaded(), CASES[:7], TASK.labels, PROMPT, "lm")
    one = SMALL.model_copy(update={"num_processes": 1, "per_device_train_batch_size": 4})
    expected = finetune(model, rows, rows, one, project / "one", "lm")
    log = pd.read_csv("log.csv").to_dict("records")
    assert len(log) == EPOCHS
    for found, row in zip(log, expected, strict=True):
        assert found == pytest.approx(row, abs=1e-4, rel=0)
    cost = read_json(Path("cost.json"))
    assert "2 processes on CPU" in cost["device"]
    assert [path.parent.parent for path in Path(".scratch").rglob("done")] == [Path(".scratch/train")]


def test_sigterm_to_a_stage_ends_its_processes_and_leaves_nothing_half_written(project):
    running = start("train", TRAIN)
    wait_for(lambda: sorted(Path(".scratch/train").glob("*/checkpoint-*/whole")), [running])
    workers = workers_of(running)
    running.send_signal(signal.SIGTERM)
    code, _, lines, _ = end(running)
    assert (code, lines) == (143, ["tunediff: stopped; run the same command to resume from the last checkpoint"])
    assert len(workers) == 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert not {"tuned", "log.csv"} & {path.name for path in project.iterdir()}
    assert not list(project.rglob("*.being-written-*"))


def test_two_processes_answer_every_case_once_and_as_one_does(project):
    section = model_section(Path("published"))
    settings = PredictSettings(model=section, evaluate=EVALUATION, sets={"test": CASE_SET})
    machine = {"logging_steps": 10, "save_total_limit": None, "num_processes": 2}
    for folder in ("sets", "settings"):
        Path(folder).mkdir()
    Path("settings/predict_base.json").write_text(settings.model_dump_json(), encoding="utf-8")
    Path("settings/machine.json").write_text(json.dumps(machine), encoding="utf-8")
    write_cases(Path("sets/test.jsonl"), CASES[:7])
    code, out, lines, _ = end(start("predict_base", PREDICT))
    assert (code, lines) == (0, [])
    assert out.count("base: 7 cases of test answered") == 1
    engine, evaluate = engine_of(load(Path("base"), Path("published")), 128), settings.evaluate
    alone = ask_cases(engine, CASES[:7], CASE_SET, evaluate, "base")
    alone = alone.assign(**other_settings(alone, engine, CASES[:7], [], CASE_SET, evaluate, "base"))
    write_answers(Path("alone.parquet"), alone, {})
    pd.testing.assert_frame_equal(*(read_answers(Path(path))[0] for path in ("answers/test.parquet", "alone.parquet")))
