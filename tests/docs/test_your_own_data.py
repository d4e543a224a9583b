"""The files of docs/your-own-data.md are taken out of the page, and the first stage runs on them."""

import csv
import io
import json
import re

import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.prepare_params import file_of, prepared
from tunediff.data.cases import read_cases
from tunediff.tasks.experiment import read_experiment

DOCUMENT = (ROOT / "docs" / "your-own-data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


[TICKETS] = blocks("csv")
[MANUAL] = blocks("json")
[REPLIES], [GRADER] = blocks("jsonl"), blocks("python")
EXPERIMENT, LANGUAGE_MODEL, QUESTIONS, FREE_TEXT = map(yaml.safe_load, blocks("yaml"))


def project(folder, **sections):
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/tickets.csv").write_text(TICKETS, encoding="utf-8")
    (folder / "data/raw/manual.json").write_text(MANUAL, encoding="utf-8")
    (folder / "data/raw/replies.jsonl").write_text(REPLIES, encoding="utf-8")
    (folder / "params.yaml").write_text(yaml.safe_dump(EXPERIMENT | sections, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tickets(tmp_path_factory):
    folder = project(tmp_path_factory.mktemp("tickets"))
    return folder, *prepared(folder)


def test_the_tickets_become_three_splits_of_whole_customers(tickets):
    folder, metrics, _ = tickets
    task = EXPERIMENT["task"]
    customer = {row["body"]: row["customer"] for row in csv.DictReader(io.StringIO(TICKETS))}
    there = []
    for name in ("train", "validation", "test"):
        cases = read_cases(file_of(folder, name), task["inputs"], task["labels"])
        assert {case.label for case in cases} == set(task["labels"])
        assert len(cases) == metrics[f"{name}_n"]
        there.append({customer[case.inputs["message"]] for case in cases})
    assert len(set.union(*there)) == sum(map(len, there)) == len(set(customer.values())) - 1
    assert metrics["train_n"] + metrics["validation_n"] + metrics["test_n"] == 36
    assert (metrics["dropped_unlabelled"], metrics["leaked_pairs"]) == (1, 0)


def test_the_line_that_the_page_shows_is_the_one_that_the_stage_prints(tickets):
    *_, summary = tickets
    [line] = re.findall(r"^train: .*", DOCUMENT, flags=re.MULTILINE)
    assert line in summary.splitlines()


def test_the_sections_for_a_language_model_complete_the_experiment(tmp_path):
    params = read_experiment(project(tmp_path, **LANGUAGE_MODEL) / "params.yaml").params
    assert (params.model.head, params.evaluate.scoring_method) == ("lm", "choices")


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
