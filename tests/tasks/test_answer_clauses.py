import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clauses import check_clauses
from tests.made_answers import QUESTIONS as TASK
from tests.made_answers import answers_of, golden_pair, made_questions
from tunediff.compare.comparison import Comparison
from tunediff.compare.explanations.causes import FLIPS, causes, evidence, explain
from tunediff.compare.pairs.align import align
from tunediff.tasks.answer_clauses import ANSWER_CLAUSES as RULES
from tunediff.tasks.clauses import CUT_OFF, NO_LABEL, PARSED

TEST, TRAIN = made_questions(100, "test"), made_questions(40, "train")


def aligned_pair(pair=None):
    base, tuned = pair or golden_pair(TEST)
    return TASK.with_gold(align(base, tuned), TEST)


def compared(aligned, train=()):
    comparison = Comparison(aligned, TASK, 0.95, cases=TEST, train=train)
    return comparison, np.flatnonzero(comparison.cells.isin(FLIPS))


def test_only_flips_carry_evidence_and_it_says_what_the_files_say():
    aligned = aligned_pair()
    records = list(causes(*compared(aligned, TRAIN)))
    assert len(records) == 51
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    by_id = {case.case_id: case for case in TEST}
    rows = aligned.set_index("case_id")
    for record in records:
        row, case = rows.loc[record["case_id"]], by_id[record["case_id"]]
        assert (record["base_f1"], record["tuned_f1"]) == (row["f1_base"], row["f1_tuned"])
        assert record["base_answered"] == (row["prediction_base"] != "")
        assert record["tuned_no_answer_odds"] == pytest.approx(row["log_probs_tuned"][1] - row["log_probs_tuned"][0])
        assert (record["position"] is None) == (case.answers == ())
        if record["transition"] == "repaired" and case.answers:
            assert record["tuned_in_sentence"] is True
        assert [near["distance"] for near in record["nearest"]] == sorted(
            near["distance"] for near in record["nearest"]
        )
        assert record["explanation"].endswith(".")


def test_without_probabilities_and_training_cases_there_are_no_odds_and_no_neighbours():
    aligned = aligned_pair(tuple(frame.assign(log_probs=None) for frame in golden_pair(TEST)))
    for fields in evidence(*compared(aligned)):
        assert "nearest" not in fields
        assert fields["base_no_answer_odds"] is None


def test_an_answer_that_could_not_be_read_is_neither_given_nor_withheld():
    base, tuned = answers_of(TEST, np.zeros(100, bool), 1), answers_of(TEST, np.ones(100, bool), 2)
    base.loc[:1, ["prediction", "outcome", "finish_reason"]] = [[None, "invalid", "length"], [None, "invalid", "stop"]]
    aligned = aligned_pair((base, tuned))
    first, second, third, *_ = causes(*compared(aligned))
    assert (first["base_parse"], second["base_parse"], third["base_parse"]) == (CUT_OFF, NO_LABEL, PARSED)
    assert (first["base_answered"], first["base_prediction"], first["base_in_sentence"]) == (None, None, None)
    assert first["explanation"].startswith("The base model's answer reached the token limit, the tuned model's did not")
    assert second["explanation"].startswith("The base model's answer could not be parsed, the tuned model's could")


MODELS = ("base", "tuned")
FIELDS = {
    "label": st.sampled_from(TASK.labels),
    **{f"{who}_parse": st.sampled_from([PARSED, NO_LABEL, CUT_OFF]) for who in MODELS},
    **{f"{who}_{name}": st.booleans() for who in MODELS for name in ("answered", "in_sentence", "stable")},
    **{f"{who}_f1": st.floats(0, 1) for who in MODELS},
    **{f"{who}_no_answer_odds": st.floats(-9, 9) for who in MODELS},
    "answer_overlap": st.floats(0, 1),
    "nearest": st.lists(
        st.fixed_dictionaries({"answer": st.sampled_from(["", "Rollo"]), "distance": st.floats(0, 1)}), max_size=2
    ),
}
measured = st.fixed_dictionaries({}, optional={name: values | st.none() for name, values in FIELDS.items()})


@given(measured)
def test_a_clause_is_made_of_the_fields_that_it_cites_and_goes_with_them(fields):
    check_clauses(fields, RULES)


def test_each_rule_is_handed_the_fields_that_it_cites_and_every_rule_can_speak():
    assert all(len(inspect.signature(rule).parameters) == len(cited) for cited, rule in RULES)
    assert {name for cited, _ in RULES for name in cited} == set(FIELDS)
    both = {f"{who}_{name}": True for who in MODELS for name in ("answered", "in_sentence")}
    telling = {
        "label": "answerable",
        "base_parse": NO_LABEL,
        "tuned_parse": PARSED,
        **both,
        **{f"{who}_stable": False for who in MODELS},
        **{f"{who}_f1": 0.5 for who in MODELS},
        **{f"{who}_no_answer_odds": 1.5 for who in MODELS},
        "answer_overlap": 0.1,
        "nearest": [{"answer": "Rollo", "distance": 0.2}],
    }
    said = set()
    for cited, _ in RULES:
        for change in ({}, {"base_answered": False}):
            values = telling | change
            said |= {clause.fields for clause in explain({name: values[name] for name in cited}, RULES)}
    assert said == {cited for cited, _ in RULES}
