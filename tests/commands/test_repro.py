"""`tunediff repro` on a pipeline of three stages that measure their cost as ours do, through DVC, for real."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from tests.three_stages import NAMES, Pipeline

pytestmark = pytest.mark.pipeline


@pytest.fixture
def pipeline(tmp_path):
    """Nothing has run yet."""
    return Pipeline(tmp_path)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    pipeline = Pipeline(tmp_path_factory.mktemp("first"))
    code, output, _ = pipeline.tunediff("repro")
    assert (code, states(output)) == (0, all_are("ran"))
    return pipeline.folder


@pytest.fixture
def made(pipeline, first_run):
    """The state after a first run."""
    shutil.copytree(first_run, pipeline.folder, dirs_exist_ok=True)
    return pipeline


def states(output):
    """What is said of each stage."""
    words = "ran|from the cache|stopped|not made|not known|changed since"
    return {name: re.search(rf"^{name} +({words}) ", output, flags=re.MULTILINE)[1] for name in NAMES}


def wait_for_the_end_of(group):
    """DVC takes a killed process for a living one until the system has taken its number back."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)


def all_are(word):
    return dict.fromkeys(NAMES, word)


def test_an_unchanged_second_run_saves_what_the_first_one_took(pipeline):
    code, output, _ = pipeline.tunediff("repro")
    assert (code, states(output)) == (0, all_are("ran"))
    took = pipeline.seconds(*NAMES)
    assert "0 of 3 stages came from the cache and saved 0.0 s.\n" in output
    assert f"3 ran and took {took:,.1f} s.\n" in output
    code, output, _ = pipeline.tunediff("repro")
    assert (code, states(output)) == (0, all_are("from the cache"))
    assert pipeline.seconds(*NAMES) == took
    assert f"3 of 3 stages came from the cache and saved {took:,.1f} s.\n" in output
    # And again, from the note alone.
    assert pipeline.tunediff("cost") == (0, output, "")


def test_what_is_changed_runs_and_an_earlier_setting_comes_from_the_cache(made):
    earlier = made.seconds(*NAMES)
    made.change(train={"learning_rate": 0.5})
    output = made.tunediff("repro")[1]
    assert states(output) == {"prepare": "from the cache", "train": "ran", "diff_cases": "from the cache"}
    assert f"2 of 3 stages came from the cache and saved {made.seconds('prepare', 'diff_cases'):,.1f} s" in output
    assert f"1 ran and took {made.seconds('train'):,.1f} s" in output
    (made.folder / "raw.txt").write_text("other")
    assert states(made.tunediff("repro")[1]) == all_are("ran")
    (made.folder / "raw.txt").write_text("raw")
    made.change(train={"learning_rate": 3.0e-3})
    output = made.tunediff("repro")[1]
    # Restored with the costs of the run that made them, not with those of the last one.
    assert states(output) == all_are("from the cache")
    assert made.seconds(*NAMES) == pytest.approx(earlier)


def test_a_run_that_fails_half_way_says_what_was_not_made_and_passes_the_exit_code_on(made):
    (made.folder / "fail").touch()
    made.change(train={"learning_rate": 0.5})
    code, output, error = made.tunediff("repro")
    assert code != 0
    assert "failed to reproduce 'train'" in error
    assert states(output) == {"prepare": "from the cache", "train": "stopped", "diff_cases": "not made"}
    assert f"ended with exit code {code} after" in output
    assert f"1 of 3 stages came from the cache and saved {made.seconds('prepare'):,.1f} s" in output
    assert re.search(r"train was stopped after about \d", output)
    # What lies there of the comparison is of the earlier model.
    assert re.search(rf"^all +{made.seconds('prepare'):,.1f} ", output, flags=re.MULTILINE)
    assert "Cost per net repaired case: unknown" in output


def test_a_run_that_was_killed_is_not_told_as_if_it_had_ended(made):
    made.change(train={"learning_rate": 0.5})
    process = made.start_and_wait_in_train()
    code, output, error = made.tunediff("repro")
    assert (code, output) == (1, "")
    assert f"another tunediff repro is running (process {process.pid})" in error
    assert "is still running." in made.tunediff("cost")[1]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for_the_end_of(process.pid)
    code, output, _ = made.tunediff("cost")
    assert code == 0
    assert "was killed before it ended." in output
    assert states(output) == {"prepare": "from the cache", "train": "stopped", "diff_cases": "not made"}
    assert "train was stopped; how long it ran is unknown." in output
    (made.folder / "wait").unlink()
    assert states(made.tunediff("repro")[1])["train"] == "ran"


def test_after_ctrl_c_the_end_of_the_run_is_told_all_the_same(pipeline):
    process = pipeline.start_and_wait_in_train()
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert states(out) == {"prepare": "ran", "train": "stopped", "diff_cases": "not made"}
    assert "Traceback" not in out[out.index("stage  ") :]


