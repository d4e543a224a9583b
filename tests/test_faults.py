"""What goes wrong outside: a full disk, a folder that is read-only, files that were deleted, edited or damaged.

With the real programs: one line that says what is wrong, nothing half-written, and the next run recovers.
"""

import os
import resource
import shutil
import subprocess
import sys
from copy import copy

import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.imports import ROOT
from tests.project import deterministic, environment, nothing_is_left
from tests.tiny import small_tokenizer
from tests.warm import warm_python
from tunediff.runtime.errors import unwritable
from tunediff.runtime.files import write_text

pytestmark = pytest.mark.pipeline

PREDICTIONS = "data/predictions/tuned/test.parquet"


@pytest.fixture(scope="module")
def project(small_run, tmp_path_factory):
    return small_run.copy(tmp_path_factory.mktemp("faults"))


def run_stage(project, name, limit=None):
    """Run a stage's command by hand, with files of so many bytes at most; exit code and what was said."""
    command = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"][name]["cmd"]
    done = subprocess.run(
        command.replace("python", str(warm_python() if limit is None else sys.executable), 1),
        shell=True,
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    return done.returncode, done.stdout, done.stderr


def bytes_of(project):
    folders = ("data", "models", "metrics", "reports")
    return {
        path: path.read_bytes()
        for folder in folders
        for path in (project.folder / folder).rglob("*")
        if path.is_file() and "cost" not in path.parts
    }


# The disk


@pytest.mark.parametrize("name", ["prepare", "diff_cases"])
def test_a_disk_that_is_full_is_one_line_and_leaves_what_was_there(name, project):
    before = bytes_of(project)
    code, _, error = run_stage(project, name, limit=4096)
    assert (code, error.count("\n")) == (1, 1), error
    assert error.startswith("tunediff: ")
    assert "File too large" in error
    assert bytes_of(project) == before
    assert run_stage(project, name)[0] == 0
    assert bytes_of(project) == before


@pytest.mark.long
def test_a_model_that_does_not_fit_on_the_disk_is_one_line_and_the_next_run_goes_on(small_run, tmp_path):
    project = small_run.copy(tmp_path)
    for name, limit in (("train", 20_000), ("predict_tuned", 2_000), ("base_model", 20_000)):
        before = bytes_of(project)
        code, _, error = run_stage(project, name, limit)
        assert code == 1, error
        assert any(line.startswith("tunediff: ") for line in error.splitlines()), error
        assert "Traceback" not in error
        assert bytes_of(project) == before
        assert run_stage(project, name)[0] == 0
        assert bytes_of(project) == before


@pytest.mark.long
def test_a_real_disk_that_fills_up_under_dvc(tmp_path, small_run):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(small_run.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache", "tmp"))
        project = copy(small_run)
        project.folder = tmp_path
        (tmp_path / "dvc.lock").unlink()
        free = shutil.disk_usage(tmp_path).free
        (tmp_path / "ballast").write_bytes(b"0" * max(0, free - 600_000))
        output = project.run("dvc", "repro", check=False)
        assert "No space left on device" in output
        assert "Traceback" not in output
        subprocess.run(["mount", "-o", "remount,size=200m", tmp_path], check=True)
        (tmp_path / "ballast").unlink()
        project.run("dvc", "repro")
        assert deterministic(project.results()) == deterministic(small_run.results())
        nothing_is_left(project)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_what_each_library_says_of_a_full_disk_is_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensor = torch.zeros(200_000)
    ways = [
        lambda: save_file({"x": tensor}, "x.safetensors"),
        lambda: torch.save({"x": tensor}, "x.pt"),
        lambda: small_tokenizer().save_pretrained("tokenizer"),
        lambda: (tmp_path / "x").write_bytes(b"0" * 200_000),
    ]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for way in ways:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
        try:
            way()
        except Exception as error:  # each library has its own
            said = unwritable(error)
        else:
            said = "nothing"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert said is not None
        assert "File too large" in said or "disk may be full" in said, said
    assert unwritable(ValueError("wrong")) is None


def test_a_folder_that_is_read_only_is_one_line(project):
    folder = project.folder / "data/splits"
    parent = folder.parent
    mounted = False
    if os.geteuid() == 0:  # to whom modes say nothing
        mounted = subprocess.run(["mount", "--bind", parent, parent], capture_output=True).returncode == 0
        if not mounted or subprocess.run(["mount", "-o", "remount,bind,ro", parent], capture_output=True).returncode:
            pytest.skip("root, and cannot mount a folder read-only")
    else:
        parent.chmod(0o555)
    try:
        before = bytes_of(project)
        code, _, error = run_stage(project, "prepare")
        assert (code, error.count("\n")) == (1, 1), error
        assert error.startswith("tunediff: data/splits: cannot be written: ")
        assert bytes_of(project) == before
    finally:
        if mounted:
            subprocess.run(["umount", parent], check=True)
        else:
            parent.chmod(0o755)
    assert run_stage(project, "prepare")[0] == 0


# Outputs and cache


def test_outputs_that_were_deleted_or_edited_come_back_from_the_cache(project, small_run):
    (project.folder / PREDICTIONS).unlink()
    shutil.rmtree(project.folder / "models/tuned")
    edited = project.folder / "metrics/eval_base.json"
    edited.write_text(edited.read_text().replace('"accuracy": 0.', '"accuracy": 1.'))
    adapter = project.folder / "models/base/model.safetensors"
    adapter.chmod(0o644)
    adapter.write_bytes(adapter.read_bytes()[:1000])
    assert project.stages_run("dvc", "repro") == []
    assert deterministic(project.results()) == deterministic(small_run.results())


def test_a_damaged_entry_of_the_cache_is_found_removed_and_made_again(small_run, tmp_path):
    project = small_run.copy(tmp_path)
    outs = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]["diff_cases"]["outs"]
    [name] = [out["md5"] for out in outs if out["path"] == "data/cases.jsonl"]
    stored = project.folder / ".dvc/cache/files/md5" / name[:2] / name[2:]
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:1000])
    stored.chmod(0o444)
    (project.folder / "data/cases.jsonl").unlink()
    output = project.run("python", "-m", "tunediff.commands.main", "repro")
    assert "damaged and removed; data/cases.jsonl is computed again" in output
    assert "Running stage 'diff_cases'" in output
    assert deterministic(project.results()) == deterministic(small_run.results())


