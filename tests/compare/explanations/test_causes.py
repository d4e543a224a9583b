import inspect
import json
import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clauses import check_clauses
from tunediff.compare.comparison import Comparison
from tunediff.compare.effects.label_bias import calibrated
from tunediff.compare.explanations import causes as module
from tunediff.compare.explanations.causes import FLIPS, MOST_CLAUSES, explain, nearest, sentences
from tunediff.data.cases import make_cases
from tunediff.tasks.classification import Classification, Inference
from tunediff.tasks.clauses import CUT_OFF, NO_LABEL, PARSED
from tunediff.tasks.label_clauses import LABEL_CLAUSES as RULES

TASK = Inference("nli", ["premise", "hypothesis"], ["yes", "maybe", "no"], "premise", "hypothesis")
ONE = Classification("classification", ["sentence"], ["yes", "maybe", "no"], "sentence", "sentence")
PAIRS = [
    ("A man sees two dogs.", "A man sees."),
    ("A man is not here.", "A man is outside."),
    ("Two cats sleep.", "Two cats are not awake."),
    ("A bird.", "Zebras graze."),
]


def made_up(**columns):
    """Four cases: repaired, broken, both right, repaired."""
    cases = make_cases(({"premise": p, "hypothesis": h}, "maybe", ()) for p, h in PAIRS)
    probabilities = {
        "base": [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]],
        "tuned": [[0.1, 0.8, 0.1], [0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]],
    }
    frame = {
        "case_id": [case.case_id for case in cases],
        "label": [case.label for case in cases],
        "prediction_base": ["yes", "maybe", "maybe", None],
        "outcome_base": ["wrong", "right", "right", "invalid"],
        "prediction_tuned": ["maybe", "no", "maybe", "maybe"],
        "outcome_tuned": ["right", "wrong", "right", "right"],
        **{f"log_probs_{who}": list(np.log(rows)) for who, rows in probabilities.items()},
    }
    cells = pd.Series(pd.Categorical(["repaired", "broken", "both_right", "repaired"]))
    return pd.DataFrame(frame | columns), cells, cases


def compared(aligned, cells, cases, task=TASK, train=()):
    """The comparison, its flips, and whether the base's answers are stable."""
    comparison = Comparison(aligned.assign(transition=cells.to_numpy()), task, 0.95, cases=cases, train=train)
    stable = None
    if "stable_base" in aligned:
        stable = pd.Series(aligned["stable_base"].to_numpy(), index=aligned["case_id"])
    return comparison, np.flatnonzero(cells.isin(FLIPS)), stable


def causes(*given):
    return list(module.causes(*compared(*given)))


def evidence(*given):
    return module.evidence(*compared(*given))


def train():
    texts = [("A man sees two dogs!", "A man sees."), ("A fish swims.", "It swims."), ("A man is here.", "Outside.")]
    return make_cases(
        ({"premise": p, "hypothesis": h}, label, ()) for (p, h), label in zip(texts, TASK.labels, strict=True)
    )


def test_only_flipped_cases_carry_evidence_and_it_survives_json():
    aligned, cells, cases = made_up()
    records = list(causes(aligned, cells, cases, TASK, train()))
    assert [record["case_id"] for record in records] == [cases[i].case_id for i in (0, 1, 3)]
    assert [record["transition"] for record in records] == ["repaired", "broken", "repaired"]
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_margins_are_of_the_gold_label_and_the_preference_is_that_of_all_cases():
    aligned, cells, cases = made_up()
    first, second, _ = evidence(aligned, cells, cases, TASK)
    assert (first["base_margin"], first["tuned_margin"]) == pytest.approx((np.log(2 / 7), np.log(8)))
    assert second["tuned_margin"] == pytest.approx(np.log(0.2 / 0.5))
    row = calibrated(np.stack(aligned["log_probs_base"]))[0]
    assert first["base_calibrated_margin"] == pytest.approx(row[1] - max(row[0], row[2]))


def test_what_was_not_measured_is_no_field_and_makes_no_clause():
    aligned, cells, cases = made_up()
    [first, *_] = causes(aligned, cells, cases, TASK)
    absent = {"base_partial_input", "tuned_partial_input", "base_stable", "tuned_stable", "nearest"}
    assert not absent & set(first)
    assert not absent & {field for clause in first["clauses"] for field in clause["fields"]}


def test_the_form_of_the_answer_is_told_from_its_parse_status():
    aligned, cells, cases = made_up(finish_reason_base=["stop", "stop", "stop", "length"])
    *_, last = causes(aligned, cells, cases, TASK)
    assert (last["base_parse"], last["tuned_parse"], last["base_prediction"]) == (CUT_OFF, PARSED, None)
    assert last["explanation"].startswith("The base model's answer named no label within the token limit, the tuned")
    plain, *_ = made_up()
    assert [*evidence(plain, cells, cases, TASK)][2]["base_parse"] == NO_LABEL


def _log_probs(answers):
    return [[-0.1 if label == answer else -3.0 for label in TASK.labels] for answer in answers]


def test_everything_that_was_measured_is_told():
    aligned, cells, cases = made_up(
        premise_free_log_probs_base=_log_probs(["yes", "no", "no", "no"]),
        premise_free_log_probs_tuned=_log_probs(["maybe", "no", "no", "no"]),
        stable_base=[False, True, True, True],
    )
    first, second, last = causes(aligned, cells, cases, TASK, train())
    assert "the base model's answer changes with the batch size" in first["explanation"].lower()
    # An explanation is a sentence or two: of what was measured it tells the most telling, the fields hold the rest.
    assert "given the hypothesis alone, both models answer 'no'" in second["explanation"].lower()
    assert "given the hypothesis alone, both models answer 'no'" in last["explanation"].lower()
    assert first["subsequence"] is True
    assert second["negation"] == "in premise"
    assert last["overlap"] == 0


