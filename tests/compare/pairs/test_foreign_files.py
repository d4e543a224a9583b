"""Every file that another tool wrote is read rightly, or refused in a line: a test per file."""

import pytest

from tests.shared_data import file_of_another_tool
from tunediff.compare.comparison import compare_files
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError

SAMPLES = "samples of lm-evaluation-harness"


@pytest.mark.parametrize(
    ("name", "options", "outcomes", "origin"),
    [
        ("a1_before.jsonl", {"metric": "acc_bytes"}, {"right": 32, "wrong": 28}, SAMPLES),
        ("a1_after.jsonl", {"metric": "acc_bytes"}, {"right": 29, "wrong": 31}, SAMPLES),
        ("mutual_info_before.jsonl", {"metric": "acc_mutual_info"}, {"right": 1}, SAMPLES),
        ("mutual_info_after.jsonl", {"metric": "acc_mutual_info"}, {"wrong": 1}, SAMPLES),
        ("c_b.jsonl", {}, {"right": 3, "wrong": 3}, f"{SAMPLES}, metric mcc, filter none"),
        ("s_b.jsonl", {}, {"wrong": 4}, f"{SAMPLES}, metric exact (of exact, f1), filter none"),
        ("rep.jsonl", {}, {"right": 3}, SAMPLES),
        ("g2_a.jsonl", {"filter_name": "1"}, {"right": 3, "invalid": 1}, f"{SAMPLES}, metric exact_match, filter 1"),
        ("g2_b.jsonl", {"filter_name": "1"}, {"right": 1, "wrong": 1, "invalid": 2}, SAMPLES),
        ("g3_a.jsonl", {}, {"right": 3, "invalid": 1}, SAMPLES),
        ("g3_b.jsonl", {}, {"right": 1, "wrong": 1, "invalid": 2}, SAMPLES),
        ("nan_loglik.jsonl", {}, {"invalid": 1}, SAMPLES),
        ("inspect.json", {}, {"right": 3}, "a log of inspect_ai, metric choice"),
        ("lighteval.parquet", {}, {"right": 1, "wrong": 1}, "details of lighteval, metric acc"),
        ("lighteval2.parquet", {}, {"right": 1, "wrong": 1}, "details of lighteval, metric acc"),
        ("promptfoo.json", {}, {"right": 1}, "results of promptfoo"),
        ("oai.jsonl", {}, {"right": 1}, "a record of OpenAI's evals, metric correct"),
        ("per_instance_stats.json", {}, {"right": 1}, "instances of HELM, metric exact_match"),
        ("bigmix_a.jsonl", {}, {"right": 2}, "a table"),
        ("bigmix_b.jsonl", {}, {"right": 1, "wrong": 1}, "a table"),
        ("float_min_before.csv", {}, {"right": 2, "invalid": 1}, "a table"),
        ("float_min_after.csv", {}, {"right": 3}, "a table"),
        ("pandas_float_before.csv", {}, {"right": 50, "wrong": 49, "invalid": 1}, "a table"),
        ("pandas_float_after.csv", {}, {"right": 100}, "a table"),
        ("pandas_float_after2.csv", {}, {"right": 99, "invalid": 1}, "a table"),
        ("hdrsp.csv", {}, {"right": 2, "wrong": 1}, "a table"),
        ("pr_2_a.jsonl", {}, {"right": 213, "wrong": 87}, "a table"),
        ("pr_2_b.jsonl", {}, {"right": 214, "wrong": 86}, "a table"),
    ],
)
def test_the_outcomes_are_those_of_the_file(name, options, outcomes, origin):
    fields = Fields(scores="scores" if name.startswith("pr_") else None)
    (found,) = read_predictions(file_of_another_tool(name), fields, **options)
    assert found.frame["outcome"].value_counts().to_dict() == outcomes
    assert found.origin.startswith(origin)
    assert [code for code, _ in found.checks] == (["TD403"] if name == "nan_loglik.jsonl" else [])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lbl_empty.csv", "row 2: label: found nothing"),
        ("g2_a.jsonl", "filter: found 1, 2, which have no names"),
        ("hf_list.json", "looks like a file of SQuAD predictions; expected its data set as --data"),
        ("zh_a.json", "looks like a file of SQuAD predictions"),
        ("zh_b.json", "looks like a file of SQuAD predictions"),
        ("zh.json", "found an object with 'version, data', expected"),
    ],
)
def test_what_cannot_be_right_is_refused(name, message):
    with pytest.raises(TunediffError, match=message):
        list(read_predictions(file_of_another_tool(name), Fields()))


def test_a_question_id_that_stands_twice_is_refused():
    data, answers = (file_of_another_tool(name) for name in ("dup.json", "dup_p.json"))
    with pytest.raises(TunediffError, match=r"dup.json: id: found 1 more than once \(1\)"):
        list(read_predictions(answers, Fields(), data))


def test_answers_in_japanese_that_are_all_right_have_full_marks():
    data, *paths = (file_of_another_tool(name) for name in ("zh.json", "zh_a.json", "zh_b.json"))
    found = gather(compare_files(*(read_predictions(path, Fields(), data) for path in paths)))
    rows = found.tables["differences"].set_index("metric")
    assert rows.loc[["exact match", "F1", "BLEU", "ROUGE-1", "ROUGE-L"], "base"].tolist() == pytest.approx([1.0] * 5)
    assert rows.loc[["exact match", "F1", "ROUGE-1", "ROUGE-L"], "tuned"].tolist() == pytest.approx([0.5] * 4)


def test_answers_that_are_no_labels_are_an_alarm_that_names_both():
    paths = [file_of_another_tool(name) for name in ("i_a.csv", "i_b.csv")]
    found = gather(compare_files(*(read_predictions(path, Fields()) for path in paths)))
    sentences = [check.sentence for check in found.checks if check.code == "TD401"]
    assert len(sentences) == 2
    assert "Labels: '0', '1'; answers: 'LABEL_0', 'LABEL_1'" in sentences[0]