@pytest.mark.parametrize("path", ["models/base/model.safetensors", "models/tuned/adapter_model.safetensors"])
def test_weights_that_end_too_early_are_one_line(path, small_run, tmp_path):
    project = small_run.copy(tmp_path)
    weights = project.folder / path
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:1000])
    code, _, error = run_stage(project, "predict_tuned")
    assert code == 1
    [line] = [line for line in error.splitlines() if line.startswith("tunediff: ")]
    assert path.rpartition("/")[0] in line
    assert "Traceback" not in error


# The remote


def test_a_remote_that_goes_away_in_the_middle_of_a_push_is_filled_by_the_next_one(small_run, tmp_path):
    project, remote = small_run.copy(tmp_path / "project"), tmp_path / "remote"
    project.run("dvc", "remote", "add", "--default", "there", str(remote))
    # Files where folders should be: some of the transfers fail, as when the remote goes away after the others.
    stored = sorted(path.name for path in (project.folder / ".dvc/cache/files/md5").iterdir())
    for name in stored[::2]:
        write_text(remote / "files/md5" / name, "")
    output = project.run("dvc", "push", check=False)
    assert "ERROR: " in output  # which one hangs on the transfer that DVC meets first
    assert "Traceback" not in output
    for name in stored[::2]:
        (remote / "files/md5" / name).unlink()
    assert "Traceback" not in project.run("dvc", "push")
    other = small_run.copy(tmp_path / "other")
    shutil.rmtree(other.folder / ".dvc/cache")
    other.run("dvc", "remote", "add", "--default", "there", str(remote))
    for folder in ("data/predictions", "models/tuned"):
        shutil.rmtree(other.folder / folder)
    other.run("git", "checkout", "--", "data")  # .gitignore, which DVC wrote there
    other.run("dvc", "pull")
    assert deterministic(other.results()) == deterministic(small_run.results())


def test_a_scratch_path_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    script = "import sys, os, signal, time\nfrom pathlib import Path\nfrom tunediff.runtime.files import replacing\n"
    script += "with replacing(Path('out')) as fresh:\n    fresh.write_text('half')\n    print('here', flush=True)\n"
    script += "    sys.stdin.read() or os.kill(os.getpid(), signal.SIGKILL)\n"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    writers = [
        subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=env, stdin=-1, stdout=-1) for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"here\n"
    assert len(list(tmp_path.glob(".out*"))) == 2
    writers[0].communicate()
    write_text(tmp_path / "out", "whole")
    assert len(list(tmp_path.glob(".out*"))) == 1
    writers[1].communicate(b"end well")
    assert writers[1].returncode == 0
    assert (tmp_path / "out").read_text() == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
