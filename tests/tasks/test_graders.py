import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunediff.config.grade import Grade
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.graders import Gold, Grader, leaves, number_in, number_of


def graded(answer, *references, **keys):
    """The score of a text, None where it is invalid."""
    grader = Grader(Grade(**keys))
    [gold] = grader.golds([Gold("c1", {"question": "q"}, references)])
    taken = grader.taken(answer)
    return None if taken is None else grader.score(gold, taken)


@pytest.mark.parametrize(
    ("answer", "reference", "ignore", "right"),
    [
        ("Paris", "Paris", [], 1),
        (" Paris\n", "Paris", [], 1),
        ("paris", "Paris", [], 0),
        ("paris", "Paris", ["case"], 1),
        ("Paris.", "Paris", ["punctuation"], 1),
        ("the cat", "a cat", ["articles"], 1),
        ("Orléans", "Orleans", ["accents"], 1),
        ("a\n  b", "a b", [], 0),
        ("a\n  b", "a b", ["space"], 1),
    ],
)
def test_exact_match_ignores_what_it_is_told_to_ignore_and_blanks_around(answer, reference, ignore, right):
    assert graded(answer, reference, by="exact", ignore=ignore) == right


def test_any_of_several_references_makes_an_answer_right():
    assert graded("two", "2", "two", by="exact") == 1
    assert graded("It is in Rome, I think.", "Paris", "Rome", by="contains") == 1
    assert graded("It is in Milan.", "Paris", "Rome", by="contains") == 0


def test_a_pattern_takes_the_answer_out_of_the_text_and_out_of_the_references():
    keys = {"by": "number", "pattern": r"#### (.*)"}
    assert graded("3 + 4 = 7\n#### 7", "first\n#### 7.0", **keys) == 1
    assert graded("3 + 4 = 7\n#### 8", "first\n#### 7", **keys) == 0
    assert graded("the answer is 7", "first\n#### 7", **keys) is None
    # References may be the answers already.
    assert graded("so\n#### 1,250", "1250", **keys) == 1
    # The first of two answers: what a model writes behind its answer is not part of it.
    assert graded("#### 7\nNext question ... #### 9", "7", **keys) == 1


def test_a_pattern_that_fits_some_references_only_is_refused():
    grader = Grader(Grade(by="exact", pattern="#### (.*)"))
    golds = [Gold("c1", {}, ("#### 7",)), Gold("c2", {}, ("eight",))]
    with pytest.raises(TunediffError, match="found an answer in 1 of 2 references and none in that of case c2"):
        grader.golds(golds)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("42", "42"), ("$1,250.50", "1250.50"), ("42.", "42"), ("-3", "-3"), ("\u22123", "-3"), ("1e3", "1E+3")),
        *((".5", "0.5"), ("-$5", "-5"), ("-$1,250.50", "-1250.50"), ("\u2212€5", "-5")),
        *(("1.234,5", None), ("about 3", None), ("", None), ("12,34", None), ("nan", None), ("inf", None)),
    ],
)
def test_a_number_is_read_as_people_write_it_and_nothing_else_is_one(text, number):
    found = number_of(text)
    assert (None if found is None else str(found)) == number


def test_without_a_pattern_the_last_number_counts():
    assert number_in("in 3-4 days") == "4"
    assert number_in("from 3 to -4") == "-4"
    assert number_in("The total is 1,000, as computed.") == "1,000"
    assert number_in("a chance of .5, or so") == ".5"
    assert number_in("The result is -$5") == "-$5"
    assert number_in("no number") is None
    assert graded("6 x 7 = 42", "42", by="number") == 1
    assert graded("I do not know", "42", by="number") is None


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_numbers_are_equal_where_their_digits_are(one, other):
    assert graded(str(one), str(other), by="number") == (one == other)


@pytest.mark.parametrize(
    ("keys", "right"),
    [({}, 0), ({"tolerance": 0.3}, 1), ({"tolerance": 0.29}, 0), ({"relative_tolerance": 0.1}, 1)],
)
def test_a_tolerance_is_met_to_the_digit(keys, right):
    assert graded("10.3", "10.0", by="number", **keys) == right


def test_a_reference_that_is_no_number_is_refused():
    with pytest.raises(TunediffError, match="case c1: reference: found 'ten', expected a number"):
        graded("10", "ten", by="number", pattern=r"#### (.*)|\d+")


SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def test_json_is_invalid_where_it_cannot_be_read_and_right_where_its_schema_is_met():
    assert graded('{"n": 1}', "{}", by="json") == 1
    assert graded('{"n": 1', "{}", by="json") is None
    assert graded('{"n": NaN}', "{}", by="json") is None
    assert graded("[" * 5000 + "]" * 5000, "{}", by="json") is None
    assert graded('{"n": 1}', "{}", by="json", json_schema=SCHEMA) == 1
    assert graded('{"n": "1"}', "{}", by="json", json_schema=SCHEMA) == 0
    assert graded('Here: ```{"n": 1}```', "{}", by="json", pattern="(?s)```(.*?)```") == 1


def test_a_schema_never_asks_another_machine():
    schema = {"$ref": "http://example.com/schema.json"}
    with pytest.raises(TunediffError, match=re.escape("found the $ref 'http://example.com/schema.json'")):
        graded("{}", "{}", by="json", json_schema=schema)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ('{"name": "Ann", "at": {"town": "Ulm"}, "n": 2}', 1),
        ('{"n": 2.0, "at": {"town": "Ulm"}, "name": "Ann"}', 1),
        ('{"name": "Ann", "at": {"town": "Bonn"}, "n": 2}', 2 / 3),
        ('{"name": "Ann", "at": {"town": "Ulm"}, "n": 2, "more": 1}', 3 / 4),
        ('{"name": "Ann", "at": {"town": "Ulm"}, "n": true}', 2 / 3),
        ("[]", 0),
    ],
)
def test_json_is_compared_field_by_field(answer, share):
    reference = '{"name": "Ann", "at": {"town": "Ulm"}, "n": 2}'
    assert graded(answer, reference, by="json_fields") == pytest.approx(share)


