import json

import pytest

from tests.official_squad import official_best
from tests.program import tunediff
from tests.shared_data import shared_data
from tunediff.metrics.squad import exact_match, token_f1


def question(name, *answers):
    return {"id": name, "question": "?", "answers": [{"text": text, "answer_start": 0} for text in answers]}


DATA = {
    "version": "v2.0",
    "data": [
        {
            "title": "A",
            "paragraphs": [
                {"context": "Paris is red.", "qas": [question("q1", "Paris", "red Paris"), question("q2")]},
                {"context": "Rome is green.", "qas": [question("q3", "green"), question("q4"), question("q5", "Rome")]},
            ],
        }
    ],
}
PREDICTIONS = {"q1": "paris", "q2": "", "q3": "is green", "q4": "Rome", "q5": "Oslo", "q9": "of no question"}
NO_ANSWER = {"q4": 0.5, "q1": 0.5, "q2": 0.9, "q5": 0.1, "q3": 0.2, "q9": 0.0}


@pytest.fixture
def folder(tmp_path):
    files = {"dev": DATA, "predictions": PREDICTIONS, "na": NO_ANSWER, "odds": NO_ANSWER | {"q4": 7.5, "q1": 3.0}}
    for name, value in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


SCORE = ("score", "--task", "squad_v2", "--data", "dev.json", "--predictions", "predictions.json")


def scores(folder, *more):
    code, out, error = tunediff(folder, *SCORE, "--json", *more)
    assert (code, error) == (0, "")
    return json.loads(out)


def test_the_json_is_the_dictionary_of_the_official_script(folder):
    assert scores(folder) == pytest.approx(
        {
            "exact": 40,
            "f1": 100 * (1 + 1 + 2 / 3) / 5,
            "total": 5,
            "HasAns_exact": 100 / 3,
            "HasAns_f1": 100 * (1 + 2 / 3) / 3,
            "HasAns_total": 3,
            "NoAns_exact": 50,
            "NoAns_f1": 50,
            "NoAns_total": 2,
        }
    )


def test_probabilities_add_the_best_scores_in_the_order_of_their_file(folder):
    found = scores(folder, "--na-probs", "na.json")
    ids = [name for name in NO_ANSWER if name != "q9"]
    texts = [PREDICTIONS[name] for name in ids]
    gold = {one["id"]: [a["text"] for a in one["answers"]] for p in DATA["data"][0]["paragraphs"] for one in p["qas"]}
    for key, of in (("exact", exact_match), ("f1", token_f1)):
        each = [of(gold[name], PREDICTIONS[name]) for name in ids]
        best = official_best(each, [bool(gold[name]) for name in ids], texts, [NO_ANSWER[name] for name in ids])
        assert (found[f"best_{key}"] / 100, found[f"best_{key}_thresh"]) == pytest.approx(best)
    assert scores(folder) == {key: value for key, value in found.items() if "best" not in key}


def test_differences_of_scores_drop_the_answers_above_one_as_in_the_script(folder):
    found = scores(folder, "--na-probs", "odds.json")
    # q4 is right without its answer, q1 is not.
    assert (found["NoAns_exact"], found["HasAns_exact"]) == (100, 0)


def test_the_table_has_the_same_figures(folder):
    code, out, _ = tunediff(folder, *SCORE, "--na-probs", "na.json")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["exact", "40.00", "%"] in lines
    assert ["HasAns_total", "3"] in lines
    assert ["best_f1_thresh", "0.2"] in lines


def test_version_1_has_a_dictionary_of_its_own(folder):
    kept = [p | {"qas": [one for one in p["qas"] if one["answers"]]} for p in DATA["data"][0]["paragraphs"]]
    (folder / "dev.json").write_text(json.dumps({"data": [{"title": "A", "paragraphs": kept}]}))
    code, out, _ = tunediff(folder, "score", "--task", "squad", *SCORE[3:], "--json")
    assert code == 0
    assert json.loads(out) == pytest.approx({"exact_match": 100 / 3, "f1": 100 * (1 + 2 / 3) / 3})


@pytest.mark.slow
def test_the_published_predictions_print_their_golden_scores(tmp_path):
    files = [shared_data(f"squad/{name}.json").resolve() for name in ("dev-v2.0", "predictions-v2.0-bert-single")]
    arguments = ("--data", files[0], "--predictions", files[1], "--json")
    code, out, _ = tunediff(tmp_path, "score", "--task", "squad_v2", *arguments)
    assert code == 0
    found = json.loads(out)
    assert (found["exact"], found["f1"]) == pytest.approx((78.74168280973637, 81.77528052374723), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "more", "message"),
    [
        ("predictions", {"q1": "paris"}, (), "found no answer to 4 of the 5 questions of dev.json (q2, q3, q4, ...)"),
        ("predictions", ["paris"], (), "predictions.json: found no object of texts"),
        ("na", {"q1": 0.5}, ("--na-probs", "na.json"), "na.json: found no probability for 4 of the 5 questions"),
        ("na", NO_ANSWER | {"q1": "0.5"}, ("--na-probs", "na.json"), "na.json: q1: found '0.5', expected a number"),
        ("na", [0.5], ("--na-probs", "na.json"), "na.json: found [0.5], expected {question id: probability}"),
        ("na", NO_ANSWER, ("--na-probs", "missing.json"), "missing.json: there is no such file"),
        ("na", NO_ANSWER, ("--task", "squad", "--na-probs", "na.json"), "with --task squad"),
        ("na", NO_ANSWER, ("--task", "squad"), "found 2 questions without an answer (q2), expected --task squad_v2"),
        ("dev", {"data": []}, (), "dev.json: has no question"),
        ("dev", {"questions": []}, (), "dev.json: data: found None, expected a list"),
    ],
)
def test_bad_input_ends_in_one_line(folder, name, content, more, message):
    (folder / f"{name}.json").write_text(json.dumps(content))
    code, out, error = tunediff(folder, *SCORE, *more)
    assert (code, out) == (1, "")
    assert message in error
    assert error.count("\n") == 1


def test_questions_of_version_1_without_an_answer_in_the_file_are_wrong_and_counted(folder):
    kept = [p | {"qas": [one for one in p["qas"] if one["answers"]]} for p in DATA["data"][0]["paragraphs"]]
    (folder / "dev.json").write_text(json.dumps({"data": [{"title": "A", "paragraphs": kept}]}))
    (folder / "predictions.json").write_text(json.dumps({"q1": "paris"}))
    code, out, error = tunediff(folder, "score", "--task", "squad", *SCORE[3:], "--json")
    assert code == 0
    assert json.loads(out) == pytest.approx({"exact_match": 100 / 3, "f1": 100 / 3})
    counted = "predictions.json: found no answer to 2 of the 3 questions of dev.json (q3, q5)"
    assert error == f"tunediff: {counted}, counted as wrong, as in the official script\n"


@pytest.mark.parametrize("task", ["squad", "squad_v2"])
def test_a_question_id_that_stands_twice_is_refused(folder, task):
    twice = [{"context": "c d", "qas": [question("1", "c"), question("1", "d")]}]
    (folder / "dev.json").write_text(json.dumps({"data": [{"title": "A", "paragraphs": twice}]}))
    (folder / "predictions.json").write_text(json.dumps({"1": "d"}))
    code, out, error = tunediff(folder, "score", "--task", task, *SCORE[3:])
    assert (code, out) == (1, "")
    assert error == "tunediff: dev.json: id: found 1 more than once (1), expected each once\n"
