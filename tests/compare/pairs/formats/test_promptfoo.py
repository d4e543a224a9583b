import pytest

from tests.compare.pairs.formats.reading import read, told
from tests.foreign_logs import result, results
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError


def test_the_outcome_is_success_and_there_is_no_label(tmp_path):
    rows = [result(0, "Say v0", True), result(1, "v1", False)]
    for name, content in (("out.json", results(*rows)), ("out.jsonl", rows)):
        found = read(tmp_path, name, content)
        assert told(found, "case_id", "label", "prediction", "outcome", "prompt") == [
            ["0", None, "Say v0", "right", "Say v0"],
            ["1", None, "v1", "wrong", "Say v1"],
        ]
        assert found.labels == ()
        assert found.origin == "results of promptfoo, provider base, metric success (of success, score)"


def test_an_error_is_no_wrong_answer(tmp_path):
    rows = [result(0, "Say v0", True), result(1, None, False, failureReason=2, response=None, error="401")]
    found = read(tmp_path, "out.json", results(*rows))
    assert found.frame["outcome"].tolist() == ["right", "invalid"]
    assert [code for code, _ in found.checks] == ["TD405"]


def test_one_of_several_models_must_be_named(tmp_path):
    both = results(result(0, "a", True), result(0, "b", False, "tuned"))
    with pytest.raises(TunediffError, match=r"provider: found 'base, tuned', expected one of them as --filter"):
        read(tmp_path, "out.json", both)
    assert told(read(tmp_path, "out.json", both, filter_name="tuned"), "prediction") == [["b"]]


def test_prompts_and_repeats_of_one_set_of_variables_stand_together(tmp_path):
    names = ["same", "same", None]
    rows = [result(test, "a", True, prompt=prompt, variable=names[test]) for test in range(3) for prompt in (0, 1)]
    found = read(tmp_path, "out.json", results(*rows))
    assert found.frame["case_id"].tolist()[:3] == ["0, prompt 1", "0, prompt 2", "1, prompt 1"]
    assert found.frame["cluster"].nunique() == 2
    ((code, sentence),) = found.checks
    assert code == "TD404"
    assert "6 results" in sentence
    assert "2 sets of variables" in sentence
    assert told(read(tmp_path, "out.json", results(rows[0]), Fields(cluster="x")), "cluster") == [["same"]]


def test_a_score_takes_a_threshold(tmp_path):
    rows = results(result(0, "a", True, score=0.725), result(1, "b", True, namedScores={"tone": 1}))
    with pytest.raises(TunediffError, match=r"row 1: score: found 0.725, expected 0 or 1"):
        read(tmp_path, "out.json", rows, metric="score")
    assert read(tmp_path, "out.json", rows, metric="score", threshold=0.8).frame["outcome"].tolist() == [
        "wrong",
        "right",
    ]
    assert read(tmp_path, "out.json", rows, metric="tone").frame["outcome"].tolist() == ["invalid", "right"]


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(TunediffError, match="row 2: found 3, expected a result of promptfoo"):
        read(tmp_path, "out.json", results(result(0, "a", True), 3))
    with pytest.raises(TunediffError, match="has no row"):
        read(tmp_path, "out.jsonl", [])
