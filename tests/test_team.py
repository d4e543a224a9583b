"""People who share a DVC cache, by the commands of docs/team.md, through real servers on this machine."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.imports import ROOT
from tests.project import git
from tests.remotes import REMOTES, broken_objects, plain_folder, ssh

pytestmark = [pytest.mark.remote, pytest.mark.xdist_group("team")]

TEAM = (ROOT / "docs/team.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^## (.*)", TEAM, flags=re.MULTILINE)


def block(heading, **instead):
    """The commands of a section of docs/team.md; `instead` of what is not the same everywhere."""
    [commands] = re.findall(rf"^## {heading}\n.*?```sh\n(.*?)```", TEAM, flags=re.MULTILINE | re.DOTALL)
    for old, new in instead.items():
        assert old in commands
        commands = commands.replace(old, new)
    return commands


def sh(project, commands, **env):
    return project.run("bash", "-euxo", "pipefail", "-c", commands, **env)


def member(project):
    """Someone who may commit."""
    git(project.folder, "config", "user.name", project.folder.name)
    git(project.folder, "config", "user.email", f"{project.folder.name}@team")
    return project


@pytest.fixture(scope="module")
def ann(small_run, tmp_path_factory):
    """The first of the team: the pipeline's results and those of another parameter are in her cache."""
    ann = member(small_run.copy(tmp_path_factory.mktemp("team") / "ann"))
    limit = ann.params()["report"]["cases_per_transition"]
    ann.change(report={"cases_per_transition": 3})
    assert ann.stages_run("dvc", "repro") == ["settings", "report"]
    ann.change(report={"cases_per_transition": limit})
    assert ann.stages_run("dvc", "repro") == []
    git(ann.folder, "commit", "--quiet", "--all", "--allow-empty", "--message", "as it was")
    return ann


def founded(ann, folder, remote):
    """A team whose first member shared her cache as docs/team.md says; `join` adds members."""
    hub = ann.clone(folder / "hub.git", "--bare")
    first = member(ann.copy(folder / "first"))
    git(first.folder, "remote", "add", "origin", str(hub.folder))
    git(first.folder, "fetch", "--quiet")
    git(first.folder, "branch", "--quiet", "--set-upstream-to", f"origin/{branch(first)}")
    wanted = "".join(f"\ndvc remote modify team {key} {value}" for key, value in remote.settings.items())
    sh(first, block("Set up the remote", **{"ssh://dvc-store/srv/tunediff": f"{remote.url}{wanted}"}), **remote.env)

    def join(name):
        return member(hub.clone(folder / name))

    return SimpleNamespace(first=first, hub=hub, join=join)


def branch(project):
    return git(project.folder, "branch", "--show-current").strip()


