import doctest

import pandas as pd
import pytest

from tunediff.compare.pairs import align as module
from tunediff.compare.pairs.align import align
from tunediff.runtime.errors import TunediffError


def predictions(ids="abcd", **columns):
    n = len(ids)
    defaults = {
        "case_id": list(ids),
        "label": ["yes", "no"] * (n // 2) + ["yes"] * (n % 2),
        "prediction": ["yes"] * n,
        "outcome": ["right"] * n,
        "log_probs": [[-0.1, -2.4]] * n,
        "prompt_hash": [f"hash of {case_id}" for case_id in ids],
        "scorer": ["choices"] * n,
    }
    return pd.DataFrame(defaults | columns)


def test_the_documented_example_holds():
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


def test_rows_in_another_order_are_paired_by_case_id_in_the_order_of_the_first():
    base = predictions(prediction=["yes", "no", "yes", None], outcome=["right", "right", "wrong", "invalid"])
    tuned = predictions(text=["t of a", "t of b", "t of c", "t of d"]).sample(frac=1, random_state=3)
    aligned = align(base.set_axis([9, 8, 7, 6]), tuned)
    assert aligned["case_id"].tolist() == ["a", "b", "c", "d"]
    assert aligned["text_tuned"].tolist() == ["t of a", "t of b", "t of c", "t of d"]
    assert aligned["outcome_base"].tolist() == ["right", "right", "wrong", "invalid"]
    assert aligned.columns.tolist() == [
        *("case_id", "label", "prompt_hash", "scorer"),
        *("prediction_base", "outcome_base", "log_probs_base"),
        *("prediction_tuned", "outcome_tuned", "log_probs_tuned", "text_tuned"),
    ]


def test_the_frames_that_are_handed_in_stay_as_they_were():
    base, tuned = predictions(), predictions().iloc[::-1]
    before = base.copy(), tuned.copy()
    align(base, tuned)
    pd.testing.assert_frame_equal(base, before[0])
    pd.testing.assert_frame_equal(tuned, before[1])


def refusal(base, tuned):
    with pytest.raises(TunediffError) as error:
        align(base, tuned, ("base.parquet", "tuned.parquet"))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_on_fewer_cases_is_refused_with_counts_and_first_ids():
    assert refusal(predictions("abcdefg"), predictions("abx")) == (
        "base.parquet and tuned.parquet: different cases: found 5 only in base.parquet (c, d, e, ...), "
        "1 only in tuned.parquet (x); expected the same case ids in both"
    )


def test_a_subset_is_refused_too():
    assert "2 only in tuned.parquet (c, d);" in refusal(predictions("ab"), predictions("abcd"))


def test_a_case_id_that_stands_twice_is_refused():
    assert refusal(predictions(), predictions("abccc")) == (
        "tuned.parquet: case_id: found 1 more than once (c), expected each once"
    )


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("label", ["yes", "no", "no", "no"], "(c; the first: 'yes' and 'no')"),
        ("prompt_hash", ["hash of a", "hash of b", "other", "other"], "(c, d; the first: 'hash of c' and 'other')"),
        ("scorer", ["head"] * 4, "(a, b, c, ...; the first: 'choices' and 'head')"),
        ("prompt_hash", ["hash of a", "hash of b", "hash of c", None], "(d; the first: 'hash of d' and "),
    ],
)
def test_different_labels_prompts_or_scorers_are_refused_even_where_the_order_differs(column, values, found):
    tuned = predictions(**{column: values}).iloc[::-1]
    message = refusal(predictions(), tuned)
    assert message.startswith(f"base.parquet and tuned.parquet: {column}: found different values for ")
    assert found in message


def test_different_inputs_under_one_case_id_are_refused_where_they_are_shared():
    base, tuned = predictions(premise=["A dog."] * 4), predictions(premise=["A dog."] * 3 + ["A <b>cat</b>." * 40])
    assert align(base, tuned)["premise_tuned"].iloc[0] == "A dog."
    with pytest.raises(
        TunediffError, match=r"premise: found different values for 1 of 4 cases \(d; the first: 'A dog.'"
    ):
        align(base, tuned, shared=["premise"])
    aligned = align(base, base, shared=["premise"])
    assert aligned["premise"].tolist() == ["A dog."] * 4
    assert not {"premise_base", "premise_tuned"} & set(aligned)


@pytest.mark.parametrize("other", [("no", "yes"), ("yes", "no", "maybe")])
def test_different_label_lists_are_refused(other):
    base = predictions()
    assert len(align(base, base, labels=(("yes", "no"), ["yes", "no"]))) == 4
    assert len(align(base, base, labels=(("yes", "no"), None))) == 4
    with pytest.raises(TunediffError, match=f"label list: found yes, no and {', '.join(other)}, expected the same"):
        align(base, base, labels=(("yes", "no"), other))


def test_a_hash_that_both_files_lack_is_no_difference():
    base = predictions(prompt_hash=[None] * 4)
    assert len(align(base, base)) == 4


def test_a_missing_column_is_named():
    message = refusal(predictions(), predictions().drop(columns=["scorer", "outcome"]))
    assert message.startswith("tuned.parquet: columns: found no outcome, scorer, expected at least case_id,")


def test_an_unknown_outcome_is_named_with_its_case():
    message = refusal(predictions(outcome=["right", "right", "Wrong", "wrong"]), predictions())
    assert message == ("base.parquet: outcome: found 'Wrong' for case c, expected one of right, wrong, invalid")


def test_a_file_without_a_case_is_refused():
    assert refusal(predictions(""), predictions("")) == "base.parquet: found no case, expected at least one"
