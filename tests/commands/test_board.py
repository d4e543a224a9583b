"""`tunediff board` on files, on folders and on experiments in DVC's cache."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from tests.foreign_logs import result, results
from tests.harness_samples import generation_sample
from tests.program import tunediff
from tests.project import Project, git
from tests.run_files import STAGES, N, right, table, write

RUN_KEYS = {"name", "n", "accuracy", "accuracy_low", "accuracy_high", "rank_low", "rank_high", "groups"}
PAIR_KEYS = {"a", "b", "repaired", "broken", "p", "p_adjusted", "separated"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three runs and a copy of the best, in three formats and any order of rows."""
    folder = tmp_path_factory.mktemp("runs")
    table(right(100)).to_json(folder / "a.jsonl", orient="records", lines=True)
    table(right(106)).sample(frac=1, random_state=1).to_csv(folder / "b.csv", index=False)
    for name in ("c", "copy"):
        table(right(160)).to_parquet(folder / f"{name}.parquet")
    return folder


def test_one_json_object_has_runs_pairs_and_groups(folder):
    code, out, error = tunediff(folder, "board", "a.jsonl", "b.csv", "c.parquet", "copy.parquet", "--json")
    assert (code, error) == (0, "")
    found = json.loads(out)
    assert all(run.keys() >= RUN_KEYS for run in found["runs"])
    assert all(pair.keys() == PAIR_KEYS for pair in found["pairs"])
    assert [run["name"] for run in found["runs"]] == ["c.parquet", "copy.parquet", "b.csv", "a.jsonl"]
    assert found["groups"] == [["c.parquet", "copy.parquet"], ["b.csv", "a.jsonl"]]
    assert [run["groups"] for run in found["runs"]] == [["a"], ["a"], ["b"], ["b"]]
    assert [(run["rank_low"], run["rank_high"]) for run in found["runs"]] == [(1, 2), (1, 2), (3, 4), (3, 4)]
    [pair] = [pair for pair in found["pairs"] if {pair["a"], pair["b"]} == {"b.csv", "a.jsonl"}]
    # Six that one has right and the other not: significant alone, and not among six pairs.
    assert (pair["repaired"], pair["broken"], pair["p"], pair["separated"]) == (0, 6, 0.03125, False)
    assert pair["p_adjusted"] == 0.0625
    assert found["recipes"] == []


