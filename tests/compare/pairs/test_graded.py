import pytest

from tunediff.compare.comparison import compare_files
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.file_format import FileFormat, ReadOptions
from tunediff.compare.pairs.formats import FORMATS
from tunediff.compare.pairs.graded import Graded, chosen_metric, from_graded, text_or_none
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime.errors import TunediffError

ASKED = ReadOptions(Fields())


def answers(*scores, **changes):
    return [Graded(n, f"q{n}", score, **changes) for n, score in enumerate(scores, start=1)]


def compared(before, after):
    return gather(compare_files(*([from_graded(one, "f", ASKED, "a log", "match")] for one in (before, after))))


def test_files_without_labels_or_answers_are_compared_and_nothing_presumes_any():
    found = compared(answers(*[True] * 5, *[False] * 5), answers(*[True] * 8, False, False))
    metrics = found.metrics
    assert (metrics["both_right"], metrics["repaired"], metrics["both_wrong_same"]) == (5, 3, 2)
    assert metrics["both_wrong_changed"] == 0
    assert [check.code for check in found.checks] == ["TD107"]
    assert next(iter(found.records))["label"] is None


def test_where_nothing_has_a_score_no_check_speaks_of_labels():
    found = compared(answers(*[None] * 4, label="a"), answers(*[True] * 4, label="a", prediction="a"))
    assert (found.metrics["accuracy_base"], found.metrics["accuracy_tuned"]) == (0, 1)
    sentences = [check.sentence for check in found.checks if check.code in ("TD204", "TD405")]
    assert sentences[0].startswith("4 answers of the base model (100.0 %) are invalid and count as wrong.")
    assert sentences[1] == "4 of the 4 answers of f have no score (no score 4): invalid, so not right."


def test_repeats_widen_the_interval_to_that_of_the_cases():
    def repeated(outcomes, times):
        return [one._replace(repeat=n) for n in range(1, times + 1) for one in answers(*outcomes)]

    before, after = [True, False] * 20, [True] * 20 + [False, True] * 10
    once, often = (compared(repeated(before, times), repeated(after, times)).metrics for times in (1, 8))
    assert often["n"] == 8 * once["n"]
    assert often["accuracy_delta"] == once["accuracy_delta"]
    for end in ("low", "high"):
        assert often[f"accuracy_delta_{end}"] == pytest.approx(once[f"accuracy_delta_{end}"], abs=0.06)


def test_half_a_character_and_no_answer_at_all_are_refused():
    with pytest.raises(TunediffError, match=r"f, row 1: prediction: found '\\ud800', expected whole characters"):
        from_graded(answers(True, prediction="\ud800"), "f", ASKED, "a log", "match")
    with pytest.raises(TunediffError, match="f: found no answer"):
        from_graded([], "f", ASKED, "a log", "match")


def test_the_metric_is_the_first_or_the_one_that_is_named():
    assert chosen_metric(["a", "b", "a"], None, "f") == ("a", "metric a (of a, b)")
    assert chosen_metric(["a"], "a", "f") == ("a", "metric a")
    with pytest.raises(TunediffError, match="f: metric: found a, b, expected one of them as --metric instead of c"):
        chosen_metric(["a", "b"], "c", "f")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        (" a", " a"),
        (4.0, "4"),
        (True, "true"),
        (["a", 1], "a, 1"),
        ([], None),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_values_become_text(value, text):
    assert text_or_none(value) == text


def test_a_format_from_outside_is_a_name_in_the_list(tmp_path, monkeypatch):
    def read(rows, name, options):
        made = [Graded(number, row["task"], row["solved"], prediction=row["patch"]) for number, row in rows]
        return from_graded(made, name, options, "a made-up log", "solved")

    made_up = FileFormat("a made-up log", lambda row: {"task", "solved"} <= row.keys(), read)
    monkeypatch.setattr("tunediff.compare.pairs.prediction_files.FORMATS", (*FORMATS, made_up))
    (tmp_path / "log.jsonl").write_text('{"task": "t1", "solved": true, "patch": "x"}\n')
    (found,) = read_predictions(tmp_path / "log.jsonl", Fields())
    assert (found.origin, found.frame["outcome"].tolist()) == ("a made-up log", ["right"])
