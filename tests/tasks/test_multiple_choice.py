import math

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.whole_files import write_predictions
from tunediff.compare.comparison import compare_files, compare_run
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.prediction_files import read_predictions as read_foreign
from tunediff.compare.pairs.predictions import Fields
from tunediff.config.data import Data
from tunediff.config.diff import Diff
from tunediff.config.task import TaskSection
from tunediff.data.cases import read_cases, read_predictions, write_cases
from tunediff.data.leaks import Leaks
from tunediff.data.sources import Row
from tunediff.inputs.ask import Ask
from tunediff.report.diff_page import diff_pages
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import foreign_task, task_of
from tunediff.tasks.experiment import read_experiment
from tunediff.tasks.multiple_choice import MEASURES, MultipleChoice

SECTION = TaskSection(
    name="multiple_choice",
    inputs=["question"],
    labels=["A", "B", "C"],
    source_input="question",
    partial_input="question",
)
TASK = task_of(SECTION)
OPTIONS = ["a dog", "two dogs", "höher"]


def data(**changes):
    values = {
        "source": "files",
        "path": "data/raw",
        "files": {"test": "test.jsonl"},
        "columns": {"question": "q", "options": "choices", "label": "answer"},
        "test": {"source": "test"},
    }
    return Data(**values | changes)


def row(**values):
    return Row({"q": "What is it?", "choices": OPTIONS, "answer": "B"} | values, "test.jsonl", 7)


def cases_of(n, seed=0):
    rng = np.random.default_rng(seed)
    texts = ["a", "a cat", "three old dogs", "nobody at all", "yes"]
    rows = [
        row(
            q=f"Question {number}?", choices=rng.choice(texts, 3, replace=False).tolist(), answer="ABC"[rng.integers(3)]
        )
        for number in range(n)
    ]
    return TASK.cases(rows, data())


def answers(cases, seed=1, **columns):
    """Raw answers of a made-up model: total likelihoods, and those per token and without a prompt."""
    rng = np.random.default_rng(seed)
    sums = -rng.gamma(2, 3, (len(cases), 3))
    return pd.DataFrame(
        {
            "case_id": [case.case_id for case in cases],
            "text": "",
            "finish_reason": "none",
            "log_probs": list(sums - np.log(np.exp(sums).sum(1, keepdims=True))),
            "scorer": "choices",
            "prompt_hash": "p",
            "n_tokens": 5,
            "truncated": False,
            "sum_log_probs": list(sums),
            "token_log_probs": list(sums / rng.integers(1, 4, sums.shape)),
            "unconditional_log_probs": list(-rng.gamma(2, 3, sums.shape)),
            **columns,
        }
    )


def graded(cases, frame, score="sum"):
    section = SECTION.model_copy(update={"option_score": score})
    return task_of(section).grade(cases, frame, Ask(answer="options", names=SECTION.labels))


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ({}, {}),
        ({"choices": '["a dog", "two dogs", "höher"]'}, {}),
        ({"choices": {"text": OPTIONS, "label": ["1", "2", "3"]}, "answer": "2"}, {}),
        ({"one": "a dog", "two": "two dogs", "three": "höher"}, {"A": "one", "B": "two", "C": "three"}),
    ],
    ids=["list", "JSON", "as ARC", "columns"],
)
def test_options_stand_in_a_list_in_json_in_an_object_or_in_columns_of_their_own(changes, columns):
    named = {"question": "q", "label": "answer", **(columns or {"options": "choices"})}
    [case] = TASK.cases([row(**changes)], data(columns=named))
    assert (case.label, case.options, case.answers) == ("B", tuple(OPTIONS), ())


def test_numbers_may_stand_for_the_places_and_for_options():
    [case, dropped] = TASK.cases(
        [row(choices=[1, 2.5, "x"], answer=2), row(answer=-1)],
        data(labels={0: "A", 1: "B", 2: "C"}, unlabelled=[-1]),
    )
    assert (case.label, case.options) == ("C", ("1", "2.5", "x"))
    assert dropped is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": OPTIONS[:2]}, "choices: found 2 options, expected a list of 3 texts, one for each of task.labels"),
        ({"choices": "a dog"}, "choices: found 'a dog', expected a list of 3 texts, one for each of task.labels"),
        ({"choices": ["a", " ", "b"]}, "choices: found ' ', expected text that is not empty"),
        ({"choices": ["a", ["b"], "c"]}, "choices: found ['b'], expected text that is not empty"),
        ({"answer": "D"}, "answer: found 'D', expected one of A, B, C, or a value that data.unlabelled lists"),
        (
            {"choices": {"text": OPTIONS, "label": ["1", "2", "3", "3"]}},
            "choices: label: found ['1', '2', '3', '3'], expected a name for each option",
        ),
        (
            {"choices": {"text": OPTIONS, "label": ["1", "1", "2"]}},
            "choices: label: found ['1', '1', '2'], expected a name for each option",
        ),
    ],
)
def test_a_row_without_the_right_number_of_options_or_with_another_label_is_refused(changes, message):
    with pytest.raises(TunediffError) as caught:
        TASK.cases([row(**changes)], data())
    assert caught.value.args == (f"test.jsonl, row 7: {message}",)


