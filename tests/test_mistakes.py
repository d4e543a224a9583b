"""Ten mistakes of published comparisons, each made once more here: refused, or named in the output.

Every test goes the way of a user, through a stage or a command, and sees the mistake refused or named.
"""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import log_softmax

from tests.imports import ROOT
from tests.made_answers import golden_pair, made_questions, run_stage, write_run
from tests.program import script, tunediff
from tests.project import SMALL
from tests.report.made import made_cases, usual_cases, write_inputs, write_params
from tests.settings import settle
from tests.whole_files import read_jsonl, write_predictions
from tunediff.compare.effects.label_bias import calibrated
from tunediff.data.cases import SETTING_COLUMNS, outcome, read_cases

LABELS = ["entailment", "neutral", "contradiction"]


def stage(folder, name, **paths):
    """Run a stage's script in a folder: exit code, standard output, standard error."""
    options = [part for key, path in paths.items() for part in (f"--{key.replace('_', '-')}", str(path))]
    done = script(folder, ROOT / "stages" / f"{name}.py", *options)
    return done.returncode, done.stdout, done.stderr


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def refused(done, *said):
    """One line, exit code 1, no traceback."""
    code, _, error = done
    assert (code, error.count("\n")) == (1, 1), error
    assert error.startswith("tunediff: ")
    assert all(words in error for words in said), error


# 1, 2: counts from the layout of a published system, without its weights


def count(folder, recipe, **adapt):
    """Run `count_params` on the layout of a recipe."""
    params = yaml.safe_load((ROOT / "recipes" / recipe).read_text(encoding="utf-8"))
    params["adapt"] |= adapt
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "models/base").mkdir(parents=True)
    (folder / "models/base/config.json").write_text(json.dumps(params["model"]["config"]))
    written = {"table": "parameters.csv", "metrics": "count.json", "cost": "cost.json"}
    settle(folder)
    return stage(folder, "count_params", settings="data/settings/count_params.json", base="models/base", **written)


def test_1_packed_storage_is_never_reported_as_the_number_of_parameters(tmp_path):
    code, out, error = count(tmp_path, "phi2-snli-a.yaml")
    assert code == 0, error
    counts = read_json(tmp_path / "count.json")
    # The write-up printed 1,542,364,160 parameters, of which 1.36 % were trained.
    assert (counts["tuned_total"], round(counts["trainable_percent"], 3)) == (2_800_655_360, 0.749)
    assert (counts["packed_total"], round(counts["packed_trainable_percent"], 2)) == (1_542_364_160, 1.36)
    assert "20,971,520 = 0.7488 % of 2,800,655,360" in out
    assert "1,542,364,160 elements: 2,516,582,400 4-bit parameters in 1,258,291,200" in out
    assert "of stored elements 1.3597 % are trained" in out


def test_2_target_modules_that_the_model_has_not_stop_the_run(tmp_path):
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    done = count(tmp_path, "phi2-snli-b.yaml", target_modules=targets)
    refused(done, "found o_proj, gate_proj, up_proj, down_proj, not linear layers", "dense, fc1, fc2")
    assert not (tmp_path / "count.json").exists()


# 3, 5: the report of files that a run wrote, or that somebody wrote over


def report(folder, cases):
    """The paths of a run's results, and a function that runs `report` on them."""
    paths = write_inputs(folder, cases)
    write_params(folder / "params.yaml")

    def run():
        done = run_stage(folder, "report")
        return done.returncode, done.stdout, done.stderr

    return paths, run


@pytest.mark.slow
def test_3_no_figure_of_the_report_is_a_blank_to_fill_in_or_prose_of_its_own(tmp_path):
    paths, run = report(tmp_path, usual_cases())
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert params["train"]["num_train_epochs"] != 3
    assert run()[0] == 0
    text = (tmp_path / "reports/report.md").read_text().replace("\N{NO-BREAK SPACE}", " ")
    # The run wrote three epochs and these seconds; what params.yaml says today is not what was run.
    assert "Trained for 3 epochs" in text
    assert "of which training took 00:04:23" in text
    cost = read_json(paths["costs"] / "train.json")
    (paths["costs"] / "train.json").write_text(json.dumps(cost | {"seconds": None}))
    refused(run(), "metrics/cost/train.json: seconds: found None, expected a number")
    (paths["costs"] / "train.json").unlink()
    refused(run(), "metrics/cost/train.json: there is no such file")


@pytest.mark.slow
def test_5_an_f1_that_is_the_accuracy_to_six_digits_is_named(tmp_path):
    cases = made_cases(both_right=30, repaired=40, broken=2, both_wrong_same=20)
    paths, run = report(tmp_path, cases)
    assert run()[0] == 0
    assert "Accuracy of the" not in (tmp_path / "reports/report.md").read_text()
    scores = read_json(paths["eval_tuned"])
    true = scores["macro_f1"]
    assert true != pytest.approx(scores["accuracy"], abs=1e-4)
    write_inputs(tmp_path, cases, eval_tuned={"macro_f1": scores["accuracy"]})
    assert run()[0] == 0
    text = (tmp_path / "reports/report.md").read_text().replace("&#95;", "_")
    assert "**Accuracy of the tuned model repeated.**" in text
    assert f"is also reported as macro_f1 (by the counts {true:.6f})" in text


