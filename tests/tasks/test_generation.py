import re

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.whole_files import write_predictions
from tunediff.compare.comparison import compare_files, compare_run
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.prediction_files import read_predictions as foreign
from tunediff.compare.pairs.predictions import Fields
from tunediff.config.data import Origin
from tunediff.config.diff import Diff
from tunediff.config.prompt import Prompt
from tunediff.config.task import TaskSection
from tunediff.data.cases import Answer, make_cases, read_cases, read_predictions, write_cases
from tunediff.data.leaks import Leaks
from tunediff.data.schemas import FREE_TEXT, names
from tunediff.data.sources import Row
from tunediff.inputs.ask import Ask
from tunediff.inputs.prompts import answer_text
from tunediff.runtime.errors import TunediffError
from tunediff.tasks import task_of
from tunediff.tasks.answer_traits import in_other_script, repetition, traits
from tunediff.tasks.experiment import read_experiment

NAMES = {"inputs": ["question"], "labels": ["answer"], "source_input": "question", "partial_input": "question"}
ASK = Ask(answer="text")


def task(*grade):
    return task_of(TaskSection(name="generation", **NAMES, grade=list(grade)))


SUMS = task({"by": "number", "pattern": "#### (.*)"}, {"by": "exact", "name": "whole"}, "chrf", "bleu")
CASES = make_cases(
    ({"question": f"What is {n} + 1?"}, "answer", ("plus",), (Answer(f"{n} + 1 = {n + 1}\n#### {n + 1}", None),))
    for n in range(8)
)


def raw(texts, **columns):
    given = {"finish_reason": "stop", "log_probs": None, "scorer": "generation", "prompt_hash": "p", "n_tokens": 3}
    ids = [case.case_id for case in CASES[: len(texts)]]
    return pd.DataFrame({"case_id": ids, "text": texts, "truncated": False, **given, **columns}, index=range(len(ids)))


def written(right):
    """Answers of which the first so many are right, one wrong and the others in no form at all."""
    texts = [f" {n} + 1 = {n + 1}\n#### {n + 1}" for n in range(right)] + [" hm\n#### 99"]
    return texts + [" I do not know"] * (len(CASES) - len(texts))


# Rows and cases

DATA = {"source": "files", "files": {"a": "a.jsonl"}, "columns": {"question": "q", "answers": "a"}}


def cases_of(*values):
    rows = [Row({"q": f"question {n}", "a": value}, "a.jsonl", n) for n, value in enumerate(values, start=1)]
    return SUMS.cases(rows, Origin(**DATA, test={"source": "a"}, unlabelled=["none"]))


def test_a_cell_is_a_text_a_number_an_object_or_a_list_of_references():
    found = cases_of("one\ntwo", 42, 4.0, {"a": 1, "b": None}, ["x", "y", "x"], [{"a": 1}, {"a": 2}], "none")
    assert found[-1] is None
    assert [[answer.text for answer in case.answers] for case in found[:-1]] == [
        ["one\ntwo"],
        ["42"],
        ["4"],
        ['{"a": 1, "b": null}'],
        ["x", "y"],
        ['{"a": 1}', '{"a": 2}'],
    ]
    assert {case.label for case in found[:-1]} == {"answer"}


@pytest.mark.parametrize("value", ["", " ", [], None, [["x"]], ["x", ""]])
def test_a_cell_without_a_reference_is_refused_by_row_and_column(value):
    with pytest.raises(TunediffError, match=r"a.jsonl, row 1: a: found .*, expected|a.jsonl, row 1: a: found no"):
        cases_of(value)


def test_answers_of_several_lines_come_back_from_the_file_of_the_cases(tmp_path):
    write_cases(tmp_path / "test.jsonl", CASES)
    assert read_cases(tmp_path / "test.jsonl", ["question"], ["answer"]) == CASES


# What is learned

GENERATES = Prompt(template="{question}\n", stop=[])


