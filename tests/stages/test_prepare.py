import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.prepare_params import FILES, LABELS, PARAMS, SPLITS, files_section
from tests.prepare_run import ARGUMENTS, file_of, prepare, prepared
from tests.settings import settle
from tests.shared_data import SHARED, shared_data
from tunediff.data.cases import read_cases
from tunediff.data.notes import read_notes
from tunediff.runtime.errors import TunediffError

ROOT = Path(__file__).parents[2]


def project(folder, data=None, rows=None, **sections):
    """A project with its parameters, and small files to read."""
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    params = PARAMS | {"data": data or files_section()} | sections
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for name in SPLITS:
        made = (rows or {}).get(name) or [(f"{name} premise {i // 3}", f"hypothesis {i}", i % 3) for i in range(9)]
        lines = [json.dumps(dict(zip(("premise", "hypothesis", "label"), row, strict=True))) + "\n" for row in made]
        (folder / f"data/raw/{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


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
        "dropped_shared_sources": 2,
        "leaked_pairs": 0,
        "shared_sources": 0,
        "shared_partial_inputs": 1,
        "near_duplicates": 0,
        "validation_leaked_pairs": 0,
        "validation_shared_sources": 0,
        "validation_shared_partial_inputs": 0,
        "validation_near_duplicates": 0,
    }
    assert "train: 4 rows read - 1 without label - 2 of a shared premise = 1 (entailment 0.0%," in summary
    assert "of 2 test cases also in train: leaked pairs 0, shared sources 0, shared partial inputs 1" in summary
    [case] = read_cases(tmp_path / "data/splits/train.jsonl", ["premise", "hypothesis"], LABELS)
    assert (case.inputs["premise"], case.label) == ("new", "contradiction")
    cost = json.loads((tmp_path / "metrics/cost/prepare.json").read_text())
    assert set(cost) == {"seconds", "peak_memory_bytes", "device"}


def test_a_further_test_set_has_a_file_and_its_leaks_also_where_its_inputs_have_other_names(tmp_path):
    also = {
        "task": {
            "name": "classification",
            "inputs": ["first", "second"],
            "labels": ["same", "other"],
            "source_input": "first",
            "partial_input": "second",
        },
        "data": {
            "source": "files",
            "path": "further",
            "files": {"dev": "pairs.csv"},
            "columns": {"first": "a", "second": "b", "label": "is"},
            "unlabelled": [""],
            "test": {"source": "dev"},
        },
        "prompt": {"template": "{first} {second}", "choices": {"same": " yes", "other": " no"}},
    }
    rows = {"train": [("seen", "x", 0), ("new", "y", 2)], "test": [("other", "y", 2)]}
    folder = project(tmp_path, rows=rows, also={"pairs": also})
    (folder / "data/raw/further").mkdir()
    (folder / "data/raw/further/pairs.csv").write_text("a,b,is\nseen,x,same\nunseen,y,other\nunseen,z,\n")
    metrics, summary = prepared(folder)
    assert metrics["test_n"] == 1
    assert metrics["also"] == {
        "pairs": {
            "n": 2,
            "dropped_unlabelled": 1,
            "dropped_shared_sources": 0,
            "leaked_pairs": 1,
            "shared_sources": 1,
            "shared_partial_inputs": 2,
            "near_duplicates": 0,
        }
    }
    cases = read_cases(folder / "data/test_sets/pairs.jsonl", ["first", "second"], ["same", "other"])
    notes = read_notes(folder / "data/notes.json")
    assert list(notes) == ["test", "pairs"]
    assert notes["pairs"].leaks.pairs == [cases[0].case_id]
    assert "pairs: 3 rows read - 1 without label = 2 (same 50.0%, other 50.0%; first: 2 different)" in summary


def test_kept_premises_are_counted_as_leaks(tmp_path):
    rows = {"train": [("p", "x", 0), ("p", "y", 1)], "test": [("p", "x", 0), ("q", "z", 1)]}
    metrics, _ = prepared(project(tmp_path, files_section(shared_sources="keep"), rows))
    assert (metrics["leaked_pairs"], metrics["shared_sources"], metrics["dropped_shared_sources"]) == (1, 1, 0)


