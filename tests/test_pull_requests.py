"""The workflow of pull requests: its form, and its commands run here, in a clone, as GitHub would run them."""

import os
import re
import shutil

import pandas as pd
import pytest
import yaml

from tests.imports import ROOT
from tests.project import git

TEXT = (ROOT / ".github/workflows/pull-request.yml").read_text(encoding="utf-8")
# YAML 1.1 reads the key `on` as true.
WORKFLOW = yaml.safe_load(TEXT) | {"on": yaml.safe_load(TEXT)[True]}
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


def test_no_text_of_a_pull_request_is_put_into_a_command():
    commands = [step["run"] for step in STEPS if "run" in step]
    assert len(commands) > 5
    assert not [command for command in commands if "${{" in command]


def test_the_workflow_runs_without_rights_beyond_reading_and_only_the_job_that_runs_no_code_may_write():
    assert WORKFLOW["on"] == "pull_request", "pull_request_target would hand secrets to code of strangers"
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "tests": {"contents": "read"},
        "results": {"contents": "read"},
        "comment": {"pull-requests": "write"},
    }
    assert not [step for step in JOBS["comment"]["steps"] if "checkout" in step.get("uses", "")]
    for step in STEPS:
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False
        if "secrets." in str(step) or "github.token" in str(step):
            assert SAME_REPOSITORY in step.get("if", JOBS["comment"]["if"])


def test_every_action_is_pinned_to_a_commit_and_every_job_ends():
    for line in re.findall(r"uses: (.*)", TEXT):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())


def test_the_tests_are_those_that_a_change_must_pass():
    assert [step["run"] for step in JOBS["tests"]["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


class Runner:
    """Runs the `run` steps of a job in order, as far as their `if` lets it; `failed` names those that fail."""

    def __init__(self, project, folder, base):
        self.project, self.folder, self.base = project, folder, base
        self.failed, self.output = [], ""

    def value(self, expression):
        known = {
            "github.event.pull_request.base.sha": self.base,
            "github.event.pull_request.number": "7",
            "github.repository": "me/tunediff",
            "github.token": "token",
            "secrets.DVC_ACCESS_KEY_ID": "",
            "secrets.DVC_SECRET_ACCESS_KEY": "",
        }
        return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], expression)

    def run(self, job, **env):
        for step in job["steps"]:
            goes_on = "!cancelled()" in step.get("if", "")
            # What sets the machine up has been done: the programs are those that run this test.
            if "run" not in step or step["name"] == "Set up" or (self.failed and not goes_on):
                continue
            given = {key: self.value(value) for key, value in (job.get("env", {}) | step.get("env", {})).items()}
            (self.folder / "step").write_text(step["run"])
            said = self.project.run(
                "bash", "-c", 'bash --noprofile --norc -eo pipefail "$0"; echo "exit code $?"', self.folder / "step",
                GITHUB_STEP_SUMMARY=str(self.folder / "summary.md"), **given | env,
            )  # fmt: skip
            self.output += said
            if not said.endswith("exit code 0\n"):
                self.failed.append(step["name"])


@pytest.fixture
def pull_request(small_run, tmp_path):
    """A branch of a project whose base branch and remote have their results; the runner for it."""
    author = small_run.copy(tmp_path / "author")
    author.run("dvc", "remote", "add", "-d", "team", str(tmp_path / "store"))
    author.commit("remote")
    base = git(author.folder, "rev-parse", "HEAD").strip()
    author.run("dvc", "push")

    def open_it(message):
        author.commit(message)
        author.run("dvc", "push")
        return Runner(author.clone(tmp_path / "runner"), tmp_path, base)

    return author, open_it


@pytest.mark.pipeline
def test_a_good_pull_request_passes_and_its_comment_says_what_it_changes(pull_request, tmp_path):
    author, open_it = pull_request
    author.change(report={"title": "`$(touch hacked)` <b>@all</b>"})
    author.run("dvc", "repro")
    runner = open_it("Another title; $(touch hacked)")
    runner.run(JOBS["results"])
    assert runner.failed == [], runner.output
    comment = (runner.project.folder / "comment.md").read_text()
    assert (tmp_path / "summary.md").read_text() == comment
    assert "| params.yaml | report.title |" in comment
    assert "## From the base branch's model to this one: exit code 0" in comment
    assert "0 repaired - 0 broken = +0" in comment
    assert "<summary>reports/report.md</summary>" in comment
    assert len(comment) < 65_536, "GitHub takes no longer comment"
    assert not list(tmp_path.rglob("hacked"))

    # The one program of GitHub's own: what it is given.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text('#!/bin/sh\nprintf "%s\\n" "$GH_REPO" "$@"\n')
    (tmp_path / "bin/gh").chmod(0o755)
    [step] = [step for step in JOBS["comment"]["steps"] if "run" in step]
    given = {key: runner.value(value) for key, value in step["env"].items()}
    shutil.copy(runner.project.folder / "comment.md", tmp_path / "comment.md")
    said = runner.project.run("bash", "-ec", step["run"], **given | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    assert said.split() == [
        "me/tunediff", "pr", "comment", "7", "--edit-last", "--create-if-none", "--body-file", "comment.md"
    ]  # fmt: skip


@pytest.mark.pipeline
def test_a_model_that_breaks_cases_or_results_that_were_not_computed_close_the_gate_and_say_why(pull_request):
    author, open_it = pull_request
    path = author.folder / "data/predictions/tuned/test.parquet"
    rows = pd.read_parquet(path)
    path.unlink()
    right = rows.index[rows["outcome"] == "right"][:20]
    rows.loc[right, "prediction"] = rows.loc[right, "label"].map(
        {"entailment": "neutral", "neutral": "contradiction", "contradiction": "entailment"}
    )
    rows.loc[right, "outcome"] = "wrong"
    rows.to_parquet(path, index=False)
    author.run("dvc", "commit", "--force", "eval_tuned")
    runner = open_it("A model that breaks 20 cases, not compared with the base")
    runner.run(JOBS["results"])
    assert runner.failed == ["Nothing is left to compute", "Negative flips and report"]
    comment = (runner.project.folder / "comment.md").read_text()
    assert re.search(r"## Results are missing\n.*\n\n    .*'diff_cases'", comment)
    assert "exit code 3" in comment
    assert "verdict: fail" in comment
    assert re.search(r"negative flips of all 120 cases: 16\.67% .*, at most 5\.00% allowed: fail", comment)
