import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import shared_data
from tunediff.config.data import Data
from tunediff.data.cases import make_cases
from tunediff.data.splits import draw_splits
from tunediff.runtime.errors import TunediffError


def section(test=None, validation=None, train=None, shared_sources="drop", sources=("source",)):
    [first, *_] = sources
    draws = {"test": test or {}, "validation": validation or {}, "train": train or {}}
    return Data(
        source="files",
        path="data/raw",
        files={name: f"{name}.jsonl" for name in sources},
        columns={"premise": "premise", "hypothesis": "hypothesis", "label": "label"},
        shared_sources=shared_sources,
        **{split: {"source": first} | draw for split, draw in draws.items()},
    )


def cases_of(rows):
    """Cases from (premise, label), with a hypothesis of its own each; a label of None is no gold label."""
    made = iter(
        make_cases(
            ({"premise": premise, "hypothesis": f"h{i}"}, label, ())
            for i, (premise, label) in enumerate(rows)
            if label is not None
        )
    )
    return [None if label is None else next(made) for _, label in rows]


def snli(name):
    """SNLI in its published order, as cases."""
    rows = [
        json.loads(line) for line in shared_data(f"snli/{name}.jsonl").read_text(encoding="utf-8").split("\n") if line
    ]
    made = iter(
        make_cases(
            ({"premise": r["premise"], "hypothesis": r["hypothesis"]}, str(r["label"]), ())
            for r in rows
            if r["label"] >= 0
        )
    )
    return [next(made) if r["label"] >= 0 else None for r in rows]


def plain(n):
    return cases_of([(f"p{i}", "yes") for i in range(n)])


def hypotheses(drawn):
    return [case.inputs["hypothesis"] for case in drawn.cases]


def draw(cases, **changes):
    return draw_splits({"source": cases}, section(**changes), "premise")


ROWS = st.lists(
    st.tuples(st.integers(0, 30).map("p{}".format), st.sampled_from(["yes", "no", "maybe", None])),
    min_size=1,
    max_size=80,
)
DRAWS = st.one_of(
    st.builds(dict, select=st.just("all"), limit=st.none() | st.integers(1, 40)),
    st.builds(dict, select=st.just("stride"), every=st.integers(1, 9), limit=st.none() | st.integers(1, 40)),
    st.builds(
        dict,
        select=st.sampled_from(["random", "stratified"]),
        fraction=st.sampled_from([0.05, 0.2, 1 / 3]),
        limit=st.none() | st.integers(1, 40),
        seed=st.integers(0, 3),
    ),
)


def drawn_or_refused(rows, **changes):
    try:
        return draw(cases_of(rows), **changes)
    except TunediffError as error:
        [line] = error.args
        assert "no row is left of source split source" in line
        return None


@given(rows=ROWS, test=DRAWS, validation=DRAWS, train=DRAWS, shared=st.sampled_from(["drop", "keep"]))
def test_no_row_is_in_two_splits_and_every_row_is_accounted_for(rows, test, validation, train, shared):
    splits = drawn_or_refused(rows, test=test, validation=validation, train=train, shared_sources=shared)
    if splits is None:
        return
    assert list(splits) == ["train", "validation", "test"]
    ids = [case.case_id for drawn in splits.values() for case in drawn.cases]
    assert len(set(ids)) == len(ids)
    order = [case.case_id for case in cases_of(rows) if case is not None]
    for drawn, how in zip(splits.values(), (train, validation, test), strict=True):
        written = [case.case_id for case in drawn.cases]
        if how["select"] in ("all", "stride"):
            assert written == [i for i in order if i in set(written)]
        lost = drawn.off_stride + len(drawn.unlabelled) + drawn.elsewhere + len(drawn.shared_premise) + drawn.left_out
        assert drawn.premises == len({case.inputs["premise"] for case in drawn.cases})
        assert (drawn.groups, drawn.shared_group) == (0, [])
        assert drawn.read == len(rows) == lost + len(drawn.cases)
        assert all(rows[i][1] is None for i in drawn.unlabelled)