def test_a_row_without_a_label_that_two_splits_pass_over_is_counted_once(tmp_path):
    data = files_section(
        validation={"source": "train", "select": "stratified", "fraction": 0.25, "seed": 1},
        train={"source": "train", "select": "all"},
    )
    rows = {"train": [(f"p{i}", "h", i % 3 if i else -1) for i in range(21)]}
    metrics, _ = prepared(project(tmp_path, data, rows))
    assert metrics["dropped_unlabelled"] == 1
    assert (metrics["train_n"], metrics["validation_n"]) == (15, 5)


@pytest.mark.pipeline
@pytest.mark.parametrize("source", ["files", "synthetic"])
def test_two_runs_give_the_same_bytes_whatever_the_hash_seed(source, tmp_path):
    world = {"name": "captions", "seed": 1, "train": 120, "validation": 30, "test": 30}
    columns = {name: name for name in ("premise", "hypothesis", "label")}
    draws = {name: {"source": name} for name in SPLITS} | {
        "train": {"source": "train", "select": "stratified", "fraction": 0.5, "seed": 3}
    }
    data = {"source": "synthetic", "path": "data/raw", "synthetic": world, "columns": columns, **draws}
    written = []
    for seed in ("1", "2"):
        folder = project(tmp_path / seed, data if source == "synthetic" else files_section(**draws))
        prepared(folder, hash_seed=seed)
        written.append([file_of(folder, name).read_bytes() for name in SPLITS])
        written[-1].append((folder / "metrics/prepare.json").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("shared", ["drop", "keep"])
@pytest.mark.parametrize("select", ["random", "stratified"])
def test_rows_in_another_order_give_the_same_bytes_where_they_are_drawn_by_what_they_say(select, shared, tmp_path):
    # Three hypotheses a premise; one pair stands twice, and one with two labels.
    made = [(f"premise {i // 3}", f"hypothesis {i % 37}", i % 4 - 1) for i in range(120)]
    made += [made[7], (*made[9][:2], (made[9][2] + 2) % 3)]
    how = {"source": "train", "select": select, "seed": 2}
    data = files_section(
        shared_sources=shared,
        test=how | {"fraction": 0.3},
        validation=how | {"fraction": 0.2},
        train=how | {"fraction": 0.5},
    )
    written = []
    for seed in (None, 1, 2):
        rows = random.Random(seed).sample(made, len(made)) if seed else made
        folder = project(tmp_path / str(seed), data, {"train": rows})
        prepared(folder)
        paths = [file_of(folder, name) for name in SPLITS]
        paths += [folder / "data/notes.json", folder / "metrics/prepare.json"]
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1] == written[2]
    assert set(written[0]) == {"train.jsonl", "validation.jsonl", "test.jsonl", "notes.json", "prepare.json"}


def test_the_world_of_captions_keeps_the_tags_of_its_rows(tmp_path):
    world = {"name": "captions", "seed": 1, "train": 60, "validation": 9, "test": 30}
    columns = {name: name for name in ("premise", "hypothesis", "label")}
    draws = {name: {"source": name} for name in SPLITS}
    data = {"source": "synthetic", "path": "data/raw", "synthetic": world, "columns": columns, **draws}
    metrics, _ = prepared(project(tmp_path, data))
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (60, 9, 30)
    assert (metrics["leaked_pairs"], metrics["shared_sources"]) == (0, 0)
    cases = read_cases(tmp_path / "data/test_sets/test.jsonl", ["premise", "hypothesis"], LABELS)
    assert all(case.tags for case in cases)


