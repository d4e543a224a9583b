import pytest

from tests.compare.pairs.formats.reading import read, told
from tests.foreign_logs import match, record, sampled
from tunediff.runtime.errors import TunediffError


def test_the_outcome_is_that_of_the_match(tmp_path):
    events = record(sampled(0), match(0, True), sampled(1, "B."), match(1, False, None, ["A", "C"]))
    found = read(tmp_path, "out.jsonl", events)
    assert told(found, "case_id", "label", "prediction", "outcome") == [
        ["x.dev.0", "A", "A", "right"],
        ["x.dev.1", "A, C", "B.", "wrong"],
    ]
    assert found.origin == "a record of OpenAI's evals, metric correct"


def test_a_sample_without_a_match_is_invalid_and_counted(tmp_path):
    error = (1, "error", {"type": "RateLimitError", "message": "429"})
    found = read(tmp_path, "out.jsonl", record(match(0, True), sampled(1), error, sampled(2)))
    assert found.frame["outcome"].tolist() == ["right", "invalid", "invalid"]
    ((code, sentence),) = found.checks
    assert code == "TD405"
    assert "(error RateLimitError 1, no score 1)" in sentence


def test_an_eval_that_a_model_grades_has_metrics_instead(tmp_path):
    graded = [(n, "metrics", {"choice": "A", "score": score}) for n, score in enumerate((1.0, 0.2, None))]
    with pytest.raises(TunediffError, match=r"score: found 0.2, expected 0 or 1"):
        read(tmp_path, "out.jsonl", record(*graded))
    found = read(tmp_path, "out.jsonl", record(*graded), threshold=0.5)
    assert found.frame["outcome"].tolist() == ["right", "wrong", "invalid"]
    with pytest.raises(TunediffError, match=r"metric: found score, expected .* instead of correct"):
        read(tmp_path, "out.jsonl", record(*graded), metric="correct")


def test_several_matches_of_a_sample_are_repeats(tmp_path):
    found = read(tmp_path, "out.jsonl", record(match(0, True), match(0, False), match(1, True), match(1, True)))
    assert found.frame["case_id"].tolist() == ["x.dev.0 #1", "x.dev.0 #2", "x.dev.1 #1", "x.dev.1 #2"]
    assert [code for code, _ in found.checks] == ["TD404", "TD402"]


def test_a_record_without_any_outcome_is_refused(tmp_path):
    with pytest.raises(TunediffError, match="metric: found none"):
        read(tmp_path, "out.jsonl", record(sampled(0)))