def test_options_survive_the_file_of_cases_and_a_repeated_one_is_counted(tmp_path):
    rows = [row(), row(q="Other?", choices=["x", "x", "y"])]
    cases = TASK.cases(rows, data())
    write_cases(tmp_path / "cases.jsonl", cases)
    assert read_cases(tmp_path / "cases.jsonl", TASK.inputs, TASK.labels) == cases
    assert TASK.notes(rows, cases, data()) == ["1 cases have a repeated option; the first occurrence is chosen"]


def test_each_score_chooses_as_lm_evaluation_harness_defines_it():
    [case] = TASK.cases([row(choices=["a", "a longer one", "ééééé"], answer="C")], data())
    frame = answers(
        [case],
        sum_log_probs=[[-2.0, -6.0, -3.0]],
        token_log_probs=[[-2.0, -1.5, -3.0]],
        unconditional_log_probs=[[-4.0, -8.5, -4.0]],
    )
    # In all -2, -6, -3; per character -2, -0.5, -0.6; per byte -2, -0.5, -0.3; less those without a prompt 2, 2.5, 1.
    expected = {"sum": "A", "character": "B", "byte": "C", "token": "B", "unconditional": "B"}
    for score, label in expected.items():
        [found] = graded([case], frame, score).to_dict("records")
        assert (found["prediction"], found["outcome"]) == (label, "right" if label == "C" else "wrong")
        assert found["text"] == case.options["ABC".index(label)]
        assert math.fsum(map(math.exp, found["log_probs"])) == pytest.approx(1)
        assert {name for name in found if name.startswith("score_")} == {
            f"score_{name}" for name in ("sum", "token", "character", "byte") if name != score
        }
        for name in ("sum", "token", "character", "byte"):
            assert found.get(f"score_{name}", expected[name] == "C") == (expected[name] == "C")


def test_the_same_answers_at_another_batch_size_are_scored_by_the_same_rule():
    cases = cases_of(30)
    frame = answers(cases)
    again = frame.assign(
        again_text="",
        again_log_probs=frame["log_probs"],
        again_sum_log_probs=frame["sum_log_probs"],
        again_token_log_probs=frame["token_log_probs"],
    )
    for score in MEASURES:
        found = graded(cases, again, score)
        assert found["again_prediction"].tolist() == found["prediction"].tolist()


def test_baselines_know_the_place_the_length_and_the_words_of_options():
    rows = [
        row(q=f"{number}?", choices=["good", "very bad", "bad"] if number % 3 else ["bad", "very bad", "good"],
            answer="A" if number % 3 else "C")
        for number in range(30)
    ]  # fmt: skip
    cases = TASK.cases(rows, data())
    found = TASK.baselines(cases, cases, {"base": ["A"] * 30, "calibrated_base": ["B"] * 30})
    assert found["majority"] == ["A"] * 30
    assert found["longest"] == ["B"] * 30
    assert found["options_alone"] == [case.label for case in cases]
    assert found["calibrated_base"] == ["B"] * 30
    assert list(TASK.baselines([], cases, {})) == ["longest"]
    assert set(found) == set(TASK.baseline_names)
    lengths = [TASK.features(TASK.cases([row(answer=label)], data()))["right_option"].item() for label in "ABC"]
    assert lengths == ["the shortest", "the longest", "the shortest"]


@pytest.fixture(scope="module")
def pair():
    cases = cases_of(120)
    return cases, graded(cases, answers(cases, 1)), graded(cases, answers(cases, 2))


