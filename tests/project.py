"""A copy of this project in a folder of its own, to run its pipeline for real."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.imports import ROOT
from tests.warm import warm_python


class Project:
    """A working copy with its own git history and DVC cache."""

    def __init__(self, folder: Path, **changes):
        self.folder = folder
        listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        for name in listed:
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        # A stranger's clone has the committed lock; results of other parameters must not be taken for ours.
        self.change(**changes)
        git(folder, "init", "--quiet")
        self.commit("start")

    @classmethod
    def at(cls, folder):
        """The working copy that another process has made."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    def copy(self, folder):
        """The project as it stands, in another folder, for a test that changes it."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Project.at(folder)

    def results(self):
        """Everything that the run made and that must be the same each time: bytes by path, without costs and pages."""
        kept = ["cases.jsonl", "train_log.csv", "pretrain_log.csv", "parameters.csv", "notes.json"]
        folders = ["data/splits", "data/test_sets", "data/plots", "models/base", "models/tuned", "metrics"]
        folders += [f"data/{kind}/{model}" for kind in ("answers", "predictions") for model in ("base", "tuned")]
        found = [self.folder / "data" / name for name in kept]
        found += [path for name in folders for path in sorted((self.folder / name).iterdir()) if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}

    def clone(self, folder, *options):
        """What a colleague gets of it from Git: no results, no settings of one's own."""
        git(self.folder, "clone", "--quiet", *options, str(self.folder), str(folder))
        return Project.at(folder)

    def commit(self, message):
        git(self.folder, "add", "--all")
        git(
            self.folder,
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            message,
        )

    def params(self):
        return yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))

    def change(self, **changes):
        """Change params.yaml: change(train={"learning_rate": 0.1})."""
        params = self.params()
        for section, values in changes.items():
            params[section] = params[section] | values
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def run(self, *command, check=True, **env):
        """Run a command in the project with this Python first on the path, warm; its whole output."""
        # No .resolve(): a virtual environment's python is a link to the one outside it.
        path = os.pathsep.join([str(warm_python(env).parent), str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "200"} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def stages_run(self, *command, **env):
        """The stages that a `dvc` command ran, in order."""
        lines = self.run(*command, **env).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def metrics(self, name):
        return json.loads((self.folder / "metrics" / f"{name}.json").read_text(encoding="utf-8"))

    def outputs(self):
        """What the stages wrote, by path, but for what differs from run to run: costs and the report with them."""
        found = {}
        for name, stage in yaml.safe_load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
            entries = [entry for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
            paths = [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]
            for path in (self.folder / path for path in paths if name != "report" and "cost" not in path):
                for file in [path] if path.is_file() else sorted(path.rglob("*")):
                    found[str(file.relative_to(self.folder))] = file.read_bytes()
        return found


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def environment():
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"  # noqa: PTH120
    return os.environ | {"PATH": path, "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def deterministic(results):
    """Without what depends on the clock."""
    return {path: data for path, data in results.items() if not path.startswith("metrics/cost")}


def nothing_is_left(project):
    assert not list(project.folder.rglob("*being-written*"))
    assert [path.name for path in (project.folder / ".scratch").glob("*/*") if path.is_dir()] == []


SMALL = {
    "data": {"synthetic": {"name": "captions", "seed": 1, "train": 240, "validation": 60, "test": 120}},
    "model": {
        "config": {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 128,
        }
    },
    "pretrain": {"documents": 200},
    "train": {"num_train_epochs": 2},
}
