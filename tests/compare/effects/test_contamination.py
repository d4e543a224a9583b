import pandas as pd
import pytest

from tests.small_tasks import PAIR
from tunediff.compare.effects.contamination import clean_metrics, contamination, leaked
from tunediff.compare.effects.transitions import TRANSITIONS, transition_metrics
from tunediff.data.cases import make_cases
from tunediff.data.leaks import Leaks, find_leaks
from tunediff.tasks import task_of

TASK = task_of(PAIR)
CAPTION = "A young woman in a red coat is feeding two brown dogs in the park."


def cells_of(names):
    return pd.Series(pd.Categorical(names, categories=TRANSITIONS))


def leaks_of(pairs=(), near=()):
    return Leaks(pairs=list(pairs), premises=[], hypotheses=[], near_duplicates={case_id: ["t"] for case_id in near})


def test_repaired_cases_with_a_near_duplicate_in_training_are_counted():
    texts = [(CAPTION, "A woman feeds animals."), ("Two men sleep.", "Men sleep."), ("A cat.", "A dog."), ("x", "y")]
    test = make_cases(({"premise": p, "hypothesis": h}, "yes", ()) for p, h in texts)
    seen = [(CAPTION.replace("red", "blue"), "A woman feeds animals."), ("A cat.", "A dog.")]
    train = make_cases(({"premise": p, "hypothesis": h}, "no", ()) for p, h in seen)
    aligned = pd.DataFrame({"case_id": [case.case_id for case in test]})
    cells = cells_of(["repaired", "repaired", "broken", "both_right"])
    leaks = find_leaks(test, train, TASK)
    assert leaked(aligned, leaks, TASK).tolist() == [True, False, True, False]
    table = contamination(aligned, cells, leaks, TASK).set_index("transition")
    assert list(table.index) == list(TRANSITIONS)
    assert table.loc["repaired"].to_dict() == {"cases": 2, "same_inputs": 0, "near_duplicates": 1, "clean": 1}
    assert table.loc["broken"].to_dict() == {"cases": 1, "same_inputs": 1, "near_duplicates": 0, "clean": 0}
    assert table.loc["both_wrong_same"].sum() == 0


def test_the_golden_pair_keeps_its_numbers_on_the_clean_subset():
    # 100 clean cases as in the golden pair, and 20 leaked ones that are all repaired.
    golden = ["both_right"] * 39 + ["repaired"] * 49 + ["broken"] * 2 + ["both_wrong_same"] * 10
    aligned = pd.DataFrame({"case_id": [str(i) for i in range(120)]})
    metrics = clean_metrics(
        aligned, cells_of(golden + ["repaired"] * 20), leaks_of(near=map(str, range(100, 120))), TASK, 0.95, None
    )
    assert (metrics["leaked"], metrics["repaired_leaked"], metrics["broken_leaked"]) == (20, 20, 0)
    assert (metrics["clean_n"], metrics["clean_repaired"]) == (100, 49)
    assert metrics["clean_accuracy_delta"] == pytest.approx(0.47)
    assert metrics["clean_mcnemar_p"] == pytest.approx(1.1786127629e-12, rel=1e-10)


def test_without_leaks_the_clean_subset_is_the_whole():
    cells = cells_of(["both_right", "repaired", "broken"])
    metrics = clean_metrics(pd.DataFrame({"case_id": list("abc")}), cells, leaks_of(), TASK, 0.95, None)
    assert metrics["leaked"] == 0
    assert {k: v for k, v in metrics.items() if k.startswith("clean_")} == {
        f"clean_{key}": value for key, value in transition_metrics(cells, 0.95, None).items()
    }


def test_where_every_case_leaked_nothing_is_said_of_clean_ones():
    metrics = clean_metrics(
        pd.DataFrame({"case_id": ["a"]}), cells_of(["repaired"]), leaks_of(pairs=["a"]), TASK, 0.95, None
    )
    assert metrics == {"leaked": 1, "repaired_leaked": 1, "broken_leaked": 0, "clean_n": 0}
