"""`tunediff init`: from a table to a project that runs outside of a clone."""

import argparse
import csv
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.imports import ROOT
from tests.tiny import write_model
from tunediff.commands import init, scaffold, starting_model
from tunediff.commands.compare import checked
from tunediff.commands.starting_params import params_yaml
from tunediff.runtime import release
from tunediff.runtime.errors import TunediffError
from tunediff.tasks.draws import read_splits
from tunediff.tasks.experiment import read_experiment

HEADER = ("id", "a subject", "body", "team", "client")


def rows(n=120):
    """Tickets of two teams; one in another spelling, one without a team, one without a body."""
    for number in range(n):
        team = ("Bug report", "question")[number % 2]
        spelled = {10: "BUG-REPORT", 21: ""}.get(number, team)
        yield number, f"about {number}", "" if number == 30 else f"{team} no. {number}", spelled, f"c{number % 40}"


def write_table(path, given=None, **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, **options)
        writer.writerow(HEADER)
        writer.writerows(rows() if given is None else given)
    return path


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    return parser.parse_args([*map(str, arguments)])


def run(folder, table, *more):
    texts = ["--text", "a subject,body", "--label", "team"]
    init.main(parsed(folder, "--data", table, *texts, *more))
    return folder


@pytest.fixture(scope="module")
def without_minilm():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starting_model, "find_spec", lambda name: None)
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory, without_minilm):
    folder = tmp_path_factory.mktemp("made")
    return run(folder / "tickets", write_table(folder / "tickets.csv", delimiter=";"), "--group", "client")


@pytest.mark.slow
def test_params_yaml_is_valid_short_and_says_in_each_line_what_it_is(project):
    lines = (project / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert all(line.rpartition("  # ")[2].strip() and "  # " in line for line in lines)
    experiment = read_experiment(project / "params.yaml")
    data, task = experiment.params.data, experiment.params.task
    assert task.labels == ["Bug report", "question"]
    assert data.labels == {"BUG-REPORT": "Bug report"}
    assert (task.inputs, task.source_input, task.partial_input) == (["a_subject", "body"], "a_subject", "a_subject")
    assert (data.group, data.empty, data.unlabelled) == ("client", "drop", [""])


@pytest.mark.slow
def test_the_splits_account_for_every_row(project):
    experiment = read_experiment(project / "params.yaml")
    drawn, _ = read_splits(experiment.task, experiment.params.data, project / "data/raw")
    assert sum(len(split.cases) for split in drawn.values()) == 118
    assert all(len(split.unlabelled) == len(split.empty) == 1 for split in drawn.values())


def test_git_keeps_the_project_and_not_the_data(project):
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True).stdout

    git("add", "--all")
    kept = git("ls-files").splitlines()
    assert {"params.yaml", "dvc.yaml", "requirements.txt", "stages/train.py", "data/raw/tickets.csv.dvc"} <= set(kept)
    assert "data/raw/tickets.csv" not in kept
    assert (project / "data/raw/tickets.csv").is_file()


def test_nothing_in_the_pipeline_of_a_project_is_of_a_clone_or_asks_params_yaml(project):
    text = (project / "dvc.yaml").read_text(encoding="utf-8")
    assert "${" not in text
    assert "src" not in text
    settings = yaml.safe_load(text)["stages"]["settings"]
    assert settings["deps"] == ["params.yaml", "stages", "requirements.txt", "graders"]
    assert yaml.safe_load(text)["stages"].keys() == yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].keys()