@pytest.mark.slow
def test_a_folder_of_files_is_each_of_them_and_the_page_and_the_table_say_what_the_object_says(folder, tmp_path):
    code, out, error = tunediff(tmp_path, "board", folder, "--base", "a.jsonl", "--out", "out")
    assert (code, error) == (0, "")
    heading = out.splitlines()[0]
    assert len(heading.split("  ")) <= 40
    assert "4 of 6" in out.replace("\N{NO-BREAK SPACE}", " ")
    written = {"board.json", "board.md", "board.html", "labels_to_review.jsonl"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written
    html, markdown = ((tmp_path / "out" / name).read_text() for name in ("board.html", "board.md"))
    assert "<svg" in html
    assert "<script" not in html
    assert "://" not in html
    for name in ("a.jsonl", "b.csv", "c.parquet", "copy.parquet"):
        assert name in html
        assert f"\n| {name} |" in markdown
    assert "This lead may be due to chance" in markdown
    best = json.loads((tmp_path / "out/board.json").read_text())["runs"][0]
    assert best["to_base"]["gain"] == pytest.approx(0.3)


def test_cases_that_share_a_text_are_told_apart_less(folder, tmp_path):
    for name, flags in (("a", right(100)), ("b", right(112))):
        frame = table(flags).assign(premise=[f"p{at // 12}" for at in range(N)])
        frame.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
    [alone] = json.loads(tunediff(tmp_path, "board", tmp_path, "--json")[1])["pairs"]
    [shared] = json.loads(tunediff(tmp_path, "board", tmp_path, "--json", "--cluster-field", "premise")[1])["pairs"]
    assert alone["separated"]
    assert not shared["separated"]
    assert shared["p"] >= 0.5


def wide(folder):
    """One table with a column of answers for each of three models, and one with a column of grades."""
    flags = {"small": right(100), "large": right(106), "tuned": right(160)}
    first = table(right(N)).drop(columns="case_id").rename(columns={"label": "gold"})
    first.drop(columns="prediction").assign(**{name: table(one)["prediction"] for name, one in flags.items()}).to_csv(
        folder / "wide.csv", index=False
    )
    pd.DataFrame({name: one.astype(int) for name, one in flags.items()}).to_csv(folder / "grades.csv", index=False)


def test_each_column_of_one_table_is_a_run(folder, tmp_path):
    wide(tmp_path)
    for arguments in (["wide.csv", "--prediction-field"], ["grades.csv", "--correct-field"]):
        code, out, error = tunediff(tmp_path, "board", *arguments, "small, large,tuned", "--json")
        assert (code, error) == (0, "")
        found = json.loads(out)
        assert [run["name"] for run in found["runs"]] == ["tuned", "large", "small"]
        assert [run["accuracy"] for run in found["runs"]] == [0.8, 0.53, 0.5]
        assert [(pair["a"], pair["b"], pair["broken"]) for pair in found["pairs"]][-1] == ("large", "small", 6)


def test_each_model_and_each_filter_of_another_tools_file_is_a_run(tmp_path):
    rows = [
        result(test, "x", bool(flags[test]), name)
        for name, flags in (("small", right(100)), ("tuned", right(160)))
        for test in range(N)
    ]
    (tmp_path / "out.json").write_text(json.dumps(results(*rows)))
    for option in ("--filter", "--prediction-field"):
        found = json.loads(tunediff(tmp_path, "board", "out.json", option, "small,tuned", "--json")[1])
        assert [(run["name"], run["accuracy"]) for run in found["runs"]] == [("tuned", 0.8), ("small", 0.5)]
    for name, flags in (("base", right(100)), ("after", right(140))):
        lines = [
            json.dumps(generation_sample(at, "18", float(flags[at] and lucky), which))
            for at in range(N)
            for which, lucky in (("strict", at % 2 == 0), ("flexible", True))
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    code, out, _ = tunediff(tmp_path, "board", "base.jsonl", "after.jsonl", "--filter", "strict,flexible", "--json")
    assert code == 0
    assert {run["name"]: run["accuracy"] for run in json.loads(out)["runs"]} == {
        "after.jsonl (flexible)": 0.7,
        "base.jsonl (flexible)": 0.5,
        "after.jsonl (strict)": 0.35,
        "base.jsonl (strict)": 0.25,
    }


def test_published_squad_answers_in_every_form_and_their_data_set_lie_in_one_folder(tmp_path):
    texts = [f"word{at}" for at in range(40)]
    questions = [
        {"id": f"q{at}", "question": "?", "answers": [{"text": text, "answer_start": 0}]}
        for at, text in enumerate(texts)
    ]
    paragraphs = [{"context": question["answers"][0]["text"], "qas": [question]} for question in questions]
    (tmp_path / "dev.json").write_text(
        json.dumps({"version": "1.1", "data": [{"title": "", "paragraphs": paragraphs}]})
    )
    found = [{f"q{at}": text if at < count else "no" for at, text in enumerate(texts)} for count in (10, 20, 30, 40)]
    (tmp_path / "BiDAF (single model) [AI2].json").write_text(json.dumps(found[0]))
    (tmp_path / "nbest.json").write_text(json.dumps({one: [{"text": text}] for one, text in found[1].items()}))
    listed = [{"id": one, "prediction_text": text} for one, text in found[2].items()]
    (tmp_path / "list.json").write_text(json.dumps(listed[::-1]))
    (tmp_path / "listed.json").write_text(json.dumps([one | {"no_answer_probability": 0.0} for one in listed]))
    code, out, error = tunediff(tmp_path, "board", ".", "--data", "dev.json", "--json")
    assert (code, error) == (0, "")
    board = json.loads(out)
    assert board["groups"] == [["list.json", "listed.json"], ["nbest.json"], ["BiDAF (single model) [AI2].json"]]
    assert board["measure"] == "exact match"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jsonl", "b.csv", "--prediction-field", "x,y"], "--prediction-field: found 2 columns with 2 runs"),
        (["a.jsonl", "--prediction-field", "x,y", "--filter", "u,v"], "--prediction-field and --filter: found several"),
        (["a.jsonl"], "board: found 1 run, expected at least two"),
        (["a.jsonl", "a.jsonl"], "board: found the run a.jsonl twice"),
        (["a.jsonl", "b.csv", "--base", "d"], "board: --base: found d, expected one of a.jsonl, b.csv"),
        (["a.jsonl", "less.jsonl"], "a.jsonl and less.jsonl: different cases: found 1 only in a.jsonl"),
        (["a.jsonl", "relabelled.jsonl"], "label: found different values for 1 of 200 cases"),
        (["a.jsonl", "empty"], "empty: has neither a dvc.yaml nor a file of .jsonl"),
        (["a.jsonl", "nothing"], "nothing: is neither a file, a folder, a Git revision nor an experiment"),
        (["a.jsonl", "b.csv", "--confidence", "95"], "--confidence: found 95.0"),
        ([], "board: found no DVC project here"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(folder, tmp_path, arguments, message):
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    frame = table(right(100))
    frame.iloc[1:].to_json(tmp_path / "less.jsonl", orient="records", lines=True)
    frame.assign(label=["no", *frame["label"][1:]]).to_json(tmp_path / "relabelled.jsonl", orient="records", lines=True)
    (tmp_path / "empty").mkdir()
    code, out, error = tunediff(tmp_path, "board", *arguments, "--out", "never")
    assert (code, out, error.count("\n")) == (1, "", 1), error
    assert message in error
    assert not (tmp_path / "never").exists()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Three seeds as DVC experiments, and another learning rate on a branch; the workspace has no predictions."""
    project = Project.__new__(Project)
    project.folder = tmp_path_factory.mktemp("project")
    git(project.folder, "init", "--quiet", "--initial-branch", "main")
    for key in ("name", "email"):
        git(project.folder, "config", f"user.{key}", "t")
    project.run("dvc", "init", "--quiet")
    stages = {}
    for name, (option, path) in STAGES.items():
        cached = path.startswith("data/")
        written = {"outs": [path]} if cached else {"metrics": [{path: {"cache": False}}]}
        stages[name] = {"cmd": f"python {name}.py {option} {path}", "params": ["train"], **written}
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    write(project, 0, 0.5, right(150))
    project.run("dvc", "commit", "--force")
    project.commit("start")
    for seed, count in ((1, 156), (2, 144), (3, 150)):
        write(project, seed, 0.1, right(count, shift=seed))
        project.run("dvc", "exp", "save", "--force", "-n", f"seed{seed}")
    git(project.folder, "checkout", "--quiet", "--", ".")
    shutil.rmtree(project.folder / "data/predictions")
    return project


@pytest.mark.pipeline
@pytest.mark.xdist_group("board")
def test_experiments_and_a_branch_are_read_from_the_cache_with_what_else_is_known_of_them(project):
    names = ["main", "seed1", "seed2", "seed3"]
    code, out, error = tunediff(project.folder, "board", *names, "--json", "--half-width", "0.05")
    assert (code, error) == (0, "")
    found = json.loads(out)
    runs = {run["name"]: run for run in found["runs"]}
    assert runs.keys() == {"base", *names}
    assert found["base"] == "base"
    assert runs["main"]["parameters"] == {"train.learning_rate": 0.5, "train.seed": 0}
    assert runs["main"]["over_baseline"] == {"gain": 0.2, "low": 0.1, "high": 0.3}
    assert runs["main"]["seconds"] == 20.0
    assert runs["seed1"]["to_base"]["gain"] == pytest.approx(0.28)
    # The other test set was answered alike: of the first 100, seed 1 has forgotten the very first.
    assert runs["seed1"]["retained"]["sums"]["forgotten"] == 1
    assert runs["seed1"]["forgotten"] == pytest.approx(1 / N)
    assert runs["base"]["to_base"] is None
    [recipe] = found["recipes"]
    assert (recipe["runs"], recipe["seeds"]) == (["seed1", "seed2", "seed3"], [1, 2, 3])
    assert recipe["gain"] == pytest.approx(0.25)
    assert recipe["gain_low"] < 0.25 < recipe["gain_high"]
    assert recipe["chance_worse"] < 0.05
    assert recipe["stable_repair"] + recipe["stable_break"] + recipe["lottery"] + recipe["unchanged"] == N
    assert (recipe["stable_break"], recipe["lottery"]) == (1, 2 + 11)


@pytest.mark.pipeline
@pytest.mark.xdist_group("board")
def test_a_run_that_is_named_as_the_base_takes_the_place_of_the_base_model(project):
    code, out, _ = tunediff(project.folder, "board", "main", "seed1", "--base", "main", "--json")
    runs = {run["name"]: run for run in json.loads(out)["runs"]}
    assert code == 0
    assert runs["main"]["to_base"] is None
    assert runs["seed1"]["to_base"]["gain"] == pytest.approx(runs["seed1"]["accuracy"] - runs["main"]["accuracy"])


@pytest.mark.pipeline
@pytest.mark.xdist_group("board")
def test_all_experiments_are_compared_where_none_is_named_and_flips_are_written_by_case(project):
    project.run("dvc", "checkout", "--quiet")
    code, out, error = tunediff(project.folder, "board", "--out", "board")
    said = out.replace("\N{NO-BREAK SPACE}", " ")
    assert (code, error) == (0, "")
    for name in ("workspace", "seed1", "seed2", "seed3", "base"):
        assert f"\n{name} " in said
    assert len(said.splitlines()[0].split("  ")) >= 12 or "forgotten" in said.splitlines()[0]
    assert "Recipe: seed1, seed2, seed3 (3 seeds): +25.0 points on average" in said
    assert "Repaired by every seed" in said
    flips = [json.loads(line) for line in (project.folder / "board/flips.jsonl").read_text().splitlines()]
    assert {flip["kind"] for flip in flips} == {"stable_repair", "stable_break", "lottery"}
    lottery = next(flip for flip in flips if flip["kind"] == "lottery")
    assert 0 < lottery["repaired"] + lottery["broken"] < lottery["seeds"] == 3


@pytest.mark.pipeline
@pytest.mark.xdist_group("board")
def test_predictions_that_are_in_no_cache_are_refused(project):
    shutil.rmtree(project.folder / "data/predictions", ignore_errors=True)
    code, _, error = tunediff(project.folder, "board", ".", "seed1")
    assert code == 1
    assert "workspace: data/predictions/tuned/test.parquet: is neither in the project nor in a reachable cache" in error
