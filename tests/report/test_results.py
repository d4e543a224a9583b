import json

import pytest

from tests.report.made import NO_PRICE, TASK, made_cases, write_inputs
from tunediff.report.results import STAGES, read_results
from tunediff.runtime.errors import TunediffError


@pytest.fixture
def paths(tmp_path):
    return write_inputs(tmp_path, made_cases(both_right=3, repaired=4, broken=1, both_wrong_changed=2))


def read(paths):
    return read_results(paths, TASK, 0.95, NO_PRICE)


def refused(paths):
    with pytest.raises(TunediffError) as caught:
        read(paths)
    (line,) = caught.value.args
    assert "\n" not in line
    return line


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_case(paths, **values):
    first, *rest = paths["cases"].read_text().splitlines()
    paths["cases"].write_text("\n".join([json.dumps({**json.loads(first), **values}), *rest]))


def test_what_was_written_is_read_and_its_file_is_known(paths):
    results = read(paths)
    assert results.diff_cases["repaired"] == 4
    assert len(results.cases) == 10
    assert results.train_log[0]["train_loss"] == 1.021
    assert list(results.costs) == list(STAGES)
    assert results.sources["diff_cases"] == str(paths["diff_cases"])


def test_a_loss_that_was_not_measured_is_none(paths):
    paths["train_log"].write_text("epoch,step,train_loss,validation_loss\n1,500,0.9,\n")
    assert read(paths).train_log == [{"epoch": 1, "step": 500, "train_loss": 0.9, "validation_loss": None}]
    paths["train_log"].write_text("epoch,step,train_loss,validation_loss,validation_accuracy\n1,500,0.9,0.8,0.75\n")
    assert read(paths).train_log[0]["validation_accuracy"] == 0.75


def test_a_base_that_others_trained_has_an_empty_log_and_a_vocabulary(paths):
    results = read(paths)
    assert results.pretrain_log == []
    assert results.base_model == {"vocab_size": 51200}
    paths["pretrain_log"].write_text(f"{paths['pretrain_log'].read_text()}1,9,2.5,2.0,7.4,,\n")
    [row] = read(paths).pretrain_log
    assert (row["perplexity"], row["mlm_accuracy"], row["nsp_accuracy"]) == (7.4, None, None)


def test_a_tuned_model_that_was_not_trained_here_has_no_losses_and_no_environment(tmp_path):
    paths = write_inputs(tmp_path, made_cases(both_right=3, repaired=4), pinned=True)
    results = read(paths)
    assert (results.train, results.train_log) == ({}, [])
    assert list(results.environments) == ["predict_base", "predict_tuned"]


def test_losses_without_their_log_and_a_log_without_its_losses_are_refused(paths):
    written = paths["train"].read_text()
    paths["train"].write_text("{}")
    line = refused(paths)
    assert line.startswith(f"{paths['train']}: found no epochs, steps, train_loss, validation_loss, but")
    paths["train"].write_text(written)
    paths["train_log"].write_text("epoch,step,train_loss,validation_loss\n")
    assert refused(paths) == f"{paths['train_log']}: found no row, expected at least one"


def test_a_missing_file_is_named(paths):
    paths["baselines"].unlink()
    assert refused(paths) == f"{paths['baselines']}: there is no such file"


def test_a_missing_cost_names_its_stage(paths):
    (paths["costs"] / "train.json").unlink()
    assert "train.json: there is no such file" in refused(paths)


def test_a_missing_key_is_named(paths):
    values = json.loads(paths["train"].read_text())
    del values["steps"]
    paths["train"].write_text(json.dumps(values))
    assert f"{paths['train']}: found no steps" in refused(paths)


def test_a_metric_that_is_no_number_is_named(paths):
    change(paths["eval_tuned"], nll="low")
    assert "nll: found 'low', expected a number" in refused(paths)


def test_metrics_of_other_cases_are_refused(paths):
    change(paths["eval_tuned"], n=11)
    assert "found 10 cases (n)" in refused(paths)
    assert "eval_tuned.json has 11" in refused(paths)


