import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.shared_data import SHARED, shared_data
from tunediff.cases import read_cases
from tunediff.splits import DRAWN_FIRST

ROOT = Path(__file__).parents[2]
LABELS = ["entailment", "neutral", "contradiction"]
ARGUMENTS = {
    "--splits": "data/splits",
    "--metrics": "metrics/prepare.json",
    "--cost": "metrics/cost/prepare.json",
}


FILES = {name: f"{name}.jsonl" for name in DRAWN_FIRST}


def files_section(**changes):
    """Section data for files with SNLI's own numbers as labels."""
    return {
        "source": "files",
        "path": "data/raw",
        "files": FILES,
        "columns": {"premise": "premise", "hypothesis": "hypothesis", "label": "label"},
        "labels": dict(enumerate(LABELS)),
        "unlabelled": [-1],
        **{name: {"source": name} for name in DRAWN_FIRST},
    } | changes


PARAMS = {
    "task": {
        "name": "nli",
        "inputs": ["premise", "hypothesis"],
        "labels": LABELS,
        "source_input": "premise",
        "premise_free_input": "hypothesis",
    },
    "model": {"source": "folder", "id": "model", "head": "lm", "quantization": "none"},
    "pretrain": {"path": "data/raw", "text": "none"},
    "prompt": {"template": "{premise} {hypothesis}", "choices": {label: label for label in LABELS}},
    "evaluate": {"scorer": "choices"},
    "adapt": {"method": "full"},
    "train": {"learning_rate": 1e-3, "num_train_epochs": 1, "per_device_train_batch_size": 8},
    "diff": {},
    "report": {"title": "A test"},
}