# 4, 6, 8: two prediction files


def diff(folder, before, after, *options):
    """Run `tunediff diff` on two tables; exit code, report without no-break spaces, standard error."""
    before.to_json(folder / "before.jsonl", orient="records", lines=True)
    after.to_json(folder / "after.jsonl", orient="records", lines=True)
    code, out, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "out", *options)
    page = folder / "out/report.md"
    return code, page.read_text().replace("\N{NO-BREAK SPACE}", " ") if page.exists() else out, error


def answers(right, labels=("negative", "positive")):
    """A table of predictions, right or wrong as `right` says."""
    gold = [labels[i % 2] for i in range(len(right))]
    given = [label if one else labels[1 - labels.index(label)] for label, one in zip(gold, right, strict=True)]
    return pd.DataFrame({"case_id": [f"case {i}" for i in range(len(right))], "label": gold, "prediction": given})


def test_4_a_model_measured_on_2000_cases_before_and_on_500_after_is_not_compared(tmp_path):
    before = answers([i % 2 == 0 for i in range(2000)])
    after = answers([i % 5 > 0 for i in range(2000)])
    refused(
        diff(tmp_path, before, after.head(500)), "different cases: found 1500 only in before.jsonl", "the same case ids"
    )
    assert not (tmp_path / "out").exists()
    assert diff(tmp_path, before, after)[0] == 0


def test_6_a_classifier_that_says_positive_for_everything_is_called_degenerate(tmp_path):
    before = answers([i % 3 > 0 for i in range(872)])
    positive = before.assign(prediction="positive")
    code, text, _ = diff(tmp_path, before, positive)
    assert code == 0
    assert "**Degenerate " in text
    assert "It answers 'positive' for 100.0 % of 872 cases" in text.replace("&#39;", "'")
    assert "no better than always answering" in text


def test_8_a_hundred_cases_give_no_conclusion_without_interval_test_and_what_they_could_show(tmp_path):
    before = answers([True] * 41 + [False] * 59)
    after = answers([True] * 36 + [False] * 5 + [True] * 11 + [False] * 48)
    code, text, _ = diff(tmp_path, before, after)
    assert code == 0
    assert "No difference was shown between the model before and the model after on 100 test cases." in text
    assert "+6.0 points (95 % interval −" in text
    assert "exact McNemar test, p = 0.21" in text
    metrics = read_json(tmp_path / "out/metrics.json")
    assert metrics["accuracy_delta_low"] < 0 < metrics["accuracy_delta_high"]
    assert metrics["minimum_detectable_delta"] > 0.06
    assert f"{100 * metrics['minimum_detectable_delta']:.1f} points" in text


