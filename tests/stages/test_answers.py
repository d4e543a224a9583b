"""The stages diff_cases and report on questions: scripts, files and pages, on made-up predictions of two models."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.made_answers import TASK, answers_of, golden_pair, made_questions, run_stage, write_run
from tunediff.config.task import RESERVED
from tunediff.data.schemas import METRICS, TABLES, names

TEST, TRAIN = made_questions(100, "test"), made_questions(60, "train")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder in which both stages ran, with a second batch size and a second head."""
    folder = tmp_path_factory.mktemp("questions")
    base, tuned = golden_pair(TEST)
    other = answers_of(TEST, np.arange(100) % 3 == 0, 9)["prediction"]
    write_run(folder, TEST, TRAIN, base.assign(again_prediction=base["prediction"], seed_prediction=other), tuned)
    for name in ("diff_cases", "report"):
        done = run_stage(folder, name)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.txt").write_text(done.stdout)
    return folder


def metrics(run, name="diff_cases"):
    return json.loads((run / f"metrics/{name}.json").read_text())


def plain(path):
    return path.read_text().replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.slow
def test_the_golden_pair_of_questions_has_the_keys_that_others_read_and_its_values(run):
    found = metrics(run)
    assert tuple(found) == names(METRICS["diff_cases of questions"])
    assert [found[name] for name in ("both_right", "repaired", "broken")] == [39, 49, 2]
    assert found["mcnemar_p"] == pytest.approx(1.1786127629e-12, rel=1e-9)
    assert (found["accuracy_base"], found["accuracy_tuned"]) == (0.41, 0.88)
    assert found["f1_base"] > found["accuracy_base"]
    assert found["f1_delta_low"] < found["f1_delta"] < found["f1_delta_high"]
    assert found["f1_p"] < 0.001
    assert found["has_answer_n"] + found["no_answer_n"] == 100
    assert found["noise_floor_flips"] == 0
    assert found["noise_floor_seed_flips"] > 20
    assert found["baseline_best"] == 0.41
    assert metrics(run, "baselines") == {"base_accuracy": 0.41, "capitalised_accuracy": 0.0, "no_answer_accuracy": 0.25}


@pytest.mark.slow
def test_the_gain_is_what_questions_with_an_answer_add_and_those_without(run):
    found, table = metrics(run), pd.read_csv(run / "data/plots/gain.csv").set_index("part")
    assert list(table.index) == ["has_answer", "no_answer"]
    assert table["cases"].sum() == 47
    assert found["gain_has_answer"] + found["gain_no_answer"] == pytest.approx(0.47)
    share = found["has_answer_n"] / 100
    change = found["has_answer_exact_tuned"] - found["has_answer_exact_base"]
    assert found["gain_has_answer"] == pytest.approx(share * change)


def test_the_tables_have_the_columns_that_others_read_and_count_every_question_once(run):
    folder = run / "data/plots"
    for path in folder.glob("*.csv"):
        optional = {"same_context", "same_question"} if path.name == "contamination.csv" else set()
        assert {*names(TABLES[path.stem]), *optional} == set(pd.read_csv(path)), path.name
    confusion = pd.read_csv(folder / "confusion_tuned.csv")
    assert set(confusion["prediction"]) <= set(TASK.labels)
    assert len(confusion) == 100
    families = set(pd.read_csv(folder / "slices.csv")["family"])
    assert {"tag", "label", "question word", "answer length", "answer in the context", "sentence overlap"} <= families


def test_a_record_holds_answers_f1_and_for_flips_the_evidence(run):
    records = [json.loads(line) for line in (run / "data/cases.jsonl").read_text().splitlines()]
    for record, case in zip(records, TEST, strict=True):
        assert record["case_id"] == case.case_id
        assert set(record) - {*TASK.inputs} <= RESERVED
        assert [answer["text"] for answer in record["answers"]] == [answer.text for answer in case.answers]
        flipped = record["transition"] in ("repaired", "broken")
        assert ("evidence" in record, "explanation" in record) == (flipped, flipped)
    explained = [record for record in records if record.get("explanation")]
    assert len(explained) == 51
    for record in explained:
        cited = {field for clause in record["clauses"] for field in clause["fields"]}
        assert cited <= {*record["evidence"], "label"}
        near = record["evidence"]["nearest"][0]
        assert near["question"].split()[0] == record["question"].split()[0]