@given(rows=ROWS, test=DRAWS, validation=DRAWS, train=DRAWS)
def test_no_premise_is_in_two_splits_unless_the_parameters_say_so(rows, test, validation, train):
    splits = drawn_or_refused(rows, test=test, validation=validation, train=train)
    if splits is not None:
        premises = [{case.inputs["premise"] for case in drawn.cases} for drawn in splits.values()]
        assert len(set.union(*premises)) == sum(map(len, premises))
        assert splits["test"].shared_premise == []


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 30).map(str), st.sampled_from(["yes", "no", "maybe"])), min_size=8, max_size=90
    ),
    fraction=st.sampled_from([0.2, 0.5, 0.8]),
    shared=st.sampled_from(["drop", "keep"]),
)
def test_a_stratified_draw_keeps_the_share_of_each_label_to_within_a_row(rows, fraction, shared):
    changes = {"select": "stratified", "fraction": fraction, "seed": 1}
    cases = cases_of(rows)
    sources = {"source": cases, "rest": plain(5)}
    data = section(
        test=changes,
        validation={"source": "rest", "limit": 1},
        train={"source": "rest"},
        shared_sources=shared,
        sources=("source", "rest"),
    )
    test = draw_splits(sources, data, "premise")["test"].cases
    assert len(test) == round(fraction * len(rows))
    counts, drawn = Counter(label for _, label in rows), Counter(case.label for case in test)
    for label, count in counts.items():
        assert abs(drawn[label] - count * len(test) / len(rows)) < 1


@given(rows=ROWS, seed=st.integers(0, 9), select=st.sampled_from(["random", "stratified"]), data=st.data())
def test_the_order_of_the_rows_changes_neither_what_is_drawn_nor_the_order_it_is_written_in(rows, seed, select, data):
    cases = [case for case in cases_of(rows) if case is not None]
    shuffled = data.draw(st.permutations(cases))
    how = {
        "test": {"select": select, "limit": 5, "seed": seed},
        "validation": {"select": select, "limit": 5, "seed": 0},
        "train": {"select": select, "fraction": 1.0},
    }
    try:
        first, second = draw(cases, **how), draw(shuffled, **how)
    except TunediffError:
        return
    for name, drawn in first.items():
        assert drawn.cases == second[name].cases


def test_a_stride_takes_every_kth_row_as_published_and_then_drops_those_without_a_label():
    cases = cases_of([(f"p{i}", None if i in (3, 5) else "yes") for i in range(20)])
    splits = draw(cases, test={"select": "stride", "every": 5}, validation={"select": "stride", "every": 4, "limit": 2})
    assert hypotheses(splits["test"]) == ["h0", "h10", "h15"]
    assert hypotheses(splits["validation"]) == ["h4", "h8"]
    assert splits["test"].arithmetic == "20 rows read - 16 off the stride - 1 without label = 3"
    assert splits["validation"].arithmetic == "20 rows read - 15 off the stride - 1 in another split - 2 left out = 2"


def test_a_limit_takes_the_first_rows():
    splits = draw(plain(10), test={"limit": 3}, validation={"limit": 2})
    assert hypotheses(splits["test"]) == ["h0", "h1", "h2"]
    assert hypotheses(splits["validation"]) == ["h3", "h4"]
    assert hypotheses(splits["train"]) == ["h5", "h6", "h7", "h8", "h9"]


def test_rows_of_a_premise_that_stands_in_an_earlier_split_are_dropped_before_the_limit_and_counted():
    cases = cases_of([("a", "yes"), ("b", "yes"), ("a", "no"), ("c", "no"), ("b", "no"), ("d", "no")])
    how = {"test": {"limit": 1}, "validation": {"limit": 1}, "train": {"limit": 2}}
    splits = draw(cases, **how)
    assert [hypotheses(drawn) for drawn in splits.values()] == [["h3", "h5"], ["h1"], ["h0"]]
    assert splits["train"].shared_premise == [2, 4]
    assert splits["train"].arithmetic == "6 rows read - 2 in another split - 2 of a shared premise = 2"
    kept = draw(cases, **how, shared_sources="keep")
    assert [hypotheses(drawn) for drawn in kept.values()] == [["h2", "h3"], ["h1"], ["h0"]]


def test_a_fraction_is_a_share_of_the_labelled_rows_of_the_source():
    splits = draw(
        [*plain(100), None, None],
        test={"select": "random", "fraction": 0.1},
        validation={"select": "random", "fraction": 0.2},
        train={"select": "random", "fraction": 0.7},
    )
    assert [len(drawn.cases) for drawn in splits.values()] == [70, 20, 10]


