"""docs/your-own-data.md: its commands are typed to the report, and its other files go through the first stage."""

import json
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.installed import environment_of, install
from tests.prepare_run import file_of, prepared
from tests.warm import warm_python
from tunediff.data.cases import read_cases
from tunediff.tasks.experiment import read_experiment

DOCUMENT = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")


def blocks(language):
    # All together: what closes one block would open the next one of no language.
    found = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


[MANUAL, RANKED], [REPLIES], [MAKE_TICKETS, GRADER] = blocks("json"), blocks("jsonl"), blocks("python")
EXPERIMENT, QUESTIONS, FREE_TEXT, OPTIONS, _ = map(yaml.safe_load, blocks("yaml"))
COMMANDS, SAID = ([line for line in block.splitlines() if line] for block in blocks(""))


def project(folder, **sections):
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/manual.json").write_text(MANUAL, encoding="utf-8")
    (folder / "data/raw/replies.jsonl").write_text(REPLIES, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(EXPERIMENT | sections, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """A folder in which the commands of the page can be typed as by a user who has installed the wheel."""
    folder = tmp_path_factory.mktemp("typed")
    environment = environment_of(install(tmp_path_factory.mktemp("site")))
    (folder / "make_tickets.py").write_text(MAKE_TICKETS, encoding="utf-8")
    subprocess.run([sys.executable, "make_tickets.py"], cwd=folder, check=True)
    place = {"folder": folder}

    def run(line):
        words = shlex.split(line)
        if words[0] == "cd":
            place["folder"] /= words[1]
            return ""
        assert words[0] == "tunediff"
        command = [warm_python(), "-m", "tunediff.commands.main", *words[1:]]
        done = subprocess.run(
            command, cwd=place["folder"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return folder, run


def test_the_page_takes_at_most_five_commands_the_first_of_which_installs():
    assert len(COMMANDS) <= 5
    assert COMMANDS[0].startswith("pip install '.[models,minilm]' ")


@pytest.mark.recipe
def test_the_page_is_typed_from_first_to_last_line_to_the_report(typed):
    folder, run = typed
    out = {line: run(line) for line in COMMANDS[1:]}
    assert out[COMMANDS[1]].splitlines() == SAID
    params = (folder / "tickets/params.yaml").read_text(encoding="utf-8")
    assert params == blocks("yaml")[0]
    assert out["tunediff repro"].count("ran ") >= 11
    metrics = json.loads((folder / "tickets/metrics/diff_cases.json").read_text(encoding="utf-8"))
    assert metrics["n"] == 236
    assert metrics["accuracy_delta_low"] > 0.5
    assert "team of tickets.csv" in (folder / "tickets/reports/report.html").read_text(encoding="utf-8")


def test_the_questions_become_splits_of_whole_articles(tmp_path):
    metrics, summary = prepared(project(tmp_path, **QUESTIONS))
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (2, 2, 2)
    assert "manual: starts of the answers: 2 as given, 1 found in the context, 0 nowhere in the context" in summary
    cases = [
        case
        for name in ("train", "validation", "test")
        for case in read_cases(file_of(tmp_path, name), ["question", "context"], QUESTIONS["task"]["labels"])
    ]
    golds = {q["question"]: q["answers"] for a in json.loads(MANUAL)["data"] for q in a["paragraphs"][0]["qas"]}
    for case in cases:
        assert [answer.text for answer in case.answers] == [gold["text"] for gold in golds[case.inputs["question"]]]
        assert all(case.inputs["context"].startswith(text, start) for text, start in case.answers)


def test_the_replies_become_cases_with_references_of_several_lines_and_are_graded_as_the_page_says(
    tmp_path, monkeypatch
):
    metrics, _ = prepared(project(tmp_path, **FREE_TEXT))
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (2, 2, 2)
    (tmp_path / "graders").mkdir()
    (tmp_path / "graders/brief.py").write_text(GRADER, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    experiment = read_experiment(tmp_path / "params.yaml")
    cases = [
        case
        for name in ("train", "validation", "test")
        for case in read_cases(file_of(tmp_path, name), ["ticket"], ["answer"])
    ]
    texts = [case.answers[0].text for case in cases]
    answers = pd.DataFrame({"case_id": [case.case_id for case in cases], "text": texts, "finish_reason": "stop"})
    answers = answers.assign(log_probs=None, scorer="generation", prompt_hash="", n_tokens=1, truncated=False)
    ask = experiment.case_sets["test"].ask
    frame = experiment.task.grade(cases, answers, ask)
    assert frame["prediction"].tolist() == [text.split("#### ")[1] for text in texts]
    assert set(frame["outcome"]) == {"right"}
    assert frame[["score_rougeL", "score_brief"]].eq(1).all(axis=None)
    wrong = experiment.task.grade(cases, answers.assign(text="I would say: a lot of money, every single month"), ask)
    assert set(wrong["outcome"]) == {"invalid"}


def test_the_row_with_options_of_its_own_becomes_cases_that_are_chosen_among_them(tmp_path):
    row = json.loads(RANKED)
    folder = project(tmp_path, **(FREE_TEXT | OPTIONS))
    for name, other in (("train", "Ann"), ("validation", "Ida"), ("test", "Zoe")):
        told = {**row, "question": row["question"].replace("Ann", other)}
        (folder / f"data/raw/{name}.jsonl").write_text(json.dumps(told), encoding="utf-8")
    metrics, _ = prepared(folder)
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (1, 1, 1)
    [case] = read_cases(file_of(tmp_path, "test"), ["question"], OPTIONS["task"]["labels"])
    assert (case.label, list(case.options)) == ("B", row["choices"])
    assert case.inputs["question"].startswith("Zoe is taller")
