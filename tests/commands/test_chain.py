"""`tunediff chain` on prediction files and on folders of projects."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from tests.program import tunediff
from tests.run_files import STAGES, N, right, table, write
from tests.tiny import write_model
from tunediff.commands import chain
from tunediff.runtime.errors import TunediffError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four variants, in three formats and any order of rows; the last answers as the first."""
    folder = tmp_path_factory.mktemp("variants")
    table(right(100)).to_json(folder / "base.jsonl", orient="records", lines=True)
    table(right(106)).sample(frac=1, random_state=1).to_csv(folder / "nf4.csv", index=False)
    table(right(160)).to_parquet(folder / "tuned.parquet")
    table(right(100)).to_parquet(folder / "again.parquet")
    return folder


def test_one_json_object_has_variants_and_steps(folder):
    code, out, error = tunediff(folder, "chain", "base.jsonl", "nf4.csv", "tuned.parquet", "again.parquet", "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert [one["accuracy"] for one in found["variants"]] == [0.5, 0.53, 0.8, 0.5]
    assert [(step["before"], step["after"], step["repaired"], step["broken"]) for step in found["steps"]] == [
        ("base.jsonl", "nf4.csv", 6, 0),
        ("nf4.csv", "tuned.parquet", 54, 0),
        ("tuned.parquet", "again.parquet", 0, 60),
        ("base.jsonl", "again.parquet", 0, 0),
    ]
    assert found["steps"][0]["p"] == 0.03125
    assert found["there_and_back"] == 60


def test_the_files_of_a_chain_say_what_the_terminal_says(folder, tmp_path):
    code, out, error = tunediff(folder, "chain", "base.jsonl", "nf4.csv", "--out", tmp_path / "out")
    assert (code, error) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("chain.json", "chain.md", "chain.html", "changed.jsonl")
    }
    sentence = "of 200 cases 6 flip (6 repaired, 0 broken): the two differ by +3.0 points"
    for text in (out, *((tmp_path / "out" / name).read_text() for name in ("chain.md", "chain.html"))):
        assert sentence in text.replace("\N{NO-BREAK SPACE}", " ")
    changed = [json.loads(line) for line in (tmp_path / "out/changed.jsonl").read_text().splitlines()]
    assert len(changed) == 6
    for case in changed:
        assert case["nf4.csv_prediction"] == case["label"] != case["base.jsonl_prediction"]


def test_the_fields_are_those_of_diff(tmp_path):
    for name, flags in (("a", right(100)), ("b", right(112))):
        frame = table(flags).rename(columns={"label": "gold", "prediction": "answer", "case_id": "id"})
        frame.assign(premise=[f"p{at // 12}" for at in range(N)]).to_csv(tmp_path / f"{name}.csv", index=False)
    fields = ["--label-field", "gold", "--prediction-field", "answer", "--id-field", "id"]
    code, out, error = tunediff(tmp_path, "chain", "a.csv", "b.csv", *fields, "--json")
    assert code == 0, error
    [alone] = json.loads(out)["steps"]
    [shared] = json.loads(
        tunediff(tmp_path, "chain", "a.csv", "b.csv", *fields, "--cluster-field", "premise", "--json")[1]
    )["steps"]
    assert alone["repaired"] == shared["repaired"] == 12
    assert alone["p"] < 0.05 < shared["p"]


def test_the_tuned_model_of_a_project_is_a_variant(tmp_path, monkeypatch):
    for name, flags in (("one", right(120)), ("two", right(150))):
        project = type("Project", (), {"folder": tmp_path / name})
        (tmp_path / name / "data").mkdir(parents=True)
        stages = {stage: {"cmd": f"python x.py {option} {path}"} for stage, (option, path) in STAGES.items()}
        (tmp_path / name / "dvc.yaml").write_text(json.dumps({"stages": stages}))
        write(project, 1, 0.1, flags)
    code, out, error = tunediff(tmp_path, "chain", "one", "two", "--json")
    assert code == 0, error
    [step] = json.loads(out)["steps"]
    assert (step["before"], step["after"], step["repaired"]) == ("one", "two", 30)


def test_what_is_said_while_models_are_asked_does_not_stand_beside_the_json(tmp_path, tokenizer, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_model(Path("base"), "llama", tokenizer)
    write_model(Path("tuned"), "llama", tokenizer, seed=7)
    table(right(100)).assign(text=lambda rows: rows["case_id"]).to_csv("test.csv", index=False)
    project = Path("reports/base--tuned")
    project.mkdir(parents=True)
    (project / "params.yaml").write_text("# of an earlier run\n")
    monkeypatch.setattr(chain, "run_project", lambda folder: print("asked") or 3)
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115 - as in a program
    parser = argparse.ArgumentParser()
    chain.add_arguments(parser)
    with pytest.raises(TunediffError, match="tuned: the pipeline in reports/base--tuned ended with exit code 3"):
        chain.main(parser.parse_args(["base", "tuned", "--data", "test.csv", "--input", "text", "--json"]))
    said = capfd.readouterr()
    assert said.out == ""
    assert "params.yaml had different content, now kept in" in said.err
    assert "asked" in said.err


@pytest.mark.pipeline
def test_a_chain_of_files_starts_without_torch(folder):
    code, _, error = tunediff(
        folder, "chain", "base.jsonl", "nf4.csv", python=sys.executable, PYTHONPROFILEIMPORTTIME="1"
    )
    assert code == 0
    assert "torch" not in {line.rpartition("|")[2].strip() for line in error.splitlines()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base.jsonl"], "chain: found 1 run, expected at least two"),
        (["base.jsonl", "base.jsonl"], "chain: found the run base.jsonl twice"),
        (["base.jsonl", "less.jsonl"], "base.jsonl and less.jsonl: different cases: found 1 only in base.jsonl"),
        (
            ["base.jsonl", "nothing"],
            "nothing: is neither a prediction file nor a folder with a dvc.yaml, and as a model it",
        ),
        (["one", "other", "--input", "text"], "one: is not a prediction file, and --data, which gives the cases for"),
        (
            ["one", "other", "--data", "nf4.csv"],
            "one: is not a prediction file, and --input, which gives the cases for",
        ),
        (["one", "o", "--data", "nf4.csv", "--input", "prediction"], "one: there is no such folder"),
        (["base.jsonl", "nf4.csv", "--confidence", "95"], "--confidence: found 95.0"),
        (["base.jsonl", "nf4.csv", "--out", "base.jsonl"], "base.jsonl: is not a folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(folder, arguments, message):
    table(right(100)).iloc[1:].to_json(folder / "less.jsonl", orient="records", lines=True)
    code, out, error = tunediff(folder, "chain", *arguments)
    assert (code, out, error.count("\n")) == (1, "", 1), error
    assert message in error