def test_another_seed_draws_other_rows():
    drawn = [
        hypotheses(draw(plain(100), test={"select": "random", "limit": 10, "seed": s}, validation={"limit": 1})["test"])
        for s in (1, 2)
    ]
    assert len(set(drawn[0]) & set(drawn[1])) < 6


def test_a_random_draw_favours_no_row():
    rows = plain(20)
    times = Counter(
        h
        for seed in range(400)
        for h in hypotheses(
            draw(rows, test={"select": "random", "limit": 5, "seed": seed}, validation={"limit": 1})["test"]
        )
    )
    # 100 expected each; the standard deviation of a fair draw is 8.7.
    assert len(times) == 20
    assert all(60 < n < 140 for n in times.values())


@pytest.mark.parametrize("select", ["random", "stratified"])
def test_premises_are_drawn_whole_so_that_few_rows_are_lost(select):
    labels = ("yes", "no", "maybe")
    cases = cases_of([(f"p{i}", label) for i in range(400) for label in labels])
    how = {"select": select, "fraction": 0.25, "seed": 3}
    splits = draw(cases, test=how, validation=how)
    assert [len(drawn.cases) for drawn in (splits["test"], splits["validation"])] == [300, 300]
    assert len(splits["train"].cases) >= 600 - 4


def test_an_empty_split_is_refused_with_what_became_of_the_rows():
    with pytest.raises(TunediffError) as caught:
        draw([*plain(3), None], validation={"limit": 1})
    assert caught.value.args == (
        "data.validation: no row is left of source split source: "
        "4 rows read - 1 without label - 3 in another split = 0; expected at least one",
    )


def test_the_draws_of_systems_a_and_b_come_out_of_snli_as_published():
    cases = snli("test")
    sources = {"test": cases, "validation": snli("validation"), "train": snli("train_18k")}
    every = {"select": "stride", "every": 100}
    data = section(
        test={"source": "test"} | every,
        validation={"source": "validation"} | every,
        train={"source": "train", "select": "stride", "every": 18, "limit": 1000},
        sources=tuple(sources),
    )
    splits = draw_splits(sources, data, "premise")
    assert [case.case_id for case in splits["test"].cases] == [case.case_id for case in cases[::100]]
    assert Counter(case.label for case in splits["test"].cases) == {"0": 30, "1": 34, "2": 36}
    assert len(splits["validation"].cases) == 99
    assert len(splits["validation"].unlabelled) == 1
    assert len(splits["train"].cases) == 1000


def test_a_stratified_split_of_snli_loses_few_rows_to_shared_premises():
    how = {"select": "stratified", "seed": 1}
    splits = draw(snli("test"), test=how | {"limit": 2000}, validation=how | {"limit": 1000})
    assert (len(splits["test"].cases), len(splits["validation"].cases)) == (2000, 1000)
    assert len(splits["train"].shared_premise) < 200


@pytest.mark.parametrize(
    ("select", "expected"),
    [("random", ["h17", "h7", "h3", "h2", "h44", "h32"]), ("stratified", ["h17", "h7", "h3", "h2", "h44", "h27"])],
)
def test_the_draw_is_the_same_on_every_machine(select, expected):
    """The rows with the lowest `printf '1 p7' | sha256sum`; a change here changes every split that was ever drawn."""
    cases = cases_of([(f"p{i}", "no" if i % 3 else "yes") for i in range(50)])
    how = {"select": select, "limit": 6, "seed": 1}
    assert hypotheses(draw(cases, test=how, validation={"limit": 1})["test"]) == expected


def draw_groups(rows, **changes):
    """Draw from rows of (group, label), each with a premise of its own."""
    cases = cases_of([(f"p{i}", label) for i, (_, label) in enumerate(rows)])
    return draw_splits({"source": cases}, section(**changes), "premise", {"source": [group for group, _ in rows]})


GROUPED = st.lists(st.tuples(st.integers(0, 12).map("g{}".format), st.sampled_from(["yes", "no"])), min_size=4)