def test_training_learns_every_line_of_the_answer_and_one_line_where_a_line_end_ends_it():
    assert answer_text(CASES[1], GENERATES) == "1 + 1 = 2\n#### 2"
    assert answer_text(CASES[1], GENERATES.model_copy(update={"stop": ["\n"]})) == "1 + 1 = 2 #### 2"


def test_an_answer_that_could_never_be_written_whole_is_refused():
    with pytest.raises(TunediffError, match=f"case {CASES[1].case_id}: answer: found '####' in it, which ends"):
        answer_text(CASES[1], GENERATES.model_copy(update={"stop": ["####"]}))


def test_only_the_answer_and_its_end_are_learned(tmp_path):
    from tests.tiny import load, small_tokenizer, write_model
    from tunediff.inputs.tokens import encode_text
    from tunediff.training.targets import training_rows

    tokenizer = small_tokenizer()
    loaded = load(tmp_path / "base", write_model(tmp_path / "model", "llama", tokenizer), ["answer"])
    rows = training_rows(loaded, CASES, ["answer"], GENERATES, "lm")
    for (tokens, targets), case in zip(rows, CASES, strict=True):
        answer = encode_text(tokenizer, case.answers[0].text)
        assert tokens[-targets:] == [*answer, tokenizer.eos_token_id]


# Grading


def test_what_cannot_be_taken_out_is_invalid_and_stays_in_the_denominator():
    frame = SUMS.grade(CASES, raw(written(3), again_text=written(2)), ASK)
    assert frame["prediction"].tolist() == ["1", "2", "3", "99", None, None, None, None]
    assert frame["outcome"].tolist() == ["right"] * 3 + ["wrong"] + ["invalid"] * 4
    assert frame["again_prediction"].tolist() == ["1", "2", "99", None, None, None, None, None]
    metrics = SUMS.metrics(frame, None)
    assert (metrics["n"], metrics["accuracy"], metrics["invalid"]) == (8, 3 / 8, 4)
    assert metrics["accuracy_low"] < 3 / 8 < metrics["accuracy_high"]
    # The score of the whole text counts as well where no number could be taken.
    assert metrics["score_whole"] == 3 / 8
    assert frame["score_chrf"].iloc[0] == pytest.approx(1)
    assert metrics["bleu_reference_length"] > 0
    summary = SUMS.summary("base", frame, metrics)
    assert summary.startswith("base: 3 of 8 right = numeric match 37.5% (")
    assert "invalid 4" in summary


def test_the_first_grade_may_be_a_score_with_a_threshold():
    scored = task({"by": "token_f1", "threshold": 0.5})
    frame = scored.grade(CASES[:2], raw(["#### 1", "nothing"]), ASK)
    assert frame["score_token_f1"].tolist() == [pytest.approx(4 / 5 * 0.5, abs=0.3), 0]
    assert frame["outcome"].tolist() == ["right" if frame["score_token_f1"].iloc[0] >= 0.5 else "wrong", "wrong"]
    assert scored.words.measure == "share with token F1 of at least 0.5"


def test_cases_without_a_reference_can_be_asked_about():
    unknown = make_cases([({"question": "What is 1 + 1?"}, "", ())])
    answers = raw([" so\n#### 2"]).assign(case_id=[unknown[0].case_id])
    assert SUMS.grade(unknown, answers, ASK)["prediction"].tolist() == ["2"]


def test_every_metric_stands_in_the_schema():
    found = SUMS.metrics(SUMS.grade(CASES, raw(written(3)), ASK), None)
    assert {name for name in found if not name.startswith("score_")} <= set(names(FREE_TEXT))


# Traits


def test_repetition_counts_runs_of_four_words_that_stood_there_before():
    assert repetition(["a", "b", "c", "d", "e", "f", "g"]) == 0
    assert repetition(["a", "b", "c", "d", "a", "b", "c", "d"]) == pytest.approx(1 / 5)
    assert repetition(["the"] * 8) == pytest.approx(4 / 5)
    assert repetition(["one", "two"]) == 0