def pytest_generate_tests(metafunc):
    """Every remote; where two people work at once, and DVC's work is the same for all, SSH alone but for --long."""
    if "remote" in metafunc.fixturenames:
        alone = "at_once" in metafunc.function.__name__ and not metafunc.config.getoption("--long")
        metafunc.parametrize("remote", ["ssh"] if alone else REMOTES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def remote(request, tmp_path_factory):
    with REMOTES[request.param](tmp_path_factory.mktemp(request.param)) as remote:
        yield remote


@pytest.fixture(scope="module")
def team(ann, remote, tmp_path_factory):
    return founded(ann, tmp_path_factory.mktemp("members"), remote)


def test_what_one_ran_another_takes_and_a_third_computes_only_what_hangs_on_a_change(team, remote, long):
    commands = block(
        "Join",
        **{"git clone ADDRESS tunediff": ":", "cd tunediff": ":", "make setup": ":", "pip install": ": pip install"},
    )
    ben = team.join("ben")
    said = sh(ben, commands.replace(". .venv/bin/activate", ":"), **remote.env)
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    for path in (
        "data/predictions/tuned/test.parquet",
        "models/tuned/adapter_model.safetensors",
        "reports/report.html",
    ):
        assert (ben.folder / path).read_bytes() == (team.first.folder / path).read_bytes()

    cem = team.join("cem")
    changed = {"train": {"learning_rate": 1e-3}} if long else {"report": {"cases_per_transition": 4}}
    cem.change(**changed)
    changed_stages = ["train", "predict_tuned", "eval_tuned", "diff_cases", "report"] if long else ["report"]
    assert cem.stages_run("dvc", "repro", "--pull", **remote.env) == ["settings", *changed_stages]
    assert broken_objects(remote) == []


def test_a_lost_remote_is_said_and_harms_nothing_and_the_next_pull_goes_through(team, remote):
    dan = team.join("dan")
    before = remote.objects()
    remote.stop()
    try:
        for command in (["pull"], ["push", "--run-cache"]):
            who = dan if command == ["pull"] else team.first
            (who.folder / "new.txt").write_text("x")
            if who is team.first:
                who.run("dvc", "add", "--quiet", "new.txt")
            done = who.run("bash", "-c", f'dvc {" ".join(command)}; echo "exit code $?"', **remote.env)
            assert re.search(r"^ERROR: ", done, flags=re.MULTILINE), done
            assert "exit code 0" not in done
            assert "Traceback" not in done
        assert not (dan.folder / "models/tuned").exists()
        assert team.first.stages_run("dvc", "repro", **remote.env) == []
    finally:
        remote.start()
    assert remote.objects() == before
    assert dan.stages_run("dvc", "repro", "--pull", **remote.env) == []


def test_pushing_and_pulling_at_once_loses_nothing(team, remote):
    people = [team.join(f"writer-{number}") for number in range(2)]
    for number, person in enumerate(people):
        for size in range(20):
            (person.folder / f"big-{size}").write_bytes(f"{number if size % 2 else 'both'} {size}".encode() * 50_000)
        person.run("dvc", "add", *(f"big-{size}" for size in range(20)))
        person.commit("files")
        git(person.folder, "push", "--quiet", "origin", f"HEAD:refs/heads/writer-{number}")
    reader = team.join("reader")
    with ThreadPoolExecutor() as at_once:
        jobs = [at_once.submit(person.run, "dvc", "push", "--run-cache", **remote.env) for person in people]
        jobs.append(at_once.submit(reader.run, "dvc", "pull", "--run-cache", **remote.env))
        said = [job.result() for job in jobs]
    assert all("pushed" in one for one in said[:2])
    assert broken_objects(remote) == []
    for number, person in enumerate(people):
        git(reader.folder, "checkout", "--quiet", f"origin/writer-{number}")
        reader.run("dvc", "pull", **remote.env)
        for size in range(20):
            assert (reader.folder / f"big-{size}").read_bytes() == (person.folder / f"big-{size}").read_bytes()


@pytest.fixture
def folder_team(ann, tmp_path):
    with plain_folder(tmp_path) as remote:
        yield founded(ann, tmp_path, remote), remote


def test_a_merge_conflict_in_dvc_lock_is_resolved_as_the_document_says(folder_team):
    team, _ = folder_team
    ann, ben = team.first, team.join("ben")
    ann.change(report={"cases_per_transition": 3})
    work = block("Work", **{"# ... change params.yaml or code ...": "true"})
    assert "Running stage" not in sh(ann, work.replace("git pull\n", "").replace("dvc pull --run-cache\n", ""))

    ben.run("dvc", "pull", "--run-cache")
    ben.change(diff={"confidence": 0.9})
    assert ben.stages_run("dvc", "repro") == ["settings", "diff_cases", "report"]
    ben.commit("Intervals of 90 %")

    # Before it is resolved, nothing runs on half a lock.
    said = sh(
        ben,
        block("A conflict in dvc.lock", **{"git checkout origin/HEAD": "dvc repro || true\ngit checkout origin/HEAD"}),
    )
    assert "CONFLICT (content): Merge conflict in dvc.lock" in said
    assert "'./dvc.lock' is invalid (possible merge conflicts)" in said
    assert "Stage 'diff_cases' is cached - skipping run, checking out outputs" in said
    ran = [line for line in said.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'settings':", "Running stage 'report':"]
    assert git(ben.folder, "status", "--porcelain") == ""
    params = ben.params()
    assert (params["report"]["cases_per_transition"], params["diff"]["confidence"]) == (3, 0.9)
    assert team.join("cem").stages_run("dvc", "repro", "--pull") == []


def test_a_whole_cache_handed_over_spares_others_what_no_commit_names(folder_team):
    team, remote = folder_team
    ben = team.join("ben")
    [command] = [line for line in TEAM.splitlines() if line.startswith("cp -rn .dvc/cache/files")]
    team.first.run(*command.removesuffix("a folder").replace("/srv/tunediff/", remote.url).split())
    ben.run("dvc", "pull", "--run-cache")
    ben.change(report={"cases_per_transition": 3})
    assert ben.stages_run("dvc", "repro", "--pull") == []


def test_a_damaged_object_is_refused_and_gc_of_one_workspace_takes_the_work_of_others(folder_team):
    team, remote = folder_team
    ben = team.join("ben")
    lock = yaml.safe_load((ben.folder / "dvc.lock").read_text())["stages"]["eval_tuned"]
    [listing] = [out["md5"] for out in lock["outs"] if out["path"] == "data/predictions/tuned"]
    objects = Path(remote.url) / "files/md5"
    entries = json.loads((objects / listing[:2] / listing[2:]).read_text())
    [md5] = [entry["md5"] for entry in entries if entry["relpath"] == "test.parquet"]
    file = objects / md5[:2] / md5[2:]
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"x" + whole[1:])
    assert "exit code 0" not in ben.run("bash", "-c", 'dvc pull; echo "exit code $?"')
    assert not (ben.folder / "data/predictions/tuned/test.parquet").exists()
    file.write_bytes(whole)
    assert ben.stages_run("dvc", "repro", "--pull") == []

    ben.change(report={"cases_per_transition": 4})
    ben.run("dvc", "repro")
    before = set(remote.objects())
    ben.run("dvc", "gc", "--workspace", "--cloud", "--force")
    assert {name for name in before - set(remote.objects()) if name.startswith("files/md5/")}


def test_dvc_takes_any_key_of_an_ssh_server_and_a_tunnel_does_not(ann, tmp_path):
    with ssh(tmp_path) as remote:
        team = founded(ann, tmp_path, remote)
        known = tmp_path / "home/.ssh/known_hosts"
        other = (tmp_path / "home/.ssh/id_ed25519.pub").read_text().split()[1]
        host, kind, _ = known.read_text().split()
        known.write_text(f"{host} {kind} {other}\n")
        assert "files added" in team.join("ben").run("dvc", "pull", **remote.env)
        done = subprocess.run(
            ["ssh", "-F", str(known.parent / "config"), "-o", "BatchMode=yes", "dvc-store", "true"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "Host key verification failed" in done.stderr