# 9, 10: the evidence of two prediction files on splits of the synthetic data


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Splits that `prepare` drew: 600 test cases."""
    folder = tmp_path_factory.mktemp("splits")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["data"]["synthetic"] = SMALL["data"]["synthetic"] | {"test": 600}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    (folder / "data/raw").mkdir(parents=True)
    settle(folder)
    paths = {"settings": "data/settings/prepare.json", "raw": "data/raw", "splits": "data/splits"}
    paths |= {"test-sets": "data/test_sets", "notes": "data/notes.json"}
    paths |= {"metrics": "prepare.json", "cost": "cost.json"}
    code, _, error = stage(folder, "prepare", **paths)
    assert code == 0, error
    return folder


def gold_of(folder):
    test = read_cases(folder / "data/test_sets/test.jsonl", ["premise", "hypothesis"], LABELS)
    return test, np.array([LABELS.index(case.label) for case in test])


def write_answers(path, cases, scores):
    """A prediction file of a model that chooses by these scores, writes what it chooses, and sees no cue."""
    log_probs = log_softmax(scores, axis=1)
    given = [LABELS[place] for place in log_probs.argmax(axis=1)]
    frame = pd.DataFrame(
        {
            "case_id": [case.case_id for case in cases],
            "label": [case.label for case in cases],
            "prediction": given,
            "outcome": [outcome(one, case.label) for one, case in zip(given, cases, strict=True)],
            "log_probs": log_probs.tolist(),
            "text": given,
            "finish_reason": "none",
            "scorer": "choices",
            "prompt_hash": [case.case_id for case in cases],
            "n_tokens": 9,
            "truncated": False,
            "generated": given,
            "generated_text": given,
            "premise_free_log_probs": [[float(np.log(1 / 3))] * 3] * len(cases),
        }
    )
    assert {"generated", "premise_free_log_probs"} <= set(SETTING_COLUMNS)
    write_predictions(path, frame, {"labels": LABELS})


def evidence(folder, base, tuned):
    """Run `diff_cases` on two prediction files; the folder that it wrote to."""
    out = folder / f"{base}-{tuned}"
    paths = {"cases": "cases.jsonl", "plots": "plots", "metrics": "diff.json", "baselines": "baselines.json"}
    paths |= {
        "calibration": "calibration.json",
        "cost": "cost.json",
        "checks": "checks.json",
        "summary": "summary.json",
    }
    read = {"settings": "data/settings/diff_cases.json", "base": base, "tuned": tuned, "splits": "data/splits"}
    read |= {"test-sets": "data/test_sets", "notes": "data/notes.json"}
    made = write_inputs(folder / "made", usual_cases())
    read |= {name: made[name] for name in ("prepare", "base_model", "eval_base", "eval_tuned", "train_log")}
    done = stage(folder, "diff_cases", **read, **{name: f"{out.name}/{path}" for name, path in paths.items()})
    assert done[0] == 0, done[2]
    return out


@pytest.mark.slow
def test_9_every_clause_of_an_explanation_cites_a_field_of_its_case_and_another_model_gets_another(splits):
    cases, gold = gold_of(splits)
    generator = np.random.default_rng(3)
    for name, strength in (("weak", 0.3), ("strong", 1.5), ("other", 1.5)):
        write_answers(
            splits / f"{name}/test.parquet", cases, generator.normal(size=(600, 3)) + strength * np.eye(3)[gold]
        )
    explained = {}
    for tuned in ("strong", "other"):
        folder = evidence(splits, "weak", tuned)
        records = {record["case_id"]: record for record in read_jsonl(folder / "cases.jsonl") if "evidence" in record}
        assert records
        for record in records.values():
            known = set(record["evidence"]) | set(record)
            assert record["clauses"]
            for clause in record["clauses"]:
                assert clause["fields"], clause
                assert set(clause["fields"]) <= known, clause
            assert all(clause["text"].lower() in record["explanation"].lower() for clause in record["clauses"])
            assert f"{abs(record['tuned_margin']):.2f} nats" in record["explanation"]
        explained[tuned] = records
    both = explained["strong"].keys() & explained["other"].keys()
    assert len(both) > 20
    different = [
        case for case in both if explained["strong"][case]["explanation"] != explained["other"][case]["explanation"]
    ]
    assert len(different) > 0.95 * len(both)


@pytest.mark.slow
def test_10_a_gain_that_only_takes_back_a_label_preference_is_not_called_reasoning(splits):
    cases, gold = gold_of(splits)
    reads = calibrated(np.random.default_rng(5).normal(size=(600, 3)) + 1.5 * np.eye(3)[gold])
    write_answers(splits / "prefers/test.parquet", cases, reads + np.array([9.0, 0.0, 0.0]))
    write_answers(splits / "even/test.parquet", cases, reads)
    folder = evidence(splits, "prefers", "even")
    metrics = read_json(folder / "diff.json")
    assert metrics["accuracy_delta"] > 0.2
    assert metrics["gain_label_bias"] == pytest.approx(metrics["accuracy_delta"], abs=1e-9)
    assert (metrics["gain_answer_format"], metrics["gain_partial_input"], metrics["gain_residual"]) == (0, 0, 0)
    checks = {check["name"]: check["sentence"] for check in read_json(folder / "checks.json")}
    assert "It answers 'entailment' for 100.0 % of 600 cases" in checks["Degenerate base model"]
    [prior] = [row for row in pd.read_csv(folder / "plots/gain.csv").to_dict("records") if row["part"] == "label_bias"]
    assert 0 < prior["low"] < prior["points"] == pytest.approx(100 * metrics["accuracy_delta"])


# 7: figures of pretraining and of answers in words


@pytest.mark.slow
def test_7_a_perplexity_above_the_vocabulary_and_text_metrics_near_zero_raise_checks(tmp_path):
    test, train = made_questions(100, "test"), made_questions(60, "train")
    write_run(tmp_path / "questions", test, train, *golden_pair(test))
    pretrained = tmp_path / "questions/metrics/base_model.json"
    for perplexity, named in ((12.0, False), (1_430_521.3, True)):
        pretrained.write_text(json.dumps({"perplexity": perplexity, "vocab_size": 30_522}))
        done = run_stage(tmp_path / "questions", "diff_cases")
        assert done.returncode == 0, done.stderr
        sentence = "The perplexity of 1,430,521 is above that of guessing evenly among 30,522 tokens"
        assert (sentence in done.stdout) == named
    scores = tmp_path / "questions/metrics/eval_tuned.json"
    # As the write-up printed them: beside this F1, ROUGE of predictions held against the answers of other questions.
    for rouge, named in ((0.8, False), (1.2e-5, True)):
        scores.write_text(json.dumps(read_json(scores) | {"rouge1": rouge, "rougeL": rouge}))
        done = run_stage(tmp_path / "questions", "diff_cases")
        assert done.returncode == 0, done.stderr
        assert ("Text metrics of the tuned model near zero" in done.stdout) == named
        assert ("predictions and references are probably misaligned" in done.stdout) == named
