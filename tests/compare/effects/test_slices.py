from functools import partial

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from tests.small_tasks import PAIR
from tunediff.compare.effects import slices as module
from tunediff.compare.effects.slices import COLUMNS, slices_of_cases, tag_slices
from tunediff.data.cases import make_cases
from tunediff.runtime.errors import TunediffError
from tunediff.stats.paired import difference_interval, mcnemar_exact
from tunediff.tasks import task_of

TASK = task_of(PAIR)
slices = partial(module.slices, families=TASK.families, confidence=0.95, min_cases=20, clusters=None)


def made_up(rows, inputs=None):
    """Aligned predictions and cases from (label, tags, base is right, tuned is right)."""
    texts = inputs or [(f"premise {i}", f"hypothesis {i}") for i in range(len(rows))]
    cases = make_cases(
        ({"premise": p, "hypothesis": h}, label, tags) for (p, h), (label, tags, *_) in zip(texts, rows, strict=True)
    )
    aligned = pd.DataFrame(
        {
            "case_id": [case.case_id for case in cases],
            "label": [case.label for case in cases],
            "outcome_base": ["right" if before else "wrong" for *_, before, _ in rows],
            "outcome_tuned": ["right" if after else "invalid" for *_, after in rows],
        }
    )
    return aligned, cases