def project(folder, data=None, rows=None):
    """A project with its parameters, and small files to read."""
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    params = PARAMS | {"data": data or files_section()}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in DRAWN_FIRST:
        made = (rows or {}).get(name) or [(f"{name} premise {i // 3}", f"hypothesis {i}", i % 3) for i in range(9)]
        lines = [json.dumps(dict(zip(("premise", "hypothesis", "label"), row, strict=True))) + "\n" for row in made]
        (folder / f"data/raw/{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def prepare(folder, raw="data/raw", hash_seed="random", **changes):
    words = [part for pair in (ARGUMENTS | changes).items() for part in pair]
    command = [sys.executable, str(ROOT / "stages/prepare.py"), "--raw", str(raw), *words]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def prepared(folder, **changes):
    done = prepare(folder, **changes)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads((folder / "metrics/prepare.json").read_text()), done.stdout


def refused(folder, **changes):
    done = prepare(folder, **changes)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("tunediff: ")
    assert done.stderr.count("\n") == 1
    assert not (folder / "data/splits").exists()
    assert not (folder / "metrics").exists()
    return done.stderr.strip()


def test_files_become_splits_metrics_and_a_summary_that_adds_up(tmp_path):
    rows = {
        "train": [("seen", "x", 0), ("shared", "x", 1), ("new", "y", 2), ("new", "z", -1)],
        "validation": [("shared", "a", 0), ("own", "c", 1)],
        "test": [("seen", "b", 0), ("other", "y", 2), ("other", "n", -1)],
    }
    metrics, summary = prepared(project(tmp_path, rows=rows))
    assert metrics == {
        "train_n": 1,
        "validation_n": 2,
        "test_n": 2,
        "dropped_unlabelled": 2,
        "dropped_shared_premises": 2,
        "leaked_pairs": 0,
        "shared_premises": 0,
        "shared_hypotheses": 1,
        "near_duplicates": 0,
        "validation_leaked_pairs": 0,
        "validation_shared_premises": 0,
        "validation_shared_hypotheses": 0,
        "validation_near_duplicates": 0,
    }
    assert "train: 4 rows read - 1 without label - 2 of a shared premise = 1 (entailment 0.0%," in summary
    assert "of 2 test cases also in train: leaked pairs 0, shared premises 0, shared hypotheses 1" in summary
    [case] = read_cases(tmp_path / "data/splits/train.jsonl", ["premise", "hypothesis"], LABELS)
    assert (case.inputs["premise"], case.label) == ("new", "contradiction")
    cost = json.loads((tmp_path / "metrics/cost/prepare.json").read_text())
    assert set(cost) == {"seconds", "peak_memory_bytes", "device"}


def test_kept_premises_are_counted_as_leaks(tmp_path):
    rows = {"train": [("p", "x", 0), ("p", "y", 1)], "test": [("p", "x", 0), ("q", "z", 1)]}
    metrics, _ = prepared(project(tmp_path, files_section(shared_premises="keep"), rows))
    assert (metrics["leaked_pairs"], metrics["shared_premises"], metrics["dropped_shared_premises"]) == (1, 1, 0)


def test_a_row_without_a_label_that_two_splits_pass_over_is_counted_once(tmp_path):
    data = files_section(
        validation={"source": "train", "select": "stratified", "fraction": 0.25, "seed": 1},
        train={"source": "train", "select": "all"},
    )
    rows = {"train": [(f"p{i}", "h", i % 3 if i else -1) for i in range(21)]}
    metrics, _ = prepared(project(tmp_path, data, rows))
    assert metrics["dropped_unlabelled"] == 1
    assert (metrics["train_n"], metrics["validation_n"]) == (15, 5)


@pytest.mark.parametrize("source", ["files", "world"])
def test_two_runs_give_the_same_bytes_whatever_the_hash_seed(source, tmp_path):
    world = {"name": "captions", "seed": 1, "train": 120, "validation": 30, "test": 30}
    columns = {name: name for name in ("premise", "hypothesis", "label")}
    draws = {name: {"source": name} for name in DRAWN_FIRST} | {
        "train": {"source": "train", "select": "stratified", "fraction": 0.5, "seed": 3}
    }
    data = {"source": "world", "path": "data/raw", "world": world, "columns": columns, **draws}
    written = []
    for seed in ("1", "2"):
        folder = project(tmp_path / seed, data if source == "world" else files_section(**draws))
        prepared(folder, hash_seed=seed)
        written.append([(folder / "data/splits" / f"{name}.jsonl").read_bytes() for name in DRAWN_FIRST])
        written[-1].append((folder / "metrics/prepare.json").read_bytes())
    assert written[0] == written[1]


def test_the_world_of_captions_keeps_the_tags_of_its_rows(tmp_path):
    world = {"name": "captions", "seed": 1, "train": 60, "validation": 9, "test": 30}
    columns = {name: name for name in ("premise", "hypothesis", "label")}
    draws = {name: {"source": name} for name in DRAWN_FIRST}
    data = {"source": "world", "path": "data/raw", "world": world, "columns": columns, **draws}
    metrics, _ = prepared(project(tmp_path, data))
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (60, 9, 30)
    assert (metrics["leaked_pairs"], metrics["shared_premises"]) == (0, 0)
    cases = read_cases(tmp_path / "data/splits/test.jsonl", ["premise", "hypothesis"], LABELS)
    assert all(case.tags for case in cases)


def test_a_failed_run_leaves_the_splits_of_the_last_good_one(tmp_path):
    prepared(project(tmp_path))
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("splits/*"))}
    (tmp_path / "data/raw/test.jsonl").write_text('{"premise": "p", "hypothesis": "h", "label": 3}\n')
    assert prepare(tmp_path).returncode == 1
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("splits/*"))} == before
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["raw", "splits"]


