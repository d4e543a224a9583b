"""Copies of cases that are named as clusters add nothing: every interval is that of the cases without their copies."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from tunediff.compare.comparison import compare_run
from tunediff.compare.effects.contamination import clean_metrics
from tunediff.compare.effects.transitions import TRANSITIONS, transition_metrics
from tunediff.compare.evidence import gather
from tunediff.config.diff import Diff
from tunediff.data.cases import Case, outcome
from tunediff.data.leaks import Leaks
from tunediff.tasks.classification import Inference

LABELS = ["yes", "maybe", "no"]
TASK = Inference("nli", ["premise", "hypothesis"], LABELS, "premise", "hypothesis")
N = 150
# Intervals from a bootstrap of clusters or a t interval over them are the same; Tango's, of cases, is near a bootstrap.
SAME, NEAR = 1e-9, 0.08


def made_up(copies, named):
    """The evidence of 150 cases, each there so many times; the premise is shared by its copies where they are named."""
    rng = np.random.default_rng(7)
    gold = rng.integers(3, size=N)
    logits = {"base": rng.normal(size=(N, 3)) + 0.6 * np.eye(3)[gold]}
    logits["tuned"] = 2 * logits["base"] + 1.4 * np.eye(3)[gold] + rng.normal(size=(N, 3))
    cases, frames = [], {who: [] for who in logits}
    for at in np.repeat(np.arange(N), copies):
        number, label = len(cases), LABELS[gold[at]]
        premise = f"premise {at}" if named else f"premise {number}"
        tags = ("even",) if at % 2 == 0 else ()
        cases.append(Case(f"{number:016x}", {"premise": premise, "hypothesis": f"words {at % 9}"}, label, tags))
        for who, scores in logits.items():
            given = LABELS[scores[at].argmax()]
            frames[who].append(
                {
                    **{"case_id": cases[-1].case_id, "label": label, "prediction": given, "scorer": "choices"},
                    **{"outcome": outcome(given, label), "log_probs": log_softmax(scores[at]), "prompt_hash": "p"},
                    "premise_free_log_probs": log_softmax(np.roll(scores[at], 1)),
                }
            )
    seen = [case.case_id for number, case in enumerate(cases) if (number // copies) % 5 == 0]
    leaks = Leaks(seen, [], [], {})
    train = [Case(f"t{at}", {"premise": "p", "hypothesis": f"words {at % 9}"}, LABELS[at % 3]) for at in range(60)]
    base, tuned = (pd.DataFrame(frames[who]) for who in ("base", "tuned"))
    return gather(compare_run(base, tuned, train, cases, leaks, TASK, Diff(slice_min_cases=10 * copies)))


@pytest.fixture(scope="module")
def widths():
    """The width of every interval, by what it is of, of 150 cases, 450 in 150 clusters, and 450 taken for separate."""
    found = []
    for copies, named in ((1, True), (3, True), (3, False)):
        evidence = made_up(copies, named)
        figures = evidence.metrics | evidence.figures["calibration"] | evidence.figures["contamination"]
        ends = {key[:-4]: (figures[key], figures[f"{key[:-4]}_high"]) for key in figures if key.endswith("_low")}
        for name, keys in (("slices", ["family", "value"]), ("baselines", ["baseline"]), ("gain", ["part"])):
            rows = evidence.tables[name].to_dict("records")
            ends |= {"/".join([name, *(row[key] for key in keys)]): (row["low"], row["high"]) for row in rows}
        found.append({name: high - low for name, (low, high) in ends.items()})
    return found


EXACT = ("nll_delta", "brier_delta", "ece_base", "ece_tuned", "ece_delta")


@pytest.mark.parametrize("name", EXACT)
def test_the_interval_of_a_calibration_is_that_of_the_cases_without_their_copies(widths, name):
    alone, copied, separate = (width[name] for width in widths)
    assert copied == pytest.approx(alone, rel=SAME)
    assert separate < 0.7 * copied


def test_the_interval_of_every_difference_is_that_of_the_cases_without_their_copies(widths):
    alone, copied, separate = widths
    # An exact interval of a rate, which knows no clusters.
    names = set(alone) - {"negative_flip_rate", "clean_negative_flip_rate", *EXACT}
    assert {"accuracy_delta", "clean_accuracy_delta", "gain_over_baseline", "slices/tag/even"} <= names
    assert {"baselines/majority", "gain/label_bias", "slices/label/yes"} <= names
    for name in names:
        assert copied[name] == pytest.approx(alone[name], rel=NEAR), name
        assert separate[name] < 0.7 * copied[name], name


@pytest.mark.parametrize(
    ("clusters", "interval"),
    [(np.repeat(np.arange(N), 3), (-0.047, 0.147)), (np.arange(3 * N), (-0.003, 0.110)), (None, (-0.003, 0.110))],
)
def test_150_clusters_of_three_equal_cases_say_no_more_than_150_cases_do(clusters, interval):
    """32 clusters repaired, 24 broken: Tango's interval of 450 separate cases is 1.7 times too short."""
    transition = np.repeat(["repaired"] * 32 + ["broken"] * 24 + ["both_right"] * 94, 3)
    cells = pd.Series(pd.Categorical(transition, categories=TRANSITIONS))
    shared = None if clusters is None else pd.Series(clusters)
    all_cases = transition_metrics(cells, 0.95, shared)
    aligned = pd.DataFrame({"case_id": [str(at) for at in range(3 * N)]})
    clean = clean_metrics(aligned, cells, Leaks([], [], [], {}), TASK, 0.95, shared)
    for found in (all_cases, {key.removeprefix("clean_"): value for key, value in clean.items()}):
        assert found["accuracy_delta"] == pytest.approx(8 / 150)
        ends = found["accuracy_delta_low"], found["accuracy_delta_high"]
        assert tuple(round(end, 3) for end in ends) == interval
