import json
import shutil

import numpy as np
import pytest

from tests.imports import ROOT
from tests.program import tunediff
from tests.run_files import write_answers
from tests.settings import settle

TRANSITIONS = [*["both_right"] * 300, *["repaired"] * 60, *["broken"] * 20, *["both_wrong_same"] * 20]


def line(number, transition, shared=1):
    premise = f"premise {number // shared}"
    slices = ["negation: in hypothesis"] if transition == "broken" or number < 20 else []
    case = {"case_id": f"{number:016x}", "premise": premise, "hypothesis": f"{number}", "label": "neutral"}
    return case | {"transition": transition, "slices": slices}


def write(folder, lines):
    (folder / "data/cases.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.fixture
def folder(tmp_path):
    """What the stage diff_cases writes, as far as the gate reads it."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    settle(tmp_path)
    write(tmp_path, [line(number, one) for number, one in enumerate(TRANSITIONS)])
    (tmp_path / "metrics").mkdir()
    metrics = {"gain_over_baseline": 0.2, "gain_over_baseline_low": 0.15, "gain_over_baseline_high": 0.25}
    (tmp_path / "metrics/diff_cases.json").write_text(json.dumps(metrics))
    return tmp_path


@pytest.mark.parametrize(
    ("promise", "code", "said"),
    [
        (["--non-inferiority-margin", "0.01"], 0, "non-inferiority of all 400 cases: +10.0 points"),
        (["--max-negative-flip-rate", "0.05"], 4, "5.00% (95 % interval 3.08% to 7.62%), at most 5.00% allowed"),
        (["--max-negative-flip-rate", "0.02"], 3, "at most 2.00% allowed: fail"),
        (["--min-gain-over-baseline", "0.1"], 0, "gain over the best baseline of all 400 cases: +20.0 points"),
        (["--min-gain-over-baseline", "0.3"], 3, "at least +30.00 wanted: fail"),
        (["--sequential"], 0, "non-inferiority after 308 of all 400 cases: +2.6 points"),
        (["--sequential", "--max-negative-flip-rate", "0.9"], 0, "negative flips after 2 of all 400 cases"),
        (
            ["--non-inferiority-margin", "0.01", "--slice", "negation: in hypothesis", "--slice", "label: neutral"],
            3,
            "of the 40 cases of negation: in hypothesis: -50.0 points",
        ),
    ],
)
def test_the_verdict_is_the_exit_code(folder, promise, code, said):
    found, out, error = tunediff(folder, "gate", *promise)
    assert found == code
    assert said in out
    assert (error == "") == (code == 0)


def test_cases_that_share_a_premise_say_less(folder):
    assert tunediff(folder, "gate", "--max-negative-flip-rate", "0.08")[0] == 0
    write(folder, [line(number, one, shared=10) for number, one in enumerate(TRANSITIONS)])
    code, _, error = tunediff(folder, "gate", "--max-negative-flip-rate", "0.08")
    assert (code, "inconclusive" in error) == (4, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "gate: found no promise, expected one of --max-negative-flip-rate, --non-inferiority-margin, --max-for"),
        (["--min-gain-over-baseline", "20"], "--min-gain-over-baseline: found 20.0, expected a share in 0..1"),
        (["--sequential", "--min-gain-over-baseline", "0.1"], "--sequential: found --min-gain-over-baseline"),
        (["--max-forgotten-rate", "0.1"], "--max-forgotten-rate: found no other test set (also), expected at least"),
        (["--non-inferiority-margin", "0.1", "--slice", "tag: x"], "--slice: found 'tag: x', which has no"),
    ],
)
def test_a_promise_at_fault_ends_in_one_line(folder, arguments, message):
    code, out, error = tunediff(folder, "gate", *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert message in error


def test_results_that_are_not_there_or_others_are_refused(folder):
    write(folder, [line(0, "better")])
    code, _, error = tunediff(folder, "gate", "--non-inferiority-margin", "0.1")
    assert (code, error) == (
        1,
        "tunediff: data/cases.jsonl, row 1: found no case of the stage diff_cases (dvc repro)\n",
    )
    (folder / "metrics/diff_cases.json").write_text("[]")
    write(folder, [line(0, "broken")])
    code, _, error = tunediff(folder, "gate", "--min-gain-over-baseline", "0.1")
    assert (code, "metrics/diff_cases.json: gain_over_baseline: found None" in error) == (1, True)
    (folder / "data/cases.jsonl").unlink()
    assert tunediff(folder, "gate", "--non-inferiority-margin", "0.1")[0] == 1


def test_what_other_test_sets_forgot_is_held_against_a_promise(folder):
    """Of 100 sums, right before, four are wrong after."""
    path = folder / "data/settings/diff_cases.json"
    settings = json.loads(path.read_text())
    settings["sets"]["sums"] = settings["sets"]["test"]
    path.write_text(json.dumps(settings))
    arguments = "gate", "--max-forgotten-rate", "0.1"
    code, _, error = tunediff(folder, *arguments)
    assert (
        code,
        "gate: data/predictions/tuned/sums.parquet: is neither in the project nor in a reachable cache" in error,
    ) == (1, True)
    for model, wrong in (("base", 0), ("tuned", 4)):
        write_answers(folder / f"data/predictions/{model}/sums.parquet", np.arange(100) >= wrong)
    code, out, error = tunediff(folder, *arguments)
    assert (code, error) == (0, "")
    assert (
        "forgotten of the 100 cases of sums: 4.00% (95 % interval 1.10% to 9.93%), at most 10.00% allowed: pass" in out
    )
