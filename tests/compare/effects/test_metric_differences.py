import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.made_answers import QUESTIONS as TASK
from tests.made_answers import answers_of, golden_pair, made_questions
from tests.shared_data import shared_data
from tunediff.compare.comparison import Comparison, compare_files, compare_run
from tunediff.compare.effects.contamination import contamination, leaked
from tunediff.compare.effects.decomposition import gain_parts, kind_steps
from tunediff.compare.effects.metric_differences import metric_differences, score_metrics
from tunediff.compare.effects.noise import answered_again, noise_floor
from tunediff.compare.effects.transitions import TRANSITIONS, transitions
from tunediff.compare.effects.worth import worth
from tunediff.compare.evidence import gather
from tunediff.compare.pairs.align import align
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.config.diff import Diff
from tunediff.data.cases import Answer
from tunediff.data.leaks import find_leaks
from tunediff.metrics.squad import normalised
from tunediff.runtime.errors import TunediffError

TEST = made_questions(100, "test")


def aligned_pair(pair):
    return TASK.with_gold(align(*pair), TEST)


def answer_metrics(aligned, clusters=None):
    comparison = Comparison(aligned, TASK, 0.95, clusters)
    return score_metrics(comparison, metric_differences(comparison))


@pytest.mark.pipeline
def test_the_published_predictions_keep_their_golden_scores_in_the_diff(tmp_path):
    published, data = shared_data("squad/predictions-v2.0-bert-single.json"), shared_data("squad/dev-v2.0.json")
    answers = json.loads(published.read_text())
    # Every tenth answer goes on for too long; where there is none, there still is none.
    for key in list(answers)[::10]:
        answers[key] += " and more" if normalised(answers[key]) else ""
    (tmp_path / "long.json").write_text(json.dumps(answers))
    before, after = (read_predictions(path, Fields(), data) for path in (published, tmp_path / "long.json"))
    metrics = gather(compare_files(before, after)).metrics
    assert 100 * metrics["accuracy_base"] == pytest.approx(78.74168280973637, rel=1e-12)
    assert 100 * metrics["f1_base"] == pytest.approx(81.77528052374723, rel=1e-12)
    assert (metrics["has_answer_n"], metrics["no_answer_n"]) == (5928, 5945)
    assert 100 * metrics["has_answer_exact_base"] == pytest.approx(74.10593792172739, rel=1e-12)
    assert 100 * metrics["has_answer_f1_base"] == pytest.approx(80.18183293833508, rel=1e-12)
    assert 100 * metrics["no_answer_exact_base"] == pytest.approx(83.36417157275021, rel=1e-12)
    assert metrics["no_answer_f1_tuned"] == metrics["no_answer_f1_base"]
    assert metrics["broken"] > 100 > 0 == metrics["repaired"]
    assert metrics["f1_delta_high"] < 0
    assert metrics["f1_p"] < 0.001


def test_f1_is_compared_by_paragraph_and_the_parts_are_means_over_their_questions():
    aligned = aligned_pair(golden_pair(TEST))
    contexts = pd.Series([case.inputs["context"] for case in TEST])
    metrics = answer_metrics(aligned, clusters=contexts)
    assert metrics["f1_delta"] == pytest.approx((aligned["f1_tuned"] - aligned["f1_base"]).mean())
    has = aligned[aligned["label"] == "answerable"]
    assert metrics["has_answer_f1_base"] == pytest.approx(has["f1_base"].mean())
    share = metrics["has_answer_n"] / 100
    assert share * metrics["has_answer_f1_tuned"] + (1 - share) * metrics["no_answer_f1_tuned"] == pytest.approx(
        metrics["f1_tuned"]
    )
    # One paragraph says nothing about the next one.
    assert answer_metrics(aligned, clusters=pd.Series(["one"] * 100))["f1_delta_low"] == -1
    assert "has_answer_n" not in answer_metrics(has)


def test_a_model_that_only_learned_to_abstain_gains_on_questions_without_an_answer_alone():
    unanswerable = np.array([case.label == "unanswerable" for case in TEST])
    before = np.arange(100) % 2 == 0
    base, tuned = answers_of(TEST, before, 1), answers_of(TEST, before | unanswerable, 1)
    aligned = aligned_pair((base, tuned))
    parts = gain_parts(kind_steps(aligned, TASK.kinds), 0.95, None).set_index("part")
    assert parts["cases"].to_dict() == {"has_answer": 0, "no_answer": int((unanswerable & ~before).sum())}
    assert parts.loc["has_answer", "low"] < 0 < parts.loc["has_answer", "high"]
    assert parts.loc["no_answer", "low"] > 0