def random_rows(n=600, seed=0):
    """Of three tags `helped` is repaired often, `hurt` broken often, and `nothing` changed by chance alone."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        tags = [["helped", "hurt", "nothing"][generator.integers(3)]]
        before = generator.random() < 0.5
        after = generator.random() < (0.95 if "helped" in tags else 0.2 if "hurt" in tags else 0.5)
        rows.append((["yes", "no"][generator.integers(2)], tags, bool(before), bool(after)))
    return rows


def compared(rows, **options):
    aligned, cases = made_up(rows)
    return slices(aligned, cases, TASK.features(cases), **options)


def test_a_slice_is_counted_and_tested_as_the_golden_pair_is():
    golden = [(True, True)] * 39 + [(False, True)] * 49 + [(True, False)] * 2 + [(False, False)] * 10
    rows = [("yes", ["golden"], *pair) for pair in golden] + [("no", [], False, False)] * 30
    row = compared(rows).query("family == 'tag'").iloc[0]
    assert (row["value"], row["n"], row["repaired"], row["broken"]) == ("golden", 100, 49, 2)
    assert (row["accuracy_base"], row["accuracy_tuned"], row["delta"]) == pytest.approx((0.41, 0.88, 0.47))
    assert row["p"] == pytest.approx(1.1786127629e-12, rel=1e-10)
    assert (row["low"], row["high"]) == pytest.approx((0.361, 0.572), abs=1e-3)


def test_every_row_says_what_counting_by_hand_says():
    rows = random_rows()
    table = compared(rows)
    assert list(table) == list(COLUMNS)
    for row in table.query("family in ('tag', 'label')").itertuples():
        own = [r for r in rows if (row.value in r[1] if row.family == "tag" else row.value == r[0])]
        repaired, broken = (sum(r[2:] == flip for r in own) for flip in ((False, True), (True, False)))
        assert (row.n, row.repaired, row.broken) == (len(own), repaired, broken)
        assert row.accuracy_tuned == pytest.approx(sum(r[3] for r in own) / len(own))
        assert row.p == mcnemar_exact(repaired, broken)
        assert (row.low, row.high) == difference_interval(repaired, broken, len(own))


def test_the_slices_that_matter_come_first_and_chance_comes_last():
    table = compared(random_rows())
    assert set(table["value"].head(2)) == {"helped", "hurt"}
    assert table.set_index("value").loc["helped", "delta"] > 0 > table.set_index("value").loc["hurt", "delta"]
    assert table["departure"].abs().round(9).is_monotonic_decreasing


def test_where_all_gained_the_slice_that_did_not_comes_first_though_its_q_is_the_last():
    rows = [("yes", ["gained"], i % 4 == 0, True) for i in range(300)]
    rows += [("yes", ["left behind"], i % 2 == 0, i % 2 == 0) for i in range(60)]
    rows += [("no", ["gained too"], i % 4 == 0, True) for i in range(300)]
    table = compared(rows).query("family == 'tag'").reset_index(drop=True)
    assert table["value"][0] == "left behind"
    assert table["q"][0] == table["q"].max() == 1
    assert table["delta_rest"][0] == pytest.approx(0.75)
    assert table["departure"][0] < -10


def test_q_is_adjusted_over_all_slices_that_are_shown():
    table = compared(random_rows())
    assert len(table) == 5
    assert table["q"].tolist() == pytest.approx(multipletests(table["p"], method="fdr_bh")[1].tolist())


def test_where_nothing_happened_few_slices_are_called():
    called = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        rows = [("yes", [f"tag {i % 10}"], *(bool(flip) for flip in generator.integers(2, size=2))) for i in range(400)]
        called.append((compared(rows)["q"] < 0.05).any())
    assert np.mean(called) <= 0.1


def test_a_slice_below_the_support_is_left_out_and_one_that_holds_all_cases_is_none():
    rows = [("yes", ["all"] + ["few"] * (i < 5) + ["enough"] * (i < 20), False, True) for i in range(60)]
    values = compared(rows).query("family == 'tag'")["value"].tolist()
    assert values == ["enough"]
    assert compared(rows, min_cases=5).query("family == 'tag'")["value"].tolist() == ["enough", "few"]
    assert "label" not in compared(rows)["family"].tolist()


def test_a_tag_that_stands_twice_on_a_case_counts_once():
    rows = [("yes", ["twice", "twice"], False, True)] * 30 + [("yes", [], False, True)] * 30
    assert compared(rows).set_index("value").loc["twice", "n"] == 30


def test_too_few_cases_leave_no_slice():
    table = compared([("yes", ["a"], True, False)])
    assert list(table) == list(COLUMNS)
    assert table.empty


def test_every_family_is_there_and_partitions_the_cases():
    premises = ["a man sees two dogs", "a man is not here", "the quick brown fox is running in the park with nobody"]
    hypotheses = ["a man sees", "a man is here", "zebras graze", "the fox is not in the park", "two men"]
    inputs = [(p, h) for p in premises for h in hypotheses] * 10
    rows = [(["yes", "no"][i % 2], ["even"] * (i % 2), i % 3 == 0, i % 5 == 0) for i in range(len(inputs))]
    aligned, cases = made_up(rows, inputs)
    train = make_cases([({"premise": p, "hypothesis": p}, "yes", ()) for p in premises[:2]] * 5)
    table = slices(aligned, cases, TASK.features(cases, train), min_cases=1)
    sizes = table.groupby("family")["n"].sum()
    families = {"label", "length", "negation", "number words", "overlap", "subsequence", "rare words"}
    assert set(sizes.index) == {"tag", *families}
    assert {sizes[family] for family in families} == {150}
    assert set(table.query("family == 'overlap'")["value"]) == {"all", "half or more", "under half"}


def test_quarters_of_the_length_hold_about_a_quarter_each_and_name_their_words():
    inputs = [("word " * (i % 40), "word") for i in range(400)]
    aligned, cases = made_up([("yes", [], True, False)] * 400, inputs)
    table = slices(aligned, cases, TASK.features(cases)).query("family == 'length'").set_index("value")
    assert sorted(table.index) == ["1 to 10 words", "11 to 20 words", "21 to 30 words", "31 to 40 words"]
    assert table["n"].tolist() == [100] * 4


def test_the_order_of_the_cases_makes_no_difference():
    aligned, cases = made_up(random_rows(200))
    first = slices(aligned, cases, TASK.features(cases))
    backwards = cases[::-1]
    pd.testing.assert_frame_equal(slices(aligned, backwards, TASK.features(backwards)), first)


def test_a_prediction_without_a_case_is_named():
    aligned, cases = made_up(random_rows(30))
    with pytest.raises(TunediffError, match=f"no case for prediction {cases[3].case_id} .1 such"):
        slices(aligned, cases[:3] + cases[4:], TASK.features(cases[:3] + cases[4:]))


def test_the_slices_of_a_case_are_the_compared_ones_that_count_it():
    rows = random_rows()
    aligned, cases = made_up(rows)
    texts = TASK.features(cases)
    aligned = aligned.iloc[::-1].reset_index(drop=True)
    table = slices(aligned, cases, texts, min_cases=190)
    found = slices_of_cases(aligned, cases, texts, TASK.families, table)
    for row in table.itertuples():
        assert sum(f"{row.family}: {row.value}" in names for names in found) == row.n
    assert {name for names in found for name in names} == {f"{row.family}: {row.value}" for row in table.itertuples()}
    assert f"label: {aligned['label'][0]}" in found[0]


def tags(rows):
    """The comparison by tag of (tags, transition)."""
    return tag_slices([tags for tags, _ in rows], pd.Series([cell for _, cell in rows]), "tag", 0.95, None)


def test_accuracy_by_tag_counts_a_case_under_each_of_its_tags():
    table = tags(
        [
            (["negation", "count"], "repaired"),
            (["negation", "negation"], "broken"),
            (["count"], "both_right"),
            ([], "both_wrong_same"),
        ]
    )
    count, negation = table.to_dict("records")
    keys = ("value", "n", "accuracy_base", "accuracy_tuned", "repaired", "broken")
    assert [count[key] for key in keys] == ["count", 2, 0.5, 1.0, 1, 0]
    assert [negation[key] for key in keys] == ["negation", 2, 0.5, 0.5, 1, 1]
    assert (negation["low"], negation["high"]) == difference_interval(1, 1, 2)


def test_without_tags_there_is_no_row_and_a_tag_of_all_cases_is_no_part_of_them():
    assert tags([([], "repaired")]).empty
    assert tags([(["all", "some"], "repaired"), (["all"], "broken")])["value"].tolist() == ["some"]