@pytest.mark.slow
@pytest.mark.parametrize("world", ["reviews", "questions"])
def test_the_other_worlds_become_cases_with_tags_and_share_nothing(world, tmp_path):
    sections = REVIEWS if world == "reviews" else QUESTIONS
    gold = "label" if world == "reviews" else "answers"
    data = {
        "source": "synthetic",
        "path": "data/raw",
        "synthetic": {"name": world, "seed": 1, "train": 300, "validation": 30, "test": 60},
        "columns": {name: name for name in (*sections["task"]["inputs"], gold)},
        **{name: {"source": name} for name in SPLITS},
    }
    if world == "questions":
        data["group"] = "title"
    metrics, summary = prepared(project(tmp_path, data, **sections))
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (300, 30, 60)
    assert (metrics["leaked_pairs"], metrics["shared_sources"], metrics["dropped_shared_sources"]) == (0, 0, 0)
    task = sections["task"]
    cases = read_cases(tmp_path / "data/test_sets/test.jsonl", task["inputs"], task["labels"])
    assert {case.label for case in cases} == set(task["labels"])
    assert all(case.tags for case in cases)
    assert ("test: starts of the answers: " in summary) == (world == "questions")


def test_a_failed_run_leaves_the_splits_of_the_last_good_one(tmp_path):
    prepared(project(tmp_path))
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("splits/*"))}
    (tmp_path / "data/raw/test.jsonl").write_text('{"premise": "p", "hypothesis": "h", "label": 3}\n')
    assert prepare(tmp_path).returncode == 1
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("splits/*"))} == before
    written = ["notes.json", "raw", "settings", "splits", "test_sets"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == written


def test_bad_rows_end_in_one_line_that_names_file_and_row(tmp_path):
    good = '{"premise": "p", "hypothesis": "h", "label": 0}\n'
    folder = project(tmp_path)
    file = folder / "data/raw/validation.jsonl"
    for bad, expected in {
        "{": "row 2: is not JSON: '{'",
        "[1]": "row 2: found '[1]', expected a JSON object",
        '{"premise": "p", "label": 0}': "row 2: has no column 'hypothesis'; its columns: 'premise', 'label'",
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
        ({"files": {**FILES, "test": "../params.yaml"}}, "expected a file inside data.path"),
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
    with pytest.raises(TunediffError) as error:
        refused(project(tmp_path, files_section(**changes)))
    assert expected in str(error.value)


def test_a_raw_folder_that_is_not_there_is_named(tmp_path):
    assert "nowhere: there is no such file or folder" in refused(project(tmp_path), raw="nowhere")


def test_a_split_folder_outside_the_project_is_refused(tmp_path):
    folder = project(tmp_path / "project")
    assert "leads out of the project" in refused(folder, **{"--splits": "../splits"})
    assert not (tmp_path / "splits").exists()


def test_a_hub_that_cannot_be_reached_ends_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    data = files_section(
        source="hub",
        hub={"id": "stanfordnlp/snli", "config": "plain_text", "revision": "cdb5c3d5eed6ead6e5a341c8e56e669bb666725b"},
    )
    del data["files"]
    line = refused(project(tmp_path, data))
    assert "stanfordnlp/snli at cdb5c3d5eed6ead6e5a341c8e56e669bb666725b" in line


@pytest.mark.pipeline
def test_preparing_files_starts_without_the_heavy_libraries(tmp_path):
    settle(project(tmp_path))
    words = ["prepare.py", "--raw", "data/raw", *[part for pair in ARGUMENTS.items() for part in pair]]
    code = (
        f"import runpy, sys; sys.argv = {words!r}; runpy.run_path({str(ROOT / 'stages/prepare.py')!r}, "
        "run_name='__main__'); print({'torch', 'transformers', 'datasets', 'sklearn', "
        "'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
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
    assert (metrics["dropped_unlabelled"], metrics["leaked_pairs"], metrics["shared_sources"]) == (1, 0, 0)
    cases = read_cases(tmp_path / "data/test_sets/test.jsonl", ["premise", "hypothesis"], LABELS)
    assert Counter(case.label for case in cases) == {"entailment": 30, "neutral": 34, "contradiction": 36}


QUESTIONS = {
    "task": {
        "name": "question_answering",
        "inputs": ["question", "context"],
        "labels": ["answerable", "unanswerable"],
        "source_input": "context",
        "partial_input": "question",
    },
    "model": {"source": "folder", "id": "model", "head": "span", "quantization": "none"},
    "prompt": {},
    "evaluate": {"scoring_method": "head"},
}


def questions_section(**changes):
    """Section data for one file of SQuAD's, split by article."""
    how = {"source": "dev", "select": "stratified", "seed": 1}
    return {
        "source": "files",
        "path": "data/raw",
        "files": {"dev": "dev-v2.0.json"},
        "columns": {"question": "question", "context": "context", "answers": "answers"},
        "group": "title",
        "test": how | {"fraction": 0.2},
        "validation": how | {"fraction": 0.1},
        "train": how | {"fraction": 0.7},
    } | changes


@pytest.mark.pipeline
def test_squad_is_split_by_article_and_its_summary_says_what_it_holds(tmp_path):
    raw = shared_data("squad/dev-v2.0.json").parent.resolve()
    metrics, summary = prepared(project(tmp_path, questions_section(), **QUESTIONS), raw=raw)
    splits = {
        name: read_cases(file_of(tmp_path, name), ["question", "context"], QUESTIONS["task"]["labels"])
        for name in SPLITS
    }
    content = json.loads((raw / "dev-v2.0.json").read_text(encoding="utf-8"))
    article = {p["context"]: a["title"] for a in content["data"] for p in a["paragraphs"]}
    titles = {name: {article[case.inputs["context"]] for case in cases} for name, cases in splits.items()}
    assert len(set.union(*titles.values())) == sum(map(len, titles.values())) == 35
    assert sum(map(len, splits.values())) == 11_873
    assert metrics["test_n"] == len(splits["test"]) == pytest.approx(0.2 * 11_873, rel=0.05)
    assert (metrics["shared_sources"], metrics["leaked_pairs"]) == (0, 0)
    for case in [case for cases in splits.values() for case in cases]:
        assert bool(case.answers) == (case.label == "answerable")
        assert all(case.inputs["context"].startswith(text, start) for text, start in case.answers)
    texts = len({case.inputs["context"] for case in splits["test"]})
    share = sum(case.label == "answerable" for case in splits["test"]) / len(splits["test"])
    assert (
        f"= {metrics['test_n']:,} (answerable {share:.1%}, unanswerable {1 - share:.1%}; context: {texts} different"
        in summary
    )
    assert f"context: {texts} different, title: {len(titles['test'])} different)" in summary
    assert "dev: starts of the answers: 10,279 as given, 0 found in the context, 0 nowhere" in summary


def test_an_unanswerable_question_where_none_is_expected_is_named_by_article_paragraph_and_question(tmp_path):
    raw = shared_data("squad/dev-v2.0.json").parent.resolve()
    task = QUESTIONS["task"] | {"labels": ["answerable"]}
    line = refused(project(tmp_path, questions_section(), **QUESTIONS | {"task": task}), raw=raw)
    assert "dev-v2.0.json, article 1 (Normans), paragraph 1, question 6: answers: found no answer" in line


def test_a_group_column_that_is_not_there_is_named(tmp_path):
    line = refused(project(tmp_path, files_section(group="title")))
    assert "row 1: has no column 'title'; its columns: 'premise', 'hypothesis', 'label'" in line


REVIEWS = {
    "task": {
        "name": "classification",
        "inputs": ["sentence"],
        "labels": ["negative", "positive"],
        "source_input": "sentence",
        "partial_input": "sentence",
    },
    "prompt": {"template": "{sentence}", "choices": {"negative": "bad", "positive": "good"}},
}


def sst2_section(**changes):
    """Section data for SST-2 as system D splits it."""
    how = {"source": "train", "select": "stratified", "seed": 1}
    return {
        "source": "files",
        "path": "data/raw",
        "files": {"train": "train.tsv", "dev": "dev.tsv"},
        "columns": {"sentence": "sentence", "label": "label"},
        "labels": {0: "negative", 1: "positive"},
        "unlabelled": [-1],
        "test": {"source": "dev"},
        "validation": how | {"fraction": 0.2},
        "train": how | {"fraction": 0.8},
    } | changes


@pytest.mark.pipeline
@pytest.mark.parametrize(("shared", "leaked"), [("drop", 0), ("keep", 114)])
def test_sst2_is_split_80_to_20_and_a_sentence_that_stands_twice_leaks_only_where_it_may(shared, leaked, tmp_path):
    raw = shared_data("sst2/train.tsv").parent.resolve()
    metrics, _ = prepared(project(tmp_path, sst2_section(shared_sources=shared), **REVIEWS), raw=raw)
    assert (metrics["train_n"], metrics["validation_n"], metrics["test_n"]) == (53_879, 13_470, 872)
    # With one input, the whole case is the source text and the partial-input text too.
    assert [metrics[f"validation_{key}"] for key in ("leaked_pairs", "shared_sources", "shared_partial_inputs")] == (
        [leaked] * 3
    )
    assert metrics["leaked_pairs"] == 0
    cases = read_cases(tmp_path / "data/test_sets/test.jsonl", ["sentence"], ["negative", "positive"])
    assert Counter(case.label for case in cases) == {"negative": 428, "positive": 444}


def test_the_hubs_layout_of_sst2_gives_the_cases_of_the_tsv(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = shared_data("sst2/dev.tsv").read_text(encoding="utf-8").split("\n")[1:]
    rows = [line.split("\t") for line in lines if line]
    raw = tmp_path / "hub"
    raw.mkdir()
    sentences, labels = [text for text, _ in rows], [int(label) for _, label in rows]
    table = {"sentence": [*sentences, "hidden"], "label": [*labels, -1], "idx": list(range(len(rows) + 1))}
    pq.write_table(pa.table(table), raw / "dev.parquet")
    (raw / "dev.tsv").write_bytes(shared_data("sst2/dev.tsv").read_bytes())
    written = []
    for name in ("dev.tsv", "dev.parquet"):
        how = {"source": "dev", "select": "random", "seed": 1, "fraction": 0.2}
        data = sst2_section(files={"dev": name}, validation=how, train=how, test=how)
        folder = project(tmp_path / name, data, **REVIEWS)
        metrics, _ = prepared(folder, raw=raw)
        assert metrics["dropped_unlabelled"] == (1 if name == "dev.parquet" else 0)
        written.append([file_of(folder, split).read_bytes() for split in SPLITS])
    assert written[0] == written[1]


def sliced(folder, slices, tests):
    """A project whose test rows have further columns."""
    rows = [{"premise": f"p{i}", "hypothesis": f"h{i}", "label": 0, **row} for i, row in enumerate(tests)]
    folder = project(folder, files_section(**({"slices": slices} if slices else {})), {"train": [("t", "x", 0)]})
    (folder / "data/raw/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_columns_to_slice_by_are_noted_beside_the_test_cases_and_change_no_test_set(tmp_path):
    tests = [{"channel": "web", "age": 31}, {"channel": "", "age": 7.0}, {"channel": "phone", "age": None}]
    prepared(sliced(tmp_path / "one", ["channel", "age"], tests))
    prepared(sliced(tmp_path / "two", [], tests))
    notes = [read_notes(tmp_path / name / "data/notes.json")["test"].slices for name in ("one", "two")]
    assert notes == [{"channel": ["web", None, "phone"], "age": ["31", "7", None]}, {}]
    for path in ("data/test_sets/test.jsonl", "data/splits/train.jsonl"):
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


@pytest.mark.parametrize(
    ("slices", "row", "message"),
    [
        (["tier"], {}, "test.jsonl, row 1: has no column 'tier'; its columns: 'premise', 'hypothesis', 'label'"),
        (["tier"], {"tier": ["a"]}, "test.jsonl, row 1: tier: found ['a'], expected text or a number"),
    ],
)
def test_a_column_to_slice_by_that_is_missing_or_no_text_is_refused_in_one_line(tmp_path, slices, row, message):
    assert message in refused(sliced(tmp_path, slices, [row]))