def test_an_answer_becomes_a_label_by_being_there():
    aligned = aligned_pair(golden_pair(TEST))
    aligned.loc[0, ["prediction_base", "outcome_base"]] = [None, "invalid"]
    labels = Comparison(aligned, TASK, 0.95).labelled
    assert labels["prediction_base"][0] is None
    given = aligned["prediction_tuned"] != ""
    assert (labels["prediction_tuned"] == np.where(given, "answerable", "unanswerable")).all()


def test_files_scored_against_other_answers_are_refused():
    base, tuned = golden_pair(TEST)
    tuned.at[0, "answers"] = ["another"]
    with pytest.raises(
        TunediffError, match="test split and tuned predictions: answers: found different values for 1 of"
    ):
        aligned_pair((base, tuned))


def test_a_baseline_is_right_as_a_model_is():
    gold = [[answer.text for answer in case.answers] for case in TEST]
    base, tuned = golden_pair(TEST)
    answers = TASK.baselines([], TEST, {"base": [None, *base["prediction"][1:]]})
    assert list(answers) == ["no_answer", "capitalised", "base"]
    table = worth(gold, tuned["prediction"].tolist(), answers, TASK.right, 0.95, None).set_index("baseline")
    assert table.loc["no_answer", "accuracy"] == 0.25
    assert table.loc["base", "accuracy"] == (base["outcome"][1:] == "right").sum() / 100
    assert "no_answer" not in replace(TASK, labels=["answerable"]).baselines(
        [], TEST, {"base": base["prediction"].tolist()}
    )


def test_a_question_is_leaked_where_training_has_its_paragraph_or_the_same_question():
    def case(question, context):
        return made_questions(1, "x")[0].__class__(
            question + context, {"question": question, "context": context}, "answerable", (), (Answer("x", None),)
        )

    train = [case("Who lived there?", "A long paragraph about the mill and the river."), case("When?", "Short.")]
    test = [
        case("Who built it, and for whom was it built?", "A long paragraph about the mill and the river."),
        case("When?", "Another one."),
        case("Why?", "A third one."),
    ]
    leaks = find_leaks(test, train, TASK)
    aligned = pd.DataFrame({"case_id": [one.case_id for one in test]})
    cells = pd.Series(pd.Categorical(["repaired", "repaired", "broken"], categories=TRANSITIONS))
    assert leaked(aligned, leaks, TASK).tolist() == [True, True, False]
    row = contamination(aligned, cells, leaks, TASK).set_index("transition").loc["repaired"]
    assert (row["same_context"], row["same_question"], row["clean"]) == (1, 1, 0)


def test_another_head_is_right_where_its_answer_matches_a_gold_one():
    base, tuned = golden_pair(TEST)
    # The gold answer in other letters is the same answer; the outcome of a run without a change has no flip.
    other = [text.upper() if text else text for text in base["prediction"]]
    aligned = aligned_pair((base.assign(seed_prediction=other), tuned))
    again = answered_again(aligned, "seed_prediction_base", TASK, TASK.gold(TEST))
    assert noise_floor(again, "x")["x_flips"] == 0
    assert noise_floor(again, "x")["x_changed"] > 0
    assert (transitions(again) != "broken").all()
    assert answered_again(aligned, "again_prediction_base", TASK, TASK.gold(TEST)) is None


def test_texts_that_are_not_those_that_f1_was_computed_from_raise_the_check():
    train = made_questions(40, "train")
    leaks = find_leaks(TEST, train, TASK)
    base, tuned = golden_pair(TEST)

    def checks(after):
        found = gather(compare_run(base, after, train, TEST, leaks, TASK, Diff()))
        return [check for check in found.checks if check.code == "TD106"]

    assert checks(tuned) == []
    # As system E printed it: the answers belong to other questions.
    moved = tuned.assign(prediction=[f"x{number}" if text else "" for number, text in enumerate(tuned["prediction"])])
    [check] = checks(moved)
    assert check.name == "Text metrics of the tuned model near zero"
    assert "ROUGE-1 0" in check.sentence