def test_another_version_is_refused_until_the_pipeline_is_taken_from_it(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    release.check_code(Path("requirements.txt"))
    release.check_code(ROOT / "src/tunediff")
    pinned = Path("requirements.txt").read_text()
    Path("requirements.txt").write_text("evaluate\n" + pinned)
    release.check_code(Path("requirements.txt"))
    monkeypatch.setattr(scaffold, "requirement", lambda: "tunediff[models]==9.0")
    monkeypatch.setattr(release, "requirement", lambda: "tunediff[models]==9.0")
    with pytest.raises(TunediffError, match=r"requirements\.txt: found 'tunediff.*expected the installed .*--accept"):
        release.check_code(Path("requirements.txt"))
    Path("stages/report.py").write_text("old = True\n")
    Path("graders/mine.py").write_text("mine = True\n")
    scaffold.refresh()
    assert Path("requirements.txt").read_text() == "evaluate\ntunediff[models]==9.0\n"
    assert Path("stages/report.py").read_text() == (ROOT / "stages/report.py").read_text()
    assert Path("graders/mine.py").is_file()
    assert "stages: replaced by those of this version" in capsys.readouterr().out
    release.check_code(Path("requirements.txt"))


def test_what_is_found_is_said(tmp_path, capsys, without_minilm):
    more = [(900 + n, f"more {n}", "body", "qestion", "c") for n in range(2)]
    more += [(990, "about 3", "question no. 3", "Bug report", "c"), (991, "about 3", "question no. 3", "question", "c")]
    table = write_table(tmp_path / "t.csv", [*rows(), *more])
    args = parsed("p", "--data", table, "--text", "a subject,body", "--label", "team")
    found = init.survey(init.read_rows(table), ["a subject", "body"], "team")
    out = "\n".join([*init._findings(args, found, "utf-8"), *init._how_long(args, found, None)])
    for line in (
        "124 rows",
        "team: 3 labels: Bug report 61, question 60, qestion 2",
        "'BUG-REPORT' for 'Bug report'",
        "'qestion' may be a misspelt 'question'",
        "fewer than 20 rows each, too few for a test: qestion",
        "team: empty in 1 rows",
        "body: empty in 1 rows",
        "2 rows repeat the texts of an earlier row",
        "1 texts occur with more than one label",
        "a subject: half have at most 2 words, 95 % at most 2, the longest 2",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--text", "subject"],
            "found no column 'subject', expected one of id, a subject, body, team, client (did",
        ),
        (["--text", "body,team"], "--text: found body,team, expected distinct columns"),
        (
            ["--label", "id"],
            "id: found 120 different values, expected 2 to 100 labels (--label), or free text (--answer)",
        ),
        (["--group", "customer"], "found no column 'customer'"),
        (["--tuned", "me/x"], "--tuned: given without --base"),
        (["--base", "./nowhere"], "./nowhere: there is no such folder"),
        (["--data", "nowhere.csv"], "nowhere.csv: there is no such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(arguments, line, tmp_path, monkeypatch, without_minilm):
    monkeypatch.chdir(tmp_path)
    write_table(Path("t.csv"))
    usual = ["new", "--data", "t.csv", "--text", "body", "--label", "team"]
    with pytest.raises(TunediffError) as caught:
        init.main(parsed(*usual, *arguments))
    assert line in caught.value.args[0]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    with pytest.raises(TunediffError, match="exists, expected a new or an empty folder"):
        run(tmp_path, write_table(tmp_path / "t.csv"))


@pytest.mark.parametrize(("kind", "head"), [("llama", "lm"), ("bert", "classification")])
def test_a_base_that_is_named_is_asked_by_prompt_or_by_head(kind, head, tmp_path, tokenizer):
    write_model(tmp_path / "base", kind, tokenizer, *(["none"] if kind == "bert" else []))
    args = parsed("p", "--data", write_table(tmp_path / "t.csv"), "--text", "body", "--label", "team")
    columns = {"body": "body"}
    found = init.survey(init.read_rows(args.data), ["body"], "team")
    args.base = str(tmp_path / "base")
    params = checked(params_yaml(args, columns, found, starting_model.starting_model(args, columns), "utf-8")).params
    assert (params.model.head, params.model.id) == (head, str(tmp_path / "base"))
    assert (params.prompt.choices is None) == (head == "classification")
    args.tuned = args.base
    params = checked(params_yaml(args, columns, found, starting_model.starting_model(args, columns), "utf-8")).params
    assert (params.tuned.source, params.train, params.adapt, params.data.train) == ("folder", None, None, None)


def answers_table(folder):
    """Questions with answers of their own; one without, one with two that are right."""
    rows = [{"question": f"How much is {n} and {n}?", "reply": f"It is {2 * n}."} for n in range(120)]
    rows[3]["reply"], rows[5]["reply"] = "", ["It is 10.", "Ten. " + "It is " * 9]
    path = folder / "sums.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("base", [None, "llama"])
def test_answers_that_are_texts_are_written_and_graded(base, tmp_path, tokenizer, capsys, monkeypatch):
    written = []
    monkeypatch.setattr(init, "_write", lambda folder, text, data: written.append(text))
    named = []
    if base:
        write_model(tmp_path / "base", base, tokenizer)
        named = ["--base", tmp_path / "base"]
    table = answers_table(tmp_path)
    init.main(parsed(tmp_path / "p", "--data", table, "--text", "question", "--answer", "reply", *named))
    [text] = written
    assert len(text.splitlines()) <= 30
    assert all("  # " in line for line in text.splitlines())
    params = checked(text).params
    assert (params.task.name, params.model.head, params.evaluate.scoring_method) == ("generation", "lm", "generation")
    assert [grade.by for grade in params.task.grade] == ["exact", "token_f1"]
    assert params.prompt.template == "Question: {question}\nReply:"
    assert params.evaluate.max_new_tokens > len("Ten. " + "It is " * 9) // (6 if base else 1)
    assert params.report.title == "reply of sums.jsonl"
    out = capsys.readouterr().out
    assert "init: reply: empty in 1 rows, which are dropped (data.unlabelled)" in out
    assert "init: reply: 119 different answers, in 119 rows" in out


def test_an_encoder_is_refused_where_answers_are_texts(tmp_path, tokenizer):
    write_model(tmp_path / "base", "bert", tokenizer, "none")
    args = parsed(
        *(tmp_path / "p", "--data", answers_table(tmp_path), "--text", "question"),
        *("--answer", "reply", "--base", tmp_path / "base"),
    )
    with pytest.raises(
        TunediffError, match=r"--base: found .*, an encoder, expected a language model, which can generate"
    ):
        init.main(args)
    assert not (tmp_path / "p").exists()