@pytest.mark.parametrize("command", ["repro", "launch train --hosts 1 --host 0 --address localhost:1"])
def test_sigterm_ends_all_that_was_started_and_ends_as_shells_expect(pipeline, command):
    pipeline.dvc("repro", "--quiet", "prepare")
    process = pipeline.start_and_wait_in_train(*command.split())
    started = psutil.Process(process.pid).children(recursive=True)
    assert {"sleep", "sh"} <= {one.name() for one in started}
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as `timeout` does
    out, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert error.splitlines()[-1] == "tunediff: stopped; run the same command to resume from the last checkpoint"
    assert "Traceback" not in error
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert command != "repro" or states(out)["train"] == "stopped"
    (pipeline.folder / "wait").unlink()
    assert states(pipeline.tunediff("repro")[1]) == {
        "prepare": "from the cache",
        "train": "ran",
        "diff_cases": "ran",
    }


def test_another_price_runs_nothing_and_is_used_at_once(made):
    took = made.seconds(*NAMES)
    made.change(cost={"price_per_hour": 3600.0, "currency": "EUR"})
    [money] = re.findall(r"3 ran and took [\d.]+ s \(([\d.]+) EUR\)", made.tunediff("cost")[1])
    assert float(money) == pytest.approx(took, rel=0.01)  # printed with three digits
    output = made.tunediff("repro")[1]
    assert states(output) == all_are("from the cache")
    [total, each] = re.search(
        r"  all stages, ([\d.]+) EUR: ([\d.]+) EUR per net repaired case, 95% interval ", output
    ).groups()
    assert (float(total), float(each)) == pytest.approx((took, took / 47), rel=0.01)


def test_what_dvc_ran_by_itself_is_not_told_as_part_of_the_last_run(pipeline):
    code, output, _ = pipeline.tunediff("cost")
    assert (code, "No run of `make repro` or `tunediff repro` is recorded here" in output) == (0, True)
    pipeline.dvc("repro", "--quiet")
    assert "saved" not in pipeline.tunediff("cost")[1].split("\n\n")[1]
    pipeline.tunediff("repro")
    pipeline.change(train={"learning_rate": 0.5})
    (pipeline.folder / "large").touch()
    pipeline.dvc("repro", "--quiet")
    output = pipeline.tunediff("cost")[1]
    assert states(output) == {"prepare": "from the cache", "train": "changed since", "diff_cases": "from the cache"}
    assert f"2 of 3 stages came from the cache and saved {pipeline.seconds('prepare', 'diff_cases'):,.1f} s" in output


def test_a_wrong_parameter_stops_the_run_before_anything_is_removed(made):
    files = sorted(str(path) for path in made.folder.rglob("*") if ".dvc/" not in str(path))
    note = (made.folder / ".scratch/repro/run.json").read_text()
    made.change(train={"learning_rate": "fast"}, cost={"price": 1})
    code, output, error = made.tunediff("repro")
    assert (code, output) == (1, "")
    assert "tunediff: params.yaml: train.learning_rate: found 'fast'" in error
    assert "tunediff: params.yaml: cost.price: is not a known key" in error
    assert sorted(str(path) for path in made.folder.rglob("*") if ".dvc/" not in str(path)) == files
    assert (made.folder / ".scratch/repro/run.json").read_text() == note


def test_outside_a_project_there_is_one_line(tmp_path):
    for command in ("repro", "cost"):
        done = subprocess.run(
            [sys.executable, "-m", "tunediff.commands.main", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, "tunediff: dvc.yaml: there is no such file\n")
        assert list(tmp_path.iterdir()) == []


def test_the_other_seeds_are_experiments_that_train_anew_and_take_the_rest_from_the_cache(tmp_path):
    pipeline = Pipeline(tmp_path, git=True)
    first = yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["seed"]
    code, said, error = pipeline.tunediff("repro", "--seeds", "3")
    assert code == 0, said + error
    names = re.search(r"Gain of the recipe: tunediff board \. (.*)", said)[1].split()
    assert [name.split("-")[0] for name in names] == [f"seed{first + 1}", f"seed{first + 2}"]
    # All seeds but the present one: the workspace is as the first run left it.
    assert yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]["seed"] == first
    for number, name in enumerate(names, start=1):
        shown = subprocess.run(
            ["git", "show", f"{revision(tmp_path, name)}:params.yaml"], cwd=tmp_path, capture_output=True, check=True
        )
        assert yaml.safe_load(shown.stdout)["train"]["seed"] == first + number
    assert said.count("Running stage 'train'") == 2
    assert "Running stage 'prepare'" not in said
    # These stages write no predictions.
    assert "tunediff: cannot report on the recipe: dvc.yaml: stages.eval_tuned.cmd: found no --predictions" in error
    # Once more: nothing is queued.
    code, said, _ = pipeline.tunediff("repro", "--seeds", "3")
    assert code == 0
    assert [f"{name}: exists from an earlier run" in said for name in names] == [True, True]
    assert "Running stage" not in said


def revision(folder, name):
    """The commit of an experiment."""
    refs = subprocess.run(["git", "for-each-ref", "refs/exps"], cwd=folder, capture_output=True, text=True, check=True)
    [commit] = [line.split()[0] for line in refs.stdout.splitlines() if line.endswith(f"/{name}")]
    return commit


def test_a_number_of_seeds_below_one_is_refused(pipeline):
    code, _, error = pipeline.tunediff("repro", "--seeds", "0")
    assert (code, error) == (1, "tunediff: --seeds: found 0, expected a number of seeds of at least 1\n")