def test_transitions_that_do_not_add_up_with_the_cases_are_refused(paths):
    change(paths["diff_cases"], broken=2)
    assert "found 1 cases (broken)" in refused(paths)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": "maybe"}, "label: found 'maybe', expected one of entailment, neutral, contradiction"),
        ({"premise": None}, "premise: found None, expected text"),
        ({"tuned_prediction": "maybe"}, "tuned_prediction: found 'maybe', expected null or a label"),
        ({"transition": "fixed"}, "transition: found 'fixed', expected one of both_right"),
        ({"base_log_probs": [-1.0, -2.0]}, "base_log_probs: found [-1.0, -2.0], expected 3 numbers"),
        ({"base_log_probs": [-1.0, -2.0, float("nan")]}, "expected 3 numbers"),
    ],
)
def test_a_case_at_fault_is_named_by_row(paths, values, message):
    change_case(paths, **values)
    line = refused(paths)
    assert line.startswith(f"{paths['cases']}, row 1: ")
    assert message in line


def test_a_missing_column_of_a_table_is_named(paths):
    paths["train_log"].write_text("epoch,step,loss\n1,1,1\n")
    assert "found no column train_loss, validation_loss" in refused(paths)


def test_a_word_in_a_column_of_numbers_is_named_by_row(paths):
    paths["train_log"].write_text("epoch,step,train_loss,validation_loss\n1,1,high,1\n")
    assert "row 1: train_loss: found 'high', expected a number" in refused(paths)


def test_text_that_reorders_what_stands_around_it_is_made_visible(paths):
    change_case(paths, hypothesis="ab\u202ecd", tags=["x\u2066y"])
    case = read(paths).cases[0]
    assert case["hypothesis"] == "ab⟨U+202E⟩cd"
    assert case["tags"] == ["x⟨U+2066⟩y"]


def test_what_was_not_asked_for_is_empty_and_what_was_has_its_file(paths, tmp_path):
    results = read(paths)
    assert (results.gain, results.reliability, results.worth) == ((), (), ())
    assert "gain" not in results.sources
    asked = read(write_inputs(tmp_path / "asked", made_cases(repaired=20, broken=20), evidence=True))
    assert [row["part"] for row in asked.gain] == ["answer_format", "label_bias", "partial_input", "residual"]
    assert {row["family"] for row in asked.slices} == {"tag", "label", "negation"}
    assert {row["model"] for row in asked.reliability} == {"base", "tuned"}
    assert asked.worth[0]["baseline"] == "calibrated_base"
    assert asked.sources["worth"].endswith("plots/baselines.csv")
    assert {"nll_delta", "brier_delta", "ece_tuned_high"} <= set(asked.calibration)


def test_cases_are_counted_by_label_answers_and_outcomes(tmp_path):
    results = read(write_inputs(tmp_path, made_cases(both_right=3, repaired=4, both_wrong_changed=2, invalid_base=1)))
    assert sum(cell.cases for cell in results.cells) == 9
    assert {(flow.before, flow.after): flow.cases for flow in results.flows} == {
        ("right", "right"): 3,
        ("wrong", "right"): 3,
        ("invalid", "right"): 1,
        ("wrong", "wrong"): 2,
    }


def test_a_row_after_an_empty_line_is_named_by_its_line(paths):
    first, *rest = paths["cases"].read_text().splitlines()
    bad = json.dumps({**json.loads(rest[0]), "label": "maybe"})
    paths["cases"].write_text("\n".join([first, "", bad, *rest[1:]]))
    assert refused(paths).startswith(f"{paths['cases']}, row 3: label: found 'maybe'")


@pytest.mark.parametrize("text", ['{"name": "x"}', '[{"name": "x"}]', "[1]"])
def test_checks_of_another_shape_are_refused(paths, text):
    paths["checks"].write_text(text)
    assert "checks.json: found" in refused(paths)
    assert "expected a list of objects with code, name, sentence, acknowledged" in refused(paths)


def test_a_margin_that_is_no_number_is_named(paths):
    change_case(paths, base_margin="far")
    assert "row 1: base_margin: found 'far', expected a number of nats" in refused(paths)