def test_both_reports_tell_of_exact_match_f1_and_the_two_kinds_of_question(run):
    for name in ("report.html", "report.md"):
        text = plain(run / "reports" / name)
        assert "fine-tuning raised exact match from 41.0 % to 88.0 % on 100 test cases." in text
        assert re.search(r"F1, based on the words shared with the gold answer, went from \d", text)
        assert re.search(r"On the 75 questions that have an answer exact match went from [\d.]+ % to [\d.]+ %", text)
        assert "abstaining where there is no answer" in text
        assert re.search(
            r"With a different random initialization of its untrained head, the base model flipped \d+", text
        )
        assert "never answering scores 25.0 %" in text
        assert "The 100 cases share 50 different contexts." in text
        assert "Same context" in text or "same context" in text
        assert not re.search(r"\bnan\b|undefined|\bNone\b", re.sub("<script.*?</script>", "", text, flags=re.DOTALL))
    assert (
        "exact match 41.0% -> 88.0% on 100 cases: 49 repaired - 2 broken = +47" in (run / "diff_cases.txt").read_text()
    )


@pytest.mark.slow
def test_the_plots_of_the_pipeline_are_drawn_from_the_tables_of_questions(run):
    dvc = Path(sys.executable).parent / "dvc"
    for command in (["git", "init", "-q"], [dvc, "init", "-q"]):
        subprocess.run(command, cwd=run, check=True)
    (run / ".dvc/plots").mkdir()
    for path in (ROOT / ".dvc/plots").glob("*.json"):
        (run / ".dvc/plots" / path.name).write_text(path.read_text())
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    (run / "dvc.yaml").write_text(yaml.safe_dump({"plots": pipeline["plots"]}))
    done = subprocess.run([dvc, "plots", "show"], cwd=run, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = (run / "dvc_plots/index.html").read_text()
    assert "has_answer" in page
    assert "unanswerable" in page


def test_models_without_probabilities_and_questions_that_all_have_an_answer_make_whole_files(tmp_path):
    task = TASK.model_copy(update={"labels": ["answerable"]})
    test = made_questions(40, "test", task.labels)
    right = np.arange(40) % 2 == 0
    base, tuned = (answers_of(test, given, seed, scored=False) for seed, given in ((1, right), (2, np.arange(40) < 30)))
    # The base model's answers to two questions could not be read.
    base.loc[:1, ["prediction", "outcome", "f1"]] = [None, "invalid", 0.0]
    write_run(tmp_path, test, made_questions(60, "train", task.labels), base, tuned, task)
    for name in ("diff_cases", "report"):
        done = run_stage(tmp_path, name)
        assert done.returncode == 0, done.stderr
    assert metrics(tmp_path, "calibration") == {}
    assert metrics(tmp_path)["became_valid"] == 2
    assert "has_answer_n" not in metrics(tmp_path)
    assert (tmp_path / "data/plots/reliability.csv").read_text().startswith("model,bin")
    for name in ("report.html", "report.md"):
        text = plain(tmp_path / "reports" / name)
        assert "2 answers of the base model (5.0 %) could not be parsed and count as wrong." in text
        for absent in ("Parts of the change", "Calibration", "Confusion before", "Confusion, before"):
            assert absent not in text


def test_answers_scored_against_other_gold_answers_are_refused_in_a_line(tmp_path):
    base, tuned = golden_pair(TEST)
    changed = [replace(TEST[0], answers=()), *TEST[1:]]
    write_run(tmp_path, changed, TRAIN, base, tuned)
    done = run_stage(tmp_path, "diff_cases")
    assert done.returncode == 1
    assert re.fullmatch(
        r"tunediff: test split and base predictions: answers: found different values for 1 of 100 cases .*\n",
        done.stderr,
    )
    assert not (tmp_path / "data/cases.jsonl").exists()