@pytest.mark.parametrize(
    ("text", "expected", "other"),
    [
        ("Да, конечно", ["Yes"], True),
        ("Oui", ["Yes"], False),
        ("42", ["Yes"], False),
        ("Да", ["7"], False),
        ("Да", ["Yes", "Нет"], False),
        ("это the word", ["Yes"], False),
        ("это the слово", ["Yes"], True),
    ],
)
def test_a_script_is_another_one_where_neither_references_nor_inputs_have_it(text, expected, other):
    assert in_other_script(text, expected) is other


def test_traits_are_of_the_text_as_it_was_written():
    found = traits(["", " \n", "one two three", "東京"], ["stop", "length", "stop", "length"], [["a"]] * 4)
    assert found["trait_words"] == [0, 0, 3, 2]
    assert found["trait_empty"] == [1, 1, 0, 0]
    assert found["trait_cut"] == [0, 1, 0, 1]
    assert found["trait_other_script"] == [0, 0, 0, 1]


# Comparing


def frames(tmp_path):
    for name, right in (("base", 2), ("tuned", 6)):
        frame = SUMS.grade(CASES, raw(written(right)), ASK)
        write_predictions(tmp_path / f"{name}.parquet", frame, {"labels": ["answer"], "model": name})
    return [read_predictions(tmp_path / f"{name}.parquet")[0] for name in ("base", "tuned")]


def test_scores_and_traits_have_paired_intervals_and_baselines_are_graded_alike(tmp_path):
    base, tuned = frames(tmp_path)
    comparison = compare_run(base, tuned, CASES[:4], CASES, Leaks([], [], [], {}), SUMS, Diff(slice_min_cases=2))
    found = gather(comparison)
    assert (found.metrics["accuracy_base"], found.metrics["accuracy_tuned"]) == (2 / 8, 6 / 8)
    for key in ("score_whole", "score_chrf", "score_bleu", "trait_words", "trait_empty", "trait_other_script"):
        low, delta, high = (found.metrics[f"{key}_delta{end}"] for end in ("_low", "", "_high"))
        assert low <= delta <= high
        assert delta == pytest.approx(found.metrics[f"{key}_tuned"] - found.metrics[f"{key}_base"])
    accuracies = found.figures["baselines"]
    assert accuracies["constant_accuracy"] == 1 / 8
    # The nearest of four training cases is the test case itself.
    assert accuracies["nearest_accuracy"] >= 4 / 8
    records = list(found.records)
    assert [record["base_prediction"] for record in records[:4]] == ["1", "2", "99", None]
    [repaired] = [record for record in records if record["question"] == "What is 4 + 1?"]
    assert repaired["explanation"].startswith("The base model's answer could not be parsed, the tuned model's could")
    assert repaired["evidence"]["base_text"] == " I do not know"
    assert all(SUMS.checked_record(record, "cases.jsonl, row 1") for record in records)


def test_two_prediction_files_alone_give_the_same_figures(tmp_path):
    base, tuned = frames(tmp_path)
    run = gather(compare_run(base, tuned, CASES, CASES, Leaks([], [], [], {}), SUMS, Diff()))
    paths = [tmp_path / f"{name}.parquet" for name in ("base", "tuned")]
    found = gather(compare_files(*(foreign(path, Fields()) for path in paths)))
    assert list(found.tables["differences"]["metric"])[1:] == ["whole", "chrF", "BLEU of a case"]
    for key in ("accuracy_base", "score_chrf_tuned", "trait_words_delta", "trait_repetition_base"):
        assert found.metrics[key] == pytest.approx(run.metrics[key])