def test_only_named_fields_count_where_fields_are_named():
    reference = '{"name": "Ann", "at": {"town": "Ulm", "zip": 1}}'
    assert graded('{"name": "Bob", "at": {"town": "Ulm", "zip": 1}}', reference, by="json_fields", fields=["at"]) == 1
    assert graded('{"name": "Ann"}', reference, by="json_fields", fields=["name", "at.zip"]) == 0.5


def test_true_is_not_one():
    assert leaves({"a": [1, {"b": None}]}) == {"a.0": 1, "a.1.b": None}
    assert graded("[1]", "[true]", by="json_fields") == 0


@pytest.mark.parametrize("by", ["token_f1", "bleu", "chrf", "rouge1", "rouge2", "rougeL", "rougeLsum", "meteor"])
def test_a_metric_of_texts_is_highest_for_the_reference_itself_and_lowest_for_other_words(by):
    reference = "The cat sat on the old mat."
    same, near, far = (graded(text, reference, by=by) for text in (reference, "The cat sat on a mat.", "zq xw vk jj"))
    assert 0.99 <= same <= 1
    assert 0 <= far < near < same


def test_metrics_of_texts_are_those_of_their_libraries():
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    reference, answer = "The cat sat on the old mat.", "A cat sat on the mat."
    expected = sacrebleu.sentence_chrf(answer, [reference]).score / 100
    assert graded(answer, reference, by="chrf") == pytest.approx(expected)
    assert graded(answer, reference, by="bleu") == pytest.approx(
        sacrebleu.sentence_bleu(answer, [reference]).score / 100
    )
    expected = RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure
    assert graded(answer, reference, by="rougeL") == pytest.approx(expected)


MODULE = """
import datasets
import evaluate

class {name}(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({{"predictions": text, "references": datasets.Sequence(text)}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        scores = [100.0 * (one in gold) for one, gold in zip(predictions, references)]
        return {{"found": {result}, "n": float(len(scores))}}
"""


@pytest.mark.parametrize("result", ["scores", "sum(scores) / len(scores)"], ids=["a list", "a mean"])
def test_a_module_of_evaluate_grades_case_by_case(result, tmp_path):
    (tmp_path / "found").mkdir()
    (tmp_path / "found/found.py").write_text(MODULE.format(name="Found", result=result), encoding="utf-8")
    grader = Grader(Grade(by=f"evaluate:{tmp_path}/found:found", scale=100, name="found"))
    golds = [Gold(str(n), {}, ("a", "b")) for n in range(3)]
    assert grader.scores(golds, ["a", "c", None]) == [1, 0, 0]
    with pytest.raises(TunediffError, match=r"expected a number in 0\.\.1"):
        Grader(Grade(by=f"evaluate:{tmp_path}/found:found")).scores(golds, ["a", "c", "b"])


def own(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("graders").mkdir()
    Path("graders/own.py").write_text(text, encoding="utf-8")
    return Grader(Grade(by="own.py:grade"))


def test_a_function_of_ones_own_says_right_or_how_good(tmp_path, monkeypatch):
    text = "def grade(answer, references, inputs):\n    return answer in references and len(inputs['q']) == 1\n"
    grader = own(tmp_path, monkeypatch, text)
    golds = [Gold("a", {"q": "x"}, ("yes",)), Gold("b", {"q": "xy"}, ("yes",))]
    assert grader.scores(golds, ["yes", "yes"]) == [1, 0]
    assert (grader.name, grader.file) == ("grade", Path("graders/own.py"))
    Path("graders/own.py").write_text("def grade(answer, references, inputs):\n    return 0.25\n", encoding="utf-8")
    assert Grader(Grade(by="own.py:grade")).scores(golds, ["yes", "no"]) == [0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "def grade(a, r, i):\n    return 1 / 0\n",
            "graders/own.py:grade: case a: ZeroDivisionError: 'division by zero'",
        ),
        ("def grade(a, r, i):\n    return 7\n", r"case a: found 7, expected a number in 0\.\.1"),
        ("def grade(a, r, i):\n    return None\n", r"case a: found None, expected a number in 0\.\.1"),
        ("def other():\n    pass\n", "graders/own.py: has no function grade, which task.grade refers to"),
        ("import nothing_of_that_name\n", "graders/own.py: cannot be run: ModuleNotFoundError"),
        ("def grade(:\n", "graders/own.py: cannot be run: SyntaxError"),
    ],
)
def test_a_function_that_fails_is_named_in_one_line(text, expected, tmp_path, monkeypatch):
    grader = own(tmp_path, monkeypatch, text)
    with pytest.raises(TunediffError, match=expected) as raised:
        grader.scores([Gold("a", {}, ("yes",))], ["yes"])
    assert "\n" not in str(raised.value)


def test_a_function_of_ones_own_does_not_run_where_it_is_not_asked_for(tmp_path, monkeypatch):
    own(tmp_path, monkeypatch, "raise RuntimeError('ran')\n")
    assert Grader(Grade(by="exact")).scores([Gold("a", {}, ("yes",))], ["yes"]) == [1]
