import json
import math

import pandas as pd
import pytest

from tests.made_pairs import made_up_pair
from tests.program import tunediff
from tests.shared_data import shared_data
from tests.whole_files import write_predictions
from tunediff.commands.diff import gather_and_write
from tunediff.compare.comparison import compare_files
from tunediff.compare.pairs import predictions, stored
from tunediff.compare.pairs.prediction_files import read_predictions
from tunediff.compare.pairs.predictions import Fields
from tunediff.runtime import beside

FILES = {"metrics.json", "cases.jsonl", "checks.json", "report.md", "report.html"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A made-up pair as JSON lines and CSV, with hostile text in a case."""
    folder = tmp_path_factory.mktemp("pair")
    for name, table in zip(("before", "after"), made_up_pair(), strict=True):
        table["text"] = [f"<img src=x onerror=alert({i})> | a *b* `c`" for i in range(100)]
        table.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
        table.rename(columns={"label": "gold", "prediction": "answer"}).drop(columns="case_id").to_csv(
            folder / f"{name}.csv", index=False
        )
    return folder


@pytest.mark.slow
def test_the_five_files_are_written_and_the_figures_printed(folder):
    code, out, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--input-fields", "text", "--out", "a/b")
    assert (code, error) == (0, "")
    assert "accuracy 41.0% -> 88.0% on 100 cases: 49 repaired - 2 broken = +47" in out
    assert "exact McNemar p = 1.18e-12" in out
    assert "2 of 100 = 2.00% (exact interval 0.24% to 7.04%), 4.88% of the 41 that were right" in out
    assert {path.name for path in (folder / "a/b").iterdir()} == FILES
    metrics = json.loads((folder / "a/b/metrics.json").read_text())
    assert (metrics["repaired"], metrics["broken"], metrics["became_invalid"]) == (49, 2, 0)
    lines = [json.loads(line) for line in (folder / "a/b/cases.jsonl").read_text().splitlines()]
    assert [line["transition"] for line in lines[39:41]] == ["repaired", "repaired"]
    assert lines[7]["text"].startswith("<img src=x onerror=alert(7)>")


def test_hostile_text_stays_text_in_both_reports(folder):
    tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--input-fields", "text", "--out", "hostile")
    html, markdown = ((folder / "hostile" / name).read_text() for name in ("report.html", "report.md"))
    assert "onerror=alert(88)" in html
    assert "<img" not in html + markdown
    assert "| a *b*" not in markdown
    assert html.count("<script") == 2
    assert "://" not in html


def test_csv_without_an_id_gives_the_same_metrics(folder):
    fields = ["--label-field", "gold", "--prediction-field", "answer", "--input-fields", "text"]
    assert tunediff(folder, "diff", "before.csv", "after.csv", *fields, "--out", "csv")[0] == 0
    assert tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "jsonl")[0] == 0
    assert (folder / "csv/metrics.json").read_text() == (folder / "jsonl/metrics.json").read_text()


def test_an_interval_over_a_handful_of_clusters_is_explained(folder):
    for name in ("before", "after"):
        table = pd.read_json(folder / f"{name}.jsonl", lines=True)
        for clusters, column in ((4, "few"), (50, "many")):
            table[column] = [case % clusters for case in range(len(table))]
        table.to_json(folder / f"{name}-clusters.jsonl", orient="records", lines=True)
    said = {
        column: tunediff(
            folder, "diff", "before-clusters.jsonl", "after-clusters.jsonl", "--cluster-field", column, "--out", column
        )[1]
        for column in ("few", "many")
    }
    assert "TD208 Few clusters: The 100 cases form 4 clusters of related cases." in said["few"]
    assert "TD208" not in said["many"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("promise", "expected"),
    [
        (["--max-negative-flip-rate", "0.08"], "pass"),
        # 2 of 100: the rate is 0.02, its interval 0.0024 to 0.07038, so a limit of the rate itself does not pass.
        (["--max-negative-flip-rate", "0.07"], "inconclusive"),
        (["--max-negative-flip-rate", "0.002"], "fail"),
        (["--non-inferiority-margin", "0.01", "--slice", "label: yes", "--slice", "label: no"], "pass"),
        (["--non-inferiority-margin", "0", "--max-negative-flip-rate", "0.002"], "fail"),
        (["--sequential"], "pass"),
        (["--sequential", "--max-negative-flip-rate", "0.02"], "inconclusive"),
    ],
)
def test_the_verdict_is_the_exit_code_and_stands_in_the_metrics(folder, promise, expected):
    code, out, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "gate", *promise)
    assert code == {"pass": 0, "fail": 3, "inconclusive": 4}[expected]
    assert {path.name for path in (folder / "gate").iterdir()} == FILES
    metrics = json.loads((folder / "gate/metrics.json").read_text())
    assert metrics["verdict"] == expected
    assert f"verdict: {expected}\n" in out
    assert (error == "") == (expected == "pass")
    if expected == "inconclusive" and "--sequential" not in promise:
        needed = metrics["verdict_cases_needed"]
        assert f"about {needed:,} cases would be conclusive, {needed - 100:,} more" in error


def test_a_file_against_itself_passes_with_the_cases_for_it_and_has_no_verdict_where_nothing_is_promised(folder):
    same = ["diff", "before.jsonl", "before.jsonl", "--out", "same"]
    assert tunediff(folder, *same)[0] == 0
    assert "verdict" not in json.loads((folder / "same/metrics.json").read_text())
    # Without a flip the bound is -z^2 / (n + z^2): -3.70 points with 100 cases.
    assert tunediff(folder, *same, "--non-inferiority-margin", "0.038")[0] == 0
    code, _, error = tunediff(folder, *same, "--non-inferiority-margin", "0.01")
    assert code == 4
    assert "about 381 cases would be conclusive, 281 more" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.jsonl", "missing.jsonl"], "missing.jsonl: there is no such file"),
        (
            ["before.jsonl", "after.csv", "--input-fields", "text"],
            "after.csv: found no column 'prediction' among ['gold', 'answer', 'text']",
        ),
        (["before.jsonl", "after.jsonl", "--id-field", "label"], "case_id: found 2 more than once (yes, no)"),
        (["before.jsonl", "after.jsonl", "--max-negative-flip-rate", "7"], "found 7.0, expected a share in 0..1"),
        (["before.jsonl", "after.jsonl", "--slice", "label: yes"], "--slice: found without --non-inferiority-margin"),
        (
            ["before.jsonl", "after.jsonl", "--non-inferiority-margin", "0.1", "--slice", "label: maybe"],
            "--slice: found 'label: maybe', which has no cases; expected one of label: no, label: yes",
        ),
        (["before.jsonl", "after.jsonl", "--confidence", "95"], "confidence: found 95.0"),
        (["before.jsonl", "after.jsonl", "--data", "dev.json"], "with a .jsonl file"),
    ],
)
def test_bad_input_ends_in_one_line_with_nothing_written(folder, arguments, message):
    code, out, error = tunediff(folder, "diff", *arguments, "--out", "never")
    assert (code, out) == (1, "")
    assert error.startswith("tunediff: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "never").exists()


def test_an_earlier_result_and_its_neighbours_stay_where_a_run_fails(folder):
    (folder / "kept").mkdir()
    (folder / "kept/metrics.json").write_text("old")
    (folder / "kept/notes.txt").write_text("mine")
    (folder / "bad.jsonl").write_text('{"case_id": 1}\n')
    assert tunediff(folder, "diff", "before.jsonl", "bad.jsonl", "--out", "kept")[0] == 1
    assert {path.name: path.read_text() for path in (folder / "kept").iterdir()} == {
        "metrics.json": "old",
        "notes.txt": "mine",
    }
    assert tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "kept")[0] == 0
    assert {path.name for path in (folder / "kept").iterdir()} == FILES | {"notes.txt"}


def test_cases_that_another_process_writes_meanwhile_are_those_written_afterwards(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "cores", lambda: 2)
    for module in (predictions, stored):
        monkeypatch.setattr(module, "ROWS", 7)  # both processes read fifteen parts of the same unnamed files
    fields = Fields(inputs=("text",))
    for at_once in (False, True):
        files = (read_predictions(folder / f"{name}.jsonl", fields) for name in ("before", "after"))
        comparison = compare_files(*files, folder=tmp_path)
        gather_and_write(comparison, tmp_path / str(at_once), ("before", "after"), (), at_once)
    for name in FILES:
        assert (tmp_path / "True" / name).read_bytes() == (tmp_path / "False" / name).read_bytes()


@pytest.mark.slow
def test_files_that_were_computed_in_different_environments_are_told_of_in_print_and_on_both_pages(tmp_path):
    for name, table, torch in zip(("before", "after"), made_up_pair(), ("2.12.0", "2.13.0"), strict=True):
        outcomes = ["right" if a == b else "wrong" for a, b in zip(table["prediction"], table["label"], strict=True)]
        frame = table.assign(outcome=outcomes, log_probs=None, text="", finish_reason="none", scorer="head")
        frame = frame.assign(prompt_hash="p", n_tokens=3, truncated=False)
        about = {"labels": ["yes", "no"], "environment": {"torch": torch, "device": "NVIDIA A40"}}
        write_predictions(tmp_path / f"{name}.parquet", frame, about)
    code, out, error = tunediff(tmp_path, "diff", "before.parquet", "after.parquet", "--out", "out")
    assert (code, error) == (0, "")
    line = "Environment changed between the evaluations: torch 2.12.0 before, 2.13.0 after. "
    assert line in out
    for name in ("report.md", "report.html"):
        assert "torch 2.12.0 before, 2.13.0 after. " in (tmp_path / "out" / name).read_text()
    _, out, _ = tunediff(tmp_path, "diff", "before.parquet", "before.parquet", "--out", "same")
    assert "Environment" not in out + (tmp_path / "same/report.md").read_text()


def test_a_file_in_the_place_of_the_folder_is_refused(folder):
    (folder / "file").write_text("x")
    code, _, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "file")
    assert (code, error) == (1, "tunediff: file: is not a folder, expected one to write to (--out)\n")


def test_help_names_the_commands_and_a_wrong_option_ends_without_a_traceback(folder):
    assert "diff" in tunediff(folder, "--help")[1]
    assert "--max-negative-flip-rate" in tunediff(folder, "diff", "--help")[1]
    code, _, error = tunediff(folder, "diff", "before.jsonl", "after.jsonl", "--out", "x", "--nonsense")
    assert code == 2
    assert "Traceback" not in error


@pytest.mark.pipeline
def test_the_two_published_squad_files_are_compared_on_the_questions_of_both(tmp_path):
    data = json.loads(shared_data("squad/dev-v2.0.json").read_text())
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            paragraph["qas"] = [question for question in paragraph["qas"] if question["answers"]]
    (tmp_path / "both.json").write_text(json.dumps(data))
    bert, rnet = (
        shared_data(f"squad/predictions-{name}.json").resolve() for name in ("v2.0-bert-single", "v1.1-r-net-plus")
    )
    assert tunediff(tmp_path, "diff", bert, rnet, "--data", "both.json", "--out", "out")[0] == 0
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["n"] == 5928
    # The golden scores of BERT on the questions that have an answer.
    assert 100 * metrics["accuracy_base"] == pytest.approx(74.10593792172739)
    assert 100 * metrics["f1_base"] == pytest.approx(80.18183293833508)
    assert metrics["f1_delta_low"] < metrics["f1_delta"] < metrics["f1_delta_high"]
    # On the whole of version 2.0 R-Net has no answer to most questions: refused, not scored as wrong.
    whole = shared_data("squad/dev-v2.0.json").resolve()
    code, _, error = tunediff(tmp_path, "diff", bert, rnet, "--data", whole, "--out", "never")
    assert code == 1
    assert "found no answer to 5945 of the 11873 questions" in error


def test_what_scores_were_taken_for_is_printed_and_written(folder):
    for name, first in (("rounded", [0.51, 0.49, 0.0]), ("raw", [2.5, -1.0, 0.0])):
        rows = [
            {"case_id": n, "label": label, "prediction": label, "scores": dict(zip("abc", scores, strict=True))}
            for n, (label, scores) in enumerate((("a", first), ("c", [0.1, 0.07, 0.82])))
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = tunediff(folder, "diff", "rounded.jsonl", "raw.jsonl", "--scores-field", "scores", "--out", "scored")
    assert code == 0
    assert "  scores: interpreted as probabilities before, logits or log-likelihoods after\n" in out
    metrics = json.loads((folder / "scored/metrics.json").read_text())
    assert (metrics["scores_base"], metrics["scores_tuned"]) == ("probabilities", "logits or log-likelihoods")
    case = json.loads((folder / "scored/cases.jsonl").read_text().splitlines()[0])
    assert case["base_log_probs"][:2] == pytest.approx([math.log(0.51), math.log(0.49)])


def test_answers_that_have_other_names_than_the_labels_are_printed(folder):
    (folder / "names.csv").write_text("case_id,label,prediction\n" + "1,0,LABEL_0\n2,1,LABEL_1\n")
    code, out, _ = tunediff(folder, "diff", "names.csv", "names.csv", "--out", "names")
    assert code == 0
    assert "TD401 Answers outside the labels: Of the 2 answers of names.csv, none" in out
    assert "LABEL" in (folder / "names/report.md").read_text()


def test_one_file_has_the_answers_of_both_models(tmp_path):
    rows = ["id,gold,pred_before,pred_after", "1,a,b,a", "2,b,b,b", "3,a,a,"]
    (tmp_path / "both.csv").write_text("\n".join(rows) + "\n")
    fields = [
        "--before-field",
        "pred_before",
        "--after-field",
        "pred_after",
        "--label-field",
        "gold",
        "--id-field",
        "id",
    ]
    code, out, error = tunediff(tmp_path, "diff", "both.csv", *fields, "--out", "out")
    assert (code, error) == (0, "")
    assert "read both.csv (pred_before): a table, pred_before compared with gold, cases by id\n" in out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [metrics[name] for name in ("n", "both_right", "repaired", "broken", "became_invalid")] == [3, 1, 1, 1, 1]


def test_one_file_needs_no_ids_and_may_call_its_labels_gold(tmp_path):
    rows = ["gold,pred_before,pred_after", "a,b,a", "a,b,a", "b,b,"]
    (tmp_path / "both.csv").write_text("\n".join(rows) + "\n")
    fields = ["--before-field", "pred_before", "--after-field", "pred_after", "--out", "out"]
    code, out, _ = tunediff(tmp_path, "diff", "both.csv", *fields)
    assert code == 0
    assert "read both.csv (pred_after): a table, pred_after compared with gold, cases by row\n" in out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [metrics[name] for name in ("n", "repaired", "broken")] == [3, 2, 1]
    # In two files nothing says which row is which case.
    code, _, error = tunediff(
        tmp_path, "diff", "both.csv", "both.csv", "--prediction-field", "pred_after", "--out", "x"
    )
    assert (code, "found no column case_id among" in error) == (1, True)


def test_one_file_of_ready_outcomes_names_a_column_for_each_model(tmp_path):
    (tmp_path / "both.csv").write_text("id,f1_before,f1_after\n1,0.2,0.9\n2,1,0.4\n3,0.8,0.8\n")
    fields = ["both.csv", "--id-field", "id", "--threshold", "0.5", "--out", "out", "--correct-field"]
    code, out, _ = tunediff(tmp_path, "diff", *fields, "f1_before,f1_after")
    assert code == 0
    assert "read both.csv (f1_after): a table, right according to f1_after from 0.5, cases by id" in out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [metrics[name] for name in ("both_right", "repaired", "broken")] == [1, 1, 1]
    code, _, error = tunediff(tmp_path, "diff", *fields, "f1_before")
    assert code == 1
    assert "--correct-field: found f1_before, expected two columns, before and after" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["before.jsonl"], "found no column 'base_prediction' among"),
        (["before.jsonl", "after.jsonl", "--threshold", "0.5"], "is a table, found --threshold, expected it with"),
        (["before.jsonl", "after.jsonl", "--metric", "acc"], "is a table, found --metric acc"),
        (["before.jsonl", "--before-field", "prediction", "--after-field", "prediction"], "the answers of one model"),
        (["before.jsonl", "after.jsonl", "--before-field", "x"], "found with two files, expected one file"),
        (["before.jsonl", "--scores-field", "x"], "found with one file, expected two files"),
        (["before.jsonl", "after.jsonl", "--filter", "x"], "is a table, found --filter x"),
        (["before.jsonl", "after.jsonl", "--threshold", "nan"], "--threshold: found nan, expected a finite number"),
        (["before.jsonl", "--prediction-field", "x"], "--prediction-field: found with one file"),
        (["before.jsonl", "after.jsonl", "--no-answer", "a", "b"], "with a .jsonl file, expected SQuAD's .json"),
    ],
)
def test_what_does_not_go_with_one_or_two_files_is_refused(folder, arguments, message):
    code, _, error = tunediff(folder, "diff", *arguments, "--out", "never")
    assert code == 1
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "never").exists()


@pytest.mark.slow
def test_cases_of_a_diff_are_read_again_unless_their_answers_were_graded_by_another_rule(tmp_path):
    (tmp_path / "both.csv").write_text("id,label,a,b,ok_a,ok_b\n1,x,x,y,1,0\n2,x,y,x,1,1\n3,y,y,y,0, 1\n")
    fields = ["--before-field", "a", "--after-field", "b", "--id-field", "id"]
    assert tunediff(tmp_path, "diff", "both.csv", *fields, "--out", "plain")[0] == 0
    code, out, _ = tunediff(tmp_path, "diff", "plain/cases.jsonl", "--out", "again")
    assert (code, "0 repaired" in out) == (0, False)
    assert tunediff(tmp_path, "diff", "both.csv", *fields, "--correct-field", "ok_a, ok_b", "--out", "graded")[0] == 0
    code, _, error = tunediff(tmp_path, "diff", "graded/cases.jsonl", "--out", "never")
    assert code == 1
    assert "its answers were graded by a different rule; expected the two prediction files" in error


def test_logs_of_another_tool_are_compared_to_the_end_and_both_pages_say_what_they_lack(tmp_path):
    def log(values):
        samples = [
            {"id": n, "epoch": 1, "input": f"q{n}", "target": "", "scores": {"judge": {"value": value}}}
            for n, value in enumerate(values)
        ]
        return json.dumps({"version": 2, "status": "success", "eval": {}, "samples": samples})

    (tmp_path / "before.json").write_text(log("CCIIN"))
    (tmp_path / "after.json").write_text(log("CCCII"))
    code, out, error = tunediff(tmp_path, "diff", "before.json", "after.json", "--out", "out")
    assert (code, error) == (0, "")
    assert "read after.json: a log of inspect_ai, metric judge" in out
    assert "accuracy 40.0% -> 60.0% on 5 cases: 1 repaired - 0 broken = +1" in out
    page = (tmp_path / "out/report.md").read_text()
    assert "1 of the 5 answers of before.json has no score (no answer 1)" in page
    assert "nan" not in page


@pytest.mark.slow
@pytest.mark.parametrize("answers", [["", "", ""], ["LABEL_0", "LABEL_1", "LABEL_1"]])
@pytest.mark.parametrize("invalid_first", [True, False])
def test_where_all_answers_of_a_side_are_invalid_nothing_presumes_labels(answers, invalid_first, folder):
    names = ["invalid.csv", "named.csv"]
    for name, given in zip(names, (answers * 10, ["a", "a", "b"] * 9 + ["b", "b", "a"]), strict=True):
        rows = [f"{n},{'aab'[n % 3]},{answer}\n" for n, answer in enumerate(given)]
        (folder / name).write_text("case_id,label,prediction\n" + "".join(rows))
    code, out, _ = tunediff(folder, "diff", *(names if invalid_first else names[::-1]), "--out", "invalid")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("  TD1")] == []
    assert ("TD401" if answers[0] else "TD204") in out
    report = (folder / "invalid/report.md").read_text()
    assert "stayed wrong" in report
    assert "with a different answer" not in report


@pytest.mark.slow
def test_columns_of_two_tables_are_slices_in_the_report_and_must_agree(tmp_path):
    rows = [
        {"case_id": f"{number}", "label": "yes", "prediction": "yes" if number % 2 else "no", "age": number,
         "channel": "web" if number % 4 else ""}
        for number in range(120)
    ]  # fmt: skip
    before, after = pd.DataFrame(rows), pd.DataFrame(rows).assign(prediction="yes")
    before.to_csv(tmp_path / "before.csv", index=False)
    after.to_csv(tmp_path / "after.csv", index=False)
    sliced = ["--slice-fields", "channel,age", "--out", "out"]
    assert tunediff(tmp_path, "diff", "before.csv", "after.csv", *sliced)[0] == 0
    report = (tmp_path / "out/report.md").read_text()
    assert "| channel: web | 90 |" in report
    assert "| age: 0 to 29 | 30 |" in report
    assert "age: 30 to 59" in (tmp_path / "out/report.html").read_text()
    after.assign(channel="post").to_csv(tmp_path / "other.csv", index=False)
    code, _, error = tunediff(tmp_path, "diff", "before.csv", "other.csv", *sliced)
    assert code == 1
    assert "slice: channel: found different values for 120 of 120 cases" in error
    code, _, error = tunediff(tmp_path, "diff", "before.csv", "after.csv", "--slice-fields", "tier", "--out", "out")
    assert code == 1
    assert "before.csv: found no column 'tier'" in error