@given(rows=GROUPED, test=DRAWS, validation=DRAWS, train=DRAWS)
def test_no_group_is_in_two_splits(rows, test, validation, train):
    try:
        splits = draw_groups(rows, test=test, validation=validation, train=train)
    except TunediffError:
        return
    group = {f"h{i}": name for i, (name, _) in enumerate(rows)}
    there = [{group[hypothesis] for hypothesis in hypotheses(drawn)} for drawn in splits.values()]
    assert len(set.union(*there)) == sum(map(len, there))
    for drawn, groups in zip(splits.values(), there, strict=True):
        assert drawn.groups == len(groups)
        lost = drawn.off_stride + drawn.elsewhere + len(drawn.shared_group) + drawn.left_out
        assert drawn.read == lost + len(drawn.cases)


@given(rows=GROUPED, draw_=DRAWS.filter(lambda how: how["select"] in ("random", "stratified")))
def test_a_random_or_stratified_draw_takes_whole_groups_and_keeps_the_limit(rows, draw_):
    try:
        drawn = draw_groups(rows, test=draw_, validation={"limit": 1})["test"]
    except TunediffError:
        return
    sizes, chosen = Counter(name for name, _ in rows), Counter(rows[int(h[1:])][0] for h in hypotheses(drawn))
    assert all(sizes[name] == n for name, n in chosen.items())
    assert len(drawn.cases) <= (draw_["limit"] or len(rows))


def test_a_fraction_of_groups_comes_near_the_share_of_rows_and_of_labels():
    rows = [(f"g{i % 60}", "yes" if i % 60 < 20 else "no") for i in range(1200)]
    how = {"select": "stratified", "seed": 1}
    splits = draw_groups(
        rows, test=how | {"fraction": 0.2}, validation=how | {"fraction": 0.1}, train=how | {"fraction": 0.7}
    )
    assert [len(drawn.cases) for drawn in splits.values()] == [840, 120, 240]
    assert Counter(case.label for case in splits["test"].cases) == {"yes": 80, "no": 160}


def test_rows_of_a_group_that_another_source_has_too_are_dropped_and_counted():
    cases = {"train": plain(4), "test": plain(2)}
    data = section(
        test={"source": "test"},
        validation={"source": "train", "limit": 1},
        train={"source": "train"},
        sources=("train", "test"),
        shared_sources="keep",
    )
    groups = {"train": ["a", "b", "c", "c"], "test": ["a", "x"]}
    splits = draw_splits(cases, data, "premise", groups)
    assert splits["validation"].arithmetic == "4 rows read - 1 of a shared group - 2 left out = 1"
    assert splits["train"].arithmetic == "4 rows read - 1 in another split - 1 of a shared group = 2"
    assert (splits["train"].groups, splits["test"].groups) == (1, 2)


def test_the_order_of_the_rows_does_not_change_which_groups_are_drawn():
    rows = [(f"g{i % 7}", "yes" if i % 3 else "no") for i in range(70)]
    how = {"test": {"select": "stratified", "fraction": 0.4, "seed": 5}, "validation": {"limit": 1}}
    cases = cases_of([(f"p{i}", label) for i, (_, label) in enumerate(rows)])
    drawn = [
        draw_splits(
            {"source": [cases[i] for i in order]},
            section(**how),
            "premise",
            {"source": [rows[i][0] for i in order]},
        )["test"].cases
        for order in (range(70), range(69, -1, -1))
    ]
    assert drawn[0] == drawn[1]


@pytest.mark.pipeline
def test_system_ds_stratified_split_of_sst2_is_80_to_20_and_shares_no_row():
    lines = shared_data("sst2/train.tsv").read_text(encoding="utf-8").split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    cases = make_cases(({"premise": sentence}, label, ()) for sentence, label in rows)
    how = {"source": "train", "select": "stratified", "seed": 1}
    data = section(
        test={"source": "dev"},
        validation=how | {"fraction": 0.2},
        train=how | {"fraction": 0.8},
        shared_sources="keep",
        sources=("train", "dev"),
    )
    splits = draw_splits({"train": cases, "dev": plain(3)}, data, "premise")
    train, validation = splits["train"].cases, splits["validation"].cases
    assert (len(train), len(validation), len(rows)) == (53_879, 13_470, 67_349)
    assert not {case.case_id for case in train} & {case.case_id for case in validation}
    share = sum(label == "1" for _, label in rows) / len(rows)
    for split in (train, validation):
        assert sum(case.label == "1" for case in split) == pytest.approx(share * len(split), abs=1)