def test_a_comparison_has_every_score_with_its_interval_and_the_places_as_labels(pair):
    cases, base, tuned = pair
    found = gather(compare_run(base, tuned, cases[:40], cases, Leaks([], [], [], {}), TASK, Diff()))
    names = found.tables["differences"]["metric"].tolist()
    assert names[0] == "accuracy by total likelihood"
    assert names[-3:] == [MEASURES[name] for name in ("token", "character", "byte")]
    assert found.metrics["score_character_base"] == base["score_character"].mean()
    assert found.metrics["score_character_delta_low"] <= found.metrics["score_character_delta"]
    assert found.tables["labels"]["label"].unique().tolist() == ["A", "B", "C"]
    assert set(found.tables["baselines"]["baseline"]) == set(TASK.baseline_names)
    assert "right option" not in found.tables["slices"]["family"].tolist()
    assert "the right option is" in found.tables["slices"]["family"].tolist()
    record = next(iter(found.records))
    assert record["options"] == list(cases[0].options)
    checked = TASK.checked_record(record, "cases.jsonl, row 1")
    assert TASK.gold_text(checked) == f"{cases[0].label}: {cases[0].options['ABC'.index(cases[0].label)]}"
    with pytest.raises(TunediffError, match=r"row 1: options: found None, expected a list of 3 texts"):
        TASK.checked_record({name: value for name, value in record.items() if name != "options"}, "row 1")


def test_two_prediction_files_of_it_are_compared_with_every_score(pair, tmp_path):
    _, *frames = pair
    paths = [tmp_path / "base.parquet", tmp_path / "tuned.parquet"]
    for path, frame in zip(paths, frames, strict=True):
        write_predictions(path, frame, {"labels": TASK.labels})
    assert read_predictions(paths[0])[0]["score_byte"].tolist() == frames[0]["score_byte"].tolist()
    found = gather(compare_files(*(read_foreign(path, Fields()) for path in paths), ("base", "tuned"), 0.95, tmp_path))
    assert isinstance(found.comparison.task, MultipleChoice)
    assert found.metrics["score_byte_tuned"] == frames[1]["score_byte"].mean()
    for page in diff_pages(found, ("base", "tuned")):
        assert "ccuracy by likelihood per byte" in page


def test_a_score_in_a_prediction_file_that_is_neither_0_nor_1_is_refused(pair, tmp_path):
    write_predictions(tmp_path / "odd.parquet", pair[1].assign(score_byte=0.5), {"labels": TASK.labels})
    with pytest.raises(TunediffError, match=r"row 1: score_byte: found 0.5, expected 0 or 1"):
        list(read_foreign(tmp_path / "odd.parquet", Fields()))


def test_a_prediction_file_of_labels_is_none_of_it():
    assert not isinstance(foreign_task(["case_id", "label", "prediction"]), MultipleChoice)


RECIPE = yaml.safe_load((ROOT / "recipes/rankings.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        (
            "data",
            {"columns": {"question": "q", "label": "a"}},
            "data.columns: found ['label', 'question'], expected task",
        ),
        ("prompt", {"choices": dict.fromkeys("ABCD", "x")}, "prompt.choices: given, but task.name is multiple_choice"),
        (
            "evaluate",
            {"scoring_method": "generation"},
            "evaluate.scoring_method is generation, but task.name is multiple",
        ),
        (
            "evaluate",
            {"few_shot": 2},
            "evaluate.few_shot is 2, but task.name is multiple_choice, which has a single evaluation setting",
        ),
        ("task", {"option_score": "words"}, "task.option_score: found 'words', expected 'sum', 'token', 'character'"),
        ("task", {"name": "generation", "labels": ["answer"]}, "task.option_score: given, but task.name is generation"),
        (
            "prompt",
            {"template": None, "messages": [{"role": "user", "content": "{question}"}]},
            "task.option_score is unconditional, but prompt.messages are given",
        ),
    ],
)
def test_parameters_that_do_not_go_with_options_are_refused_in_one_line(tmp_path, section, changes, message):
    values = RECIPE | {"task": RECIPE["task"] | {"option_score": "unconditional"}}
    values |= {section: values[section] | changes}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(TunediffError) as caught:
        read_experiment(tmp_path / "params.yaml")
    assert any(message in line for line in caught.value.args)


def test_options_may_be_asked_of_a_server(tmp_path):
    kept = ("task", "data", "prompt", "evaluate", "report")
    values = {name: RECIPE[name] for name in kept} | {
        "model": {"source": "server", "id": "base", "head": "lm", "quantization": "none"},
        "engine": {"kind": "server", "url": "http://localhost:8000/v1"},
        "tuned": {"source": "server", "id": "tuned"},
    }
    values["evaluate"] = {"scoring_method": "choices"}
    values["data"] = {name: value for name, value in values["data"].items() if name not in ("train", "validation")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    assert read_experiment(tmp_path / "params.yaml").case_sets["test"].ask.answer == "options"