def test_the_nearest_training_cases_come_nearest_first_with_label_and_distance():
    _, _, cases = made_up()
    known = train()
    near = nearest(cases, known, TASK.inputs)
    assert [len(one) for one in near] == [3] * 4
    assert (near[0][0].case, near[0][0].distance) == (known[0], 0)
    assert near[1][0].case == known[2]
    assert all(a.distance <= b.distance for one in near for a, b in pairwise(one))
    assert near[3][0].distance > 0.5


def test_the_nearest_cases_agree_with_comparing_all_pairs_by_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_distances

    generator = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]

    def texts(n):
        drawn = [" ".join(generator.choice(words, size=8)) for _ in range(n + 1)]
        return make_cases(({"premise": p, "hypothesis": h}, "yes", ()) for p, h in pairwise(drawn))

    wanted, known = texts(30), texts(200)
    vectorizer = TfidfVectorizer(token_pattern=r"\w+")
    features = vectorizer.fit_transform([" ".join(case.inputs.values()) for case in known])
    distances = cosine_distances(vectorizer.transform([" ".join(c.inputs.values()) for c in wanted]), features)
    found = [[one.distance for one in near] for near in nearest(wanted, known, TASK.inputs)]
    assert np.array(found) == pytest.approx(np.sort(distances, axis=1)[:, :3], abs=1e-5)


def test_training_cases_without_a_word_are_near_to_none():
    _, _, cases = made_up()
    silent = make_cases([({"premise": "?", "hypothesis": "!"}, "yes", ())])
    assert nearest(cases, silent, TASK.inputs) == [[]] * 4
    aligned, cells, _ = made_up()
    assert all("training" not in record["explanation"] for record in causes(aligned, cells, cases, TASK, silent))


def test_a_task_with_one_input_says_nothing_of_a_premise():
    cases = make_cases([({"sentence": "not a good film"}, "yes", ())])
    aligned, _, _ = made_up()
    aligned = aligned.head(1).assign(case_id=cases[0].case_id, label="yes")
    [record] = causes(aligned, pd.Series(["repaired"]), cases, ONE)
    assert not {"overlap", "subsequence", "alone", "others"} & set(record)
    # Negation is a word of inference: it is said where there is a second text that may contradict.
    assert "negation" not in record["explanation"]


def test_no_flip_needs_no_explanation():
    aligned, _, cases = made_up()
    assert list(causes(aligned, pd.Series(["both_right"] * 4), cases, TASK)) == []


FIELDS = {
    "transition": st.sampled_from(["repaired", "broken"]),
    "label": st.sampled_from(TASK.labels),
    "base_parse": st.sampled_from([PARSED, NO_LABEL, CUT_OFF]),
    "tuned_parse": st.sampled_from([PARSED, NO_LABEL, CUT_OFF]),
    **{f"{who}_{kind}": st.floats(-9, 9) for who in ("base", "tuned") for kind in ("margin", "calibrated_margin")},
    **{f"{who}_partial_input": st.sampled_from(TASK.labels) for who in ("base", "tuned")},
    **{f"{who}_stable": st.booleans() for who in ("base", "tuned")},
    "overlap": st.sampled_from([0.0, 0.4, 1.0]),
    "subsequence": st.booleans(),
    "negation": st.sampled_from(["none", "in hypothesis", "in premise and hypothesis"]),
    "alone": st.just("hypothesis"),
    "others": st.just("premise"),
    "nearest": st.lists(
        st.fixed_dictionaries({"label": st.sampled_from(TASK.labels), "distance": st.floats(0, 1)}), max_size=2
    ),
}
measured = st.fixed_dictionaries({}, optional={name: values | st.none() for name, values in FIELDS.items()})


@given(measured)
def test_a_clause_is_made_of_the_fields_that_it_cites_and_goes_with_them(fields):
    check_clauses(fields, RULES)


@given(measured)
def test_an_explanation_is_two_sentences_at_most(fields):
    clauses = explain(fields, RULES)
    assert len(clauses) <= MOST_CLAUSES
    text = sentences(clauses)
    assert len(re.findall(r"\.(?= |$)", text)) == (len(clauses) + 1) // 2
    assert (text == "") == (clauses == [])


def test_each_rule_is_handed_the_fields_that_it_cites_and_every_rule_can_speak():
    assert all(len(inspect.signature(rule).parameters) == len(cited) for cited, rule in RULES)
    assert {name for cited, _ in RULES for name in cited} == set(FIELDS)
    telling = {
        "transition": "repaired",
        "label": "yes",
        "base_parse": NO_LABEL,
        "tuned_parse": PARSED,
        "negation": "in hypothesis",
        "base_partial_input": "no",
        "tuned_partial_input": "yes",
        "subsequence": True,
        "overlap": 1.0,
        "alone": "hypothesis",
        "others": "premise",
        "nearest": [{"label": "no", "distance": 0.2}],
        **{f"{who}_stable": False for who in ("base", "tuned")},
        **{f"{who}_{kind}": 1.5 for who in ("base", "tuned") for kind in ("margin", "calibrated_margin")},
    }
    said = [clause for cited, _ in RULES for clause in explain({name: telling[name] for name in cited}, RULES)]
    assert {clause.fields for clause in said} == {cited for cited, _ in RULES}