def test_files_that_were_graded_differently_are_not_compared(tmp_path):
    frames(tmp_path)
    other = task("exact").grade(CASES, raw(written(6)), ASK)
    write_predictions(tmp_path / "tuned.parquet", other, {"labels": ["answer"]})
    paths = [tmp_path / f"{name}.parquet" for name in ("base", "tuned")]
    with pytest.raises(TunediffError, match=r"found files of two kinds, .* and columns answers, score_whole"):
        compare_files(*(foreign(path, Fields()) for path in paths))


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, np.inf])
def test_a_score_outside_of_its_range_is_refused_by_row(value, tmp_path):
    frames(tmp_path)
    frame = SUMS.grade(CASES, raw(written(6)), ASK)
    frame.loc[2, "score_chrf"] = value
    write_predictions(tmp_path / "tuned.parquet", frame, {"labels": ["answer"]})
    with pytest.raises(TunediffError, match=r"row 3: score_chrf: found .*, expected a number in 0\.\.1"):
        list(foreign(tmp_path / "tuned.parquet", Fields()))


def test_predictions_that_were_graded_against_other_references_are_refused(tmp_path):
    base, tuned = frames(tmp_path)
    changed = [CASES[0].__class__(**{**CASES[0].__dict__, "answers": (Answer("#### 5", None),)}), *CASES[1:]]
    with pytest.raises(TunediffError, match="answers: found different values for 1 of 8 cases"):
        compare_run(base, tuned, CASES, changed, Leaks([], [], [], {}), SUMS, Diff())


# params.yaml


def lines(folder, grade, **sections):
    params = yaml.safe_load((ROOT / "recipes/sums.yaml").read_text(encoding="utf-8"))
    params["task"]["grade"] = grade
    for name, values in sections.items():
        params[name] |= values
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    try:
        read_experiment(folder / "params.yaml")
    except TunediffError as error:
        return str(error)
    return ""


def test_one_grade_is_a_list_of_one_and_a_name_a_grade(tmp_path):
    for grade in ("exact", ["exact"], {"by": "exact"}, "own/style.py:grade", "evaluate:exact_match"):
        assert "task.grade.0.by" not in lines(tmp_path, grade)
    assert lines(tmp_path, ["exact", "rougeL"]) == ""


@pytest.mark.parametrize(
    ("grade", "expected"),
    [
        ([], "task.grade: missing, expected a grading method"),
        ("exakt", r"task.grade.0.by: found 'exakt', expected exact, .* \(did you mean exact\?\)"),
        ("../own.py:grade", "task.grade.0.by: found '../own.py:grade'"),
        ("rougeL", "task.grade.0.threshold: missing, expected the lowest rougeL of a right answer"),
        ({"by": "exact", "threshold": 0.5}, "task.grade.0.threshold: given, but task.grade.0.by is exact"),
        (
            ["exact", {"by": "chrf", "threshold": 0.5}],
            "task.grade.1.threshold: given, but only the first grade has one",
        ),
        ({"by": "exact", "tolerance": 1}, "task.grade.0.tolerance: given, but task.grade.0.by is exact"),
        ({"by": "exact", "pattern": "("}, "task.grade.0.pattern: found '\\(', expected a regular expression"),
        ({"by": "json", "json_schema": {"type": "strin"}}, "task.grade.0.json_schema: expected a JSON Schema"),
        (["exact", "exact"], "task.grade: found 2 grades named exact"),
        ({"by": "exact", "pater": "x"}, r"task.grade.0.pater: is not a known key \(did you mean pattern\?\)"),
    ],
)
def test_a_grade_at_fault_is_named_by_its_place(grade, expected, tmp_path):
    assert re.search(expected, lines(tmp_path, grade))


def test_other_tasks_have_no_grades_and_free_text_no_choices(tmp_path):
    assert "prompt.choices: given" in lines(tmp_path, "exact", prompt={"choices": {"answer": "x"}})
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["task"]["grade"] = "exact"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    with pytest.raises(TunediffError, match=r"task\.grade: given, but task\.name is nli"):
        read_experiment(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["score_x", "trait_words", "base_score_x", "tuned_trait_words"])
def test_an_input_is_not_called_as_a_number_of_the_answers_is(name, tmp_path):
    params = {"inputs": [name], "source_input": name, "partial_input": name}
    assert f"task.inputs: found '{name}'" in lines(tmp_path, "exact", task=params)