def test_bad_rows_end_in_one_line_that_names_file_and_row(tmp_path):
    good = '{"premise": "p", "hypothesis": "h", "label": 0}\n'
    folder = project(tmp_path)
    file = folder / "data/raw/validation.jsonl"
    for bad, expected in {
        "{": "row 2: is not JSON: '{'",
        "[1]": "row 2: found '[1]', expected a JSON object",
        '{"premise": "p", "label": 0}': "row 2: has no column 'hypothesis'; its columns: premise, label",
        '{"premise": "p", "hypothesis": "h", "label": 3}': "row 2: label: found 3, expected one of 0, 1, 2",
        '{"premise": "", "hypothesis": "h", "label": 0}': "row 2: premise: found '', expected text",
        '{"premise": "p\\u0000", "hypothesis": "h", "label": 0}': "row 2: premise: found the character",
    }.items():
        file.write_text(good + bad + "\n")
        assert f"data/raw/validation.jsonl, {expected}" in refused(folder)
    file.unlink()
    assert refused(folder).endswith("data/raw/validation.jsonl: there is no such file")


def test_an_empty_split_is_named_with_its_arithmetic(tmp_path):
    data = files_section(train={"source": "train", "select": "stride", "every": 100})
    rows = {"train": [("p", "h", -1), *[("q", f"h{i}", 0) for i in range(9)]]}
    line = refused(project(tmp_path, data, rows))
    assert "data.train: no row is left of source split train: 10 rows read - 9 off the stride - 1 without label" in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"test": {"source": "tset"}}, "data.test.source: found 'tset', expected one of"),
        ({"files": {**FILES, "test": "../params.yaml"}}, "expected a file inside data.path data/raw"),
        ({"unlabelled": ["2"]}, "data.unlabelled: found ['2'], which data.labels gives a label"),
        (
            {
                "validation": {"source": "train", "select": "random", "fraction": 0.3},
                "train": {"source": "train", "select": "random", "fraction": 0.8},
            },
            "the fractions drawn from 'train' add up to 1.1, expected at most 1",
        ),
    ],
)
def test_contradictions_in_the_data_section_are_refused(changes, expected, tmp_path):
    assert expected in refused(project(tmp_path, files_section(**changes)))


def test_a_raw_folder_that_is_not_there_is_named(tmp_path):
    assert "nowhere: there is no such file or folder" in refused(project(tmp_path), raw="nowhere")


def test_a_split_folder_outside_the_project_is_refused(tmp_path):
    folder = project(tmp_path / "project")
    assert "leads out of the project" in refused(folder, **{"--splits": "../splits"})
    assert not (tmp_path / "splits").exists()


def test_a_hub_that_cannot_be_reached_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    data = files_section(
        source="hub",
        hub={"id": "stanfordnlp/snli", "config": "plain_text", "revision": "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"},
    )
    del data["files"]
    line = refused(project(tmp_path, data))
    assert "stanfordnlp/snli at cdb5c3d5eed6ead6e5a341c8e56e669bb666725b" in line


def test_preparing_files_starts_without_the_heavy_libraries(tmp_path):
    project(tmp_path)
    words = ["prepare.py", "--raw", "data/raw", *[part for pair in ARGUMENTS.items() for part in pair]]
    code = (
        f"import runpy, sys; sys.argv = {words!r}; runpy.run_path({str(ROOT / 'stages/prepare.py')!r}, "
        "run_name='__main__'); print({'torch', 'transformers', 'datasets', 'pandas', 'sklearn', "
        "'huggingface_hub', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_snli_is_prepared_as_systems_a_and_b_chose_their_cases(tmp_path):
    files = {"train": "train_18k.jsonl", "validation": "validation.jsonl", "test": "test.jsonl"}
    for name in files.values():
        shared_data(f"snli/{name}")
    every = {"select": "stride", "every": 100}
    data = files_section(
        files=files,
        test={"source": "test"} | every,
        validation={"source": "validation"} | every,
        train={"source": "train", "select": "stride", "every": 16, "limit": 1000},
    )
    metrics, _ = prepared(project(tmp_path, data), raw=(SHARED / "snli").resolve())
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (1000, 99, 100)
    assert (metrics["dropped_unlabelled"], metrics["leaked_pairs"], metrics["shared_premises"]) == (1, 0, 0)
    cases = read_cases(tmp_path / "data/splits/test.jsonl", ["premise", "hypothesis"], LABELS)
    assert Counter(case.label for case in cases) == {"entailment": 30, "neutral": 34, "contradiction": 36}
