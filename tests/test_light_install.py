"""What `pip install tunediff` brings is enough for `diff` and `score`; what the extra `models` brings is blocked."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.imports import ROOT
from tunediff.runtime.errors import EXTRA_PACKAGES

LIGHT = """
import sys
from tunediff.runtime.errors import EXTRA_PACKAGES

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in EXTRA_PACKAGES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from tunediff.commands.main import main
main()
"""


def light(folder, *arguments):
    command = [sys.executable, "-c", LIGHT, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_names_of_the_extra_are_those_that_are_blocked_here():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    declared = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in extras["models"]}
    modules = packages_distributions()
    found = {one.lower().replace("_", "-") for module in EXTRA_PACKAGES for one in modules[module]}
    assert found == declared - {"ruamel"}  # ruamel.yaml.clib, which DVC's reader imports


@pytest.mark.slow
def test_the_help_of_every_command_needs_nothing_of_it(tmp_path):
    code, out, error = light(tmp_path, "--help")
    assert (code, error) == (0, "")
    assert "predict" in out


@pytest.mark.slow
def test_two_tables_are_compared_with_page_and_pictures(tmp_path):
    for name, right in (("before", 5), ("after", 8)):
        rows = [f"{i},{'ab'[i % 2]},{'ab'[i % 2 if i % 10 < right else 1 - i % 2]}\n" for i in range(60)]
        (tmp_path / f"{name}.csv").write_text("case_id,label,prediction\n" + "".join(rows))
    code, _, error = light(tmp_path, "diff", "before.csv", "after.csv", "--out", "found")
    assert (code, error) == (0, ""), error
    metrics = json.loads((tmp_path / "found/metrics.json").read_text())
    assert (metrics["accuracy_base"], metrics["accuracy_tuned"]) == (0.5, 0.8)
    assert "<svg" in (tmp_path / "found/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_answers_are_scored(tmp_path):
    asked = {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}
    data = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "Ada did.", "qas": [asked]}]}]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    (tmp_path / "answers.json").write_text('{"1": "ada"}')
    arguments = ["--task", "squad", "--data", "data.json", "--predictions", "answers.json", "--json"]
    code, out, error = light(tmp_path, "score", *arguments)
    assert (code, error) == (0, "")
    assert json.loads(out)["exact_match"] == 100


@pytest.mark.slow
def test_a_command_that_needs_a_model_ends_in_a_line_that_names_the_extra(tmp_path):
    code, out, error = light(tmp_path, "count-params", ROOT / "recipes/phi2-snli-a.yaml")
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"tunediff: this needs \w+, which is not installed: pip install '.\[models\]' in the clone of tunediff\n", error
    ), error


@pytest.mark.slow
def test_a_pipeline_without_dvc_ends_in_the_same_line(tmp_path):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"))
    code, _, error = light(tmp_path, "repro")
    assert (code, error) == (
        1,
        "tunediff: this needs dvc, which is not installed: pip install '.[models]' in the clone of tunediff\n",
    )
