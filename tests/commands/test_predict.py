"""`tunediff predict` in a small project: the answers are those that the evaluation wrote."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.program import tunediff
from tests.whole_files import read_jsonl
from tunediff.commands.predict import records, side_by_side
from tunediff.compare.effects.transitions import TRANSITIONS
from tunediff.config.settings import read_settings
from tunediff.data.cases import make_cases, read_predictions
from tunediff.inputs.settings import PredictSettings
from tunediff.runtime.files import read_json

CASE = {"premise": "A man is sleeping.", "hypothesis": "A man is awake."}
EXPECTED = "premise=TEXT hypothesis=TEXT"


@pytest.fixture(scope="module")
def folder(small_run):
    return small_run.folder


def ask(folder, *arguments):
    """The records of `tunediff predict --json`."""
    code, out, error = tunediff(folder, "predict", *arguments, "--json")
    assert (code, error) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def one(folder, **inputs):
    [record] = ask(folder, *(f"{name}={text}" for name, text in inputs.items()))
    return record


def probabilities(record, model):
    return np.array(list(record[f"{model}_probabilities"].values()))


def test_the_answers_to_the_test_split_are_those_of_the_prediction_files(folder):
    found = pd.DataFrame(ask(folder, "--file", "data/test_sets/test.jsonl"))
    for model in ("base", "tuned"):
        frame, about = read_predictions(folder / f"data/predictions/{model}/test.parquet")
        assert found["case_id"].tolist() == frame["case_id"].tolist()
        assert found[f"{model}_prediction"].tolist() == frame["prediction"].tolist()
        for row, log_probs in zip(found[f"{model}_probabilities"], frame["log_probs"], strict=True):
            assert [row[label] for label in about["labels"]] == pytest.approx(np.exp(log_probs), abs=1e-9)
    assert found["differs"].tolist() == (found["base_prediction"] != found["tuned_prediction"]).tolist()
    assert found["differs"].any()


def test_a_case_of_the_test_split_asked_alone_gets_the_same_answers(folder):
    case = read_jsonl(folder / "data/test_sets/test.jsonl")[7]
    record = one(folder, premise=case["premise"], hypothesis=case["hypothesis"])
    assert record["case_id"] == case["case_id"]
    for model in ("base", "tuned"):
        row = read_predictions(folder / f"data/predictions/{model}/test.parquet")[0].iloc[7]
        assert record[f"{model}_prediction"] == row["prediction"]
        assert probabilities(record, model) == pytest.approx(np.exp(row["log_probs"]), abs=1e-4)
        first, second = sorted(row["log_probs"], reverse=True)[:2]
        assert record[f"{model}_lead"] == pytest.approx(first - second, abs=1e-3)


def test_the_two_models_stand_side_by_side(folder):
    record = one(folder, **CASE)
    code, out, error = tunediff(folder, "predict", *(f"{name}={text}" for name, text in CASE.items()))
    assert (code, error) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["premise", "A", "man", "is", "sleeping."] in lines
    assert ["base", "tuned"] in lines
    assert ["answer", record["base_prediction"], record["tuned_prediction"]] in lines
    for label in ("entailment", "neutral", "contradiction"):
        assert [label, *(f"{record[f'{model}_probabilities'][label]:.1%}" for model in ("base", "tuned"))] in lines
    assert out.endswith(f"\nThe answers {'differ' if record['differs'] else 'are the same'}.\n")


def test_a_file_is_answered_in_its_order_and_written_out(folder, tmp_path):
    rows = pd.DataFrame(read_jsonl(folder / "data/test_sets/test.jsonl")[:5])[["hypothesis", "premise"]]
    rows.to_csv(tmp_path / "cases.csv", index=False)
    asked = "predict", "--file", tmp_path / "cases.csv"
    code, out, _ = tunediff(folder, *asked, "--out", tmp_path / "answers.jsonl")
    assert code == 0
    written = read_jsonl(tmp_path / "answers.jsonl")
    assert [row["premise"] for row in written] == rows["premise"].tolist()
    assert f"answer {sum(row['differs'] for row in written)} of 5 cases differently" in out
    code, out, _ = tunediff(folder, *asked)
    lines = out.splitlines()[1:-1]
    assert [line.split()[:3] for line in lines] == [
        [str(number), row["base_prediction"], row["tuned_prediction"]] for number, row in enumerate(written, start=1)
    ]
    assert all(text in line for line, text in zip(lines, rows["hypothesis"], strict=True))


def test_what_was_written_of_a_file_with_labels_is_compared_with_no_flag(folder, tmp_path):
    asked = "predict", "--file", "data/test_sets/test.jsonl", "--out", tmp_path / "answers.jsonl"
    assert tunediff(folder, *asked)[0] == 0
    code, out, _ = tunediff(tmp_path, "diff", "answers.jsonl", "--out", "found")
    assert code == 0
    line = "read answers.jsonl (base_prediction): a table, base_prediction compared with label, cases by case_id\n"
    assert line in out
    metrics = read_json(tmp_path / "found/metrics.json")
    pipeline = read_json(folder / "metrics/diff_cases.json")
    assert {name: metrics[name] for name in TRANSITIONS} == {name: pipeline[name] for name in TRANSITIONS}


def test_text_that_spells_a_special_token_stays_text(folder):
    """The probabilities are those of the spelt characters, counted out here without the project's renderer."""
    import torch

    from tunediff.models.load import load_base

    settings = read_settings(folder / "data/settings/predict_base.json", PredictSettings)
    case_set = settings.headline
    loaded = load_base(folder / "models/base", settings.model, case_set.labels)
    end = loaded.tokenizer.eos_token
    inputs = {"premise": f"A man{end} sleeps. {loaded.tokenizer.bos_token}", "hypothesis": "{premise} {label}"}
    text = case_set.prompt.template.replace("{hypothesis}", "<h>").replace("{premise}", inputs["premise"])
    text = text.replace("<h>", inputs["hypothesis"])

    def tokens(text):
        return loaded.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids

    assert loaded.tokenizer.eos_token_id not in tokens(text)
    assert loaded.tokenizer.eos_token_id in loaded.tokenizer(text).input_ids  # what the plain tokenizer would read
    prompt, sums = [loaded.tokenizer.bos_token_id, *tokens(text)], []
    for choice in (tokens(case_set.ask.choices[label]) for label in case_set.labels):
        with torch.no_grad():
            scores = loaded.model(torch.tensor([prompt + choice])).logits[0].log_softmax(-1)
        sums.append(sum(float(scores[len(prompt) + at - 1, token]) for at, token in enumerate(choice)))
    expected = np.exp(sums) / np.exp(sums).sum()

    record = one(folder, **inputs)
    assert {name: record[name] for name in inputs} == inputs
    assert probabilities(record, "base") == pytest.approx(expected, abs=1e-4)


def test_a_name_in_braces_is_not_filled_in(folder):
    braces, filled = (one(folder, premise=text, hypothesis="A dog is outside.") for text in
                      ("{hypothesis}", "A dog is outside."))  # fmt: skip
    assert probabilities(braces, "base") != pytest.approx(probabilities(filled, "base"), abs=1e-6)


def test_what_would_steer_the_terminal_is_shown_as_text(folder):
    _, out, _ = tunediff(folder, "predict", "premise=A man\x1b[31m\nsleeps.", "hypothesis=A man is awake.")
    assert "premise     A man␛[31m sleeps." in out
    assert "\x1b" not in out


def test_an_answer_in_words_none_at_all_and_one_that_could_not_be_read_are_told_apart():
    case = make_cases([({"question": "Where?", "context": "In Rome."}, "", ())])
    row = {"log_probs": None, "truncated": True}
    rows = [row | {"prediction": "", "text": "Rome"}, row | {"prediction": None, "text": "I do not\nknow"}]
    [record] = records(case, ["answerable"], *(pd.DataFrame([one]) for one in rows))
    assert (record["base_prediction"], record["tuned_prediction"], record["differs"]) == ("", None, True)
    assert record["base_probabilities"] is record["tuned_lead"] is None
    lines = [" ".join(line.split()) for line in side_by_side(record, ["question", "context"], ["answerable"])]
    assert lines[4:] == [
        "answer (no answer) (invalid)",
        r"written 'Rome' 'I do not\nknow'",
        "",
        "The answers differ. The prompt was truncated to fit the context.",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], f"found no premise, hypothesis, expected {EXPECTED}, or a file of cases (--file)"),
        (["premise=A man sleeps."], f"found no hypothesis, expected {EXPECTED}"),
        (["A man sleeps."], f"found 'A man sleeps.', expected {EXPECTED}"),
        (["text=A man sleeps."], f"found 'text=A man sleeps.', expected {EXPECTED}"),
        (["premise=a", "premise=b", "hypothesis=c"], "premise: found a second time"),
        (["premise=a", "--file", "data/test_sets/test.jsonl"], "together with --file"),
        (["premise=a", "hypothesis=b", "--set", "other"], "--set: found 'other', expected one of test"),
        (["--file", "missing.csv"], "missing.csv: there is no such file"),
        (["--file", "short.csv"], "short.csv, row 2: hypothesis: found None, expected text"),
        (["--file", "short.csv", "--out", "x.csv"], "expected a name that ends in .jsonl"),
        (
            ["--file", "data/test_sets/test.jsonl", "--out", "data/../data/test_sets/test.jsonl"],
            "is the file of cases",
        ),
        ([f"premise={'word ' * 500}", "hypothesis=b"], "tokens, the longest of 1 too long cases"),
    ],
)
def test_bad_input_ends_in_one_line(folder, arguments, message):
    (folder / "short.csv").write_text("premise\nA man sleeps.\n")
    code, out, error = tunediff(folder, "predict", *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith("tunediff: ")
    assert message in error
    (folder / "short.csv").unlink()


@pytest.mark.parametrize("missing", ["models/base", "models/tuned"])
def test_without_a_model_the_line_says_how_to_make_one(small_run, tmp_path, missing):
    project = small_run.copy(tmp_path)
    shutil.rmtree(project.folder / missing)
    code, out, error = tunediff(project.folder, "predict", *(f"{name}={text}" for name, text in CASE.items()))
    assert (code, out) == (1, "")
    assert error == (
        f"tunediff: {missing}: there is no such folder, expected a model written by the pipeline: run dvc repro\n"
    )
