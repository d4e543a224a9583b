"""Rubbish ends in lines that name the field and the place: no traceback, no hang (docs/reliability.md).

250 inputs here; 10,000 with `pytest tests/test_rubbish.py --long`. Each goes the way of a user, through the function
behind `params.yaml`, the stage prepare, and the commands diff, score and predict.
"""

import argparse
import gc
import json
import runpy
import sys
from collections import Counter
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.imports import ROOT
from tests.rubbish import ODD, SPECIAL, TEXTS, broken, json_lines, json_text, nested, refusal, table, torn, within
from tests.settings import settle
from tests.tiny import encoded_prompts
from tunediff.commands import diff, predict, score
from tunediff.config.prompt import Prompt
from tunediff.data.sources.table_files import read_rows
from tunediff.tasks.experiment import read_experiment

PREPARE = runpy.run_path(str(ROOT / "stages" / "prepare.py"))["main"]
SHARE = {"params": 75, "prepare": 75, "diff": 65, "score": 20, "predict": 15}
TIMES = 40  # of --long: 10,000 inputs


@pytest.fixture
def fuzz(long, capsys):
    """Runs a check on many inputs, and says how many of them were refused."""

    def run(name, inputs, check):
        counts = Counter()

        @settings(
            max_examples=SHARE[name] * (TIMES if long else 1),
            deadline=None,
            database=None,
            derandomize=not long,
            suppress_health_check=list(HealthCheck),
        )
        @given(inputs)
        def one(value):
            counts["refused" if check(value) else "taken"] += 1

        one()
        if long:
            with capsys.disabled():
                print(f"\n{name}: {counts.total():,} inputs, {counts['refused']:,} refused, {counts['taken']:,} taken")
        assert counts["refused"] > counts.total() / 10
        assert counts["taken"]

    return run


# params.yaml

RECIPES = [
    yaml.safe_load(path.read_text()) for path in [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]
]
YAMLS = [
    "task: &a [*a]\n",
    "task: &a {inputs: *a}\n",
    "[" * 5000,
    "{a: " * 5000,
    "- " * 5000,
    "? " * 5000,
    "task: 0x" + "f" * 20_000,
    "train: {learning_rate: 0b" + "1" * 50_000 + ", seed: " + "9" * 5000 + ", num_train_epochs: " + "1:" * 3000 + "1}",
    "train: {learning_rate: " + "9" * 400 + ".5, warmup_steps: 1e400, weight_decay: .nan, max_grad_norm: -.inf}",
    "task: !!python/object/apply:os.system ['true']",
    "task: !!python/name:os.system\n",
    "task: !!set {a, b}\ndata: !!binary AAAA\nmodel: 2026-02-30\ntrain: 2026-01-01 00:00:00\nreport: !!omap [a: 1]\n",
    "? [1, 2]\n: 3\n? {a: b}\n: c\n",
    "task: 1\ntask: 2\n'task': 3\n",
    'report: {title: "\\uD800\\0\\e[31m"}\n"\\uD83D": 1\n',
    'data: {path: "a\\0b", source: files, files: {a: /dev/zero}}\n',
    "%YAML 9.9\n---\na: 1\n",
    "a: 1\n---\nb: 2\n",
    "\t\n",
    "",
    "\ufeff",
    "null",
    "- task\n- data\n",
    f"report: {{title: {'x' * 150_000}}}\n",
    "x: " + "y" * 300_000,
]


def yaml_of(value):
    try:
        return yaml.safe_dump(value, allow_unicode=False).encode()
    except (ValueError, RecursionError):  # a number of more digits than Python writes, lists in lists in lists
        return json_text(value).encode() if not _huge(value) else b"task: 0x" + b"f" * 9999


def _huge(value):
    try:
        json_text(value)
    except (ValueError, RecursionError):
        return True
    return False


@st.composite
def params_files(draw):
    kind = draw(st.sampled_from(["broken"] * 6 + ["special", "any", "torn"]))
    if kind == "special":
        return draw(st.sampled_from(YAMLS)).encode()
    if kind == "any":
        return yaml_of(draw(ODD))
    whole = yaml_of(draw(broken(draw(st.sampled_from(RECIPES)))))
    return draw(torn(whole)) if kind == "torn" else whole


@pytest.mark.slow
def test_params(fuzz, tmp_path):
    path = tmp_path / "params.yaml"

    def check(data):
        path.write_bytes(data)
        return refusal(lambda: read_experiment(path), str(path))

    for text in YAMLS:
        assert check(text.encode()), text[:80]
    fuzz("params", params_files(), check)


# Data files, through the stage prepare

NLI = [
    {"premise": f"A man {word}s {n} dogs.", "hypothesis": f"Nobody {word}s.", "label": n % 3, "tags": ["x"], "group": n}
    for n, word in enumerate(["feed", "see", "hear", "like", "call", "wash"] * 2)
]
SQUAD = [
    {
        "id": f"q{n}",
        "question": f"Who is in room {n}?",
        "context": f"Ann is in room {n} and Bob is not.",
        "answers": {"text": ["Ann"], "answer_start": [0]} if n % 2 else {"text": [], "answer_start": []},
    }
    for n in range(12)
]
SQUAD_FILE = {
    "version": "v2.0",
    "data": [
        {
            "title": "Rooms",
            "paragraphs": [
                {
                    "context": row["context"],
                    "qas": [
                        {
                            "id": row["id"],
                            "question": row["question"],
                            "is_impossible": not row["answers"]["text"],
                            "answers": [{"text": text, "answer_start": 0} for text in row["answers"]["text"]],
                        }
                    ],
                }
                for row in SQUAD
            ],
        }
    ],
}


def project_params(task, name):
    """Parameters of a project that takes its three splits from one file."""
    questions = task == "question_answering"
    inputs = ["question", "context"] if questions else ["premise", "hypothesis"]
    base = next(one for one in RECIPES if one["task"]["name"] == task and one["model"]["source"] == "scratch")
    draws = {"train": {"source": "all"}, "validation": {"source": "all", "select": "stride", "every": 4}}
    data = {
        **{"source": "files", "path": "data/raw", "files": {"all": name}, "shared_sources": "keep"},
        **{"columns": {one: one for one in (*inputs, "answers" if questions else "label")}, "unlabelled": [-1, ""]},
        **draws,
        "test": {"source": "all", "select": "stride", "every": 3},
    }
    if not questions:
        data["labels"] = dict(enumerate(base["task"]["labels"]))
    return base | {"data": data}


def parquet(rows, path):
    """Rows as Parquet; what no column can hold is left out."""
    kept = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    columns = {}
    for name in dict.fromkeys(str(name) for row in kept for name in row):
        values = [row.get(name) for row in kept]
        for convert in (lambda value: value, lambda value: None if value is None else str(value)[:50]):
            try:
                columns[name] = pa.array([convert(value) for value in values])
                break
            except (pa.ArrowException, ValueError, OverflowError, TypeError, RecursionError):
                continue
    try:
        pq.write_table(pa.table(columns, metadata={"tunediff": "[1"} if len(kept) % 7 == 3 else None), path)
    except (pa.ArrowException, ValueError, OSError):
        path.write_bytes(b"PAR1")
    return path.read_bytes()


@st.composite
def data_files(draw, folder):
    """The name of a data file, and its bytes."""
    kind = draw(st.sampled_from([".jsonl", ".jsonl", ".csv", ".tsv", ".parquet", ".json", "hub"]))
    if kind in (".json", "hub"):
        value = draw(broken(SQUAD_FILE if kind == ".json" else SQUAD))
        name, data = ("all.json", json_text(value).encode()) if kind == ".json" else ("all.jsonl", json_lines(value))
        return "question_answering", name, draw(torn(data))
    rows = draw(broken(NLI))
    made = {
        ".jsonl": lambda: json_lines(rows),
        ".csv": lambda: table(rows, ","),
        ".tsv": lambda: table(rows, "\t"),
        ".parquet": lambda: parquet(rows, folder / "made.parquet"),
    }
    return "nli", f"all{kind}", draw(torn(made[kind]()))


@pytest.mark.slow
def test_data_files(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    options = {"settings": "data/settings/prepare.json", "raw": "data/raw", "splits": "out/splits"}
    options |= {"test-sets": "out/test_sets", "notes": "out/notes.json"}
    options |= {"metrics": "out/prepare.json", "cost": "out/cost.json"}
    monkeypatch.setattr(
        sys, "argv", ["prepare.py", *(word for key, at in options.items() for word in (f"--{key}", at))]
    )

    def check(given):
        task, name, data = given
        (raw / name).write_bytes(data)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(project_params(task, name)))
        settle(tmp_path)
        return refusal(PREPARE, f"data/raw/{name}", "data.t", "split", "train", "validation", "test")

    fuzz("prepare", data_files(tmp_path), check)
    assert not capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"data", "out", "params.yaml", "made.parquet"}


# Prediction files, through the commands

OWN = [
    {
        **{"case_id": f"c{n}", "label": "yes", "prediction": ["yes", "no", None][n % 3], "text": f"Room {n}."},
        **{"outcome": ["right", "wrong", "invalid"][n % 3], "log_probs": [-0.1, -2.4], "scorer": "choices"},
        **{"prompt_hash": f"{n:x}", "premise": f"p{n % 4}"},
    }
    for n in range(9)
]
OWN_ANSWERS = [
    row | {"label": "answerable" if n % 2 else "unanswerable", "answers": ["yes"] * (n % 2), "f1": 0.5}
    for n, row in enumerate(OWN)
]
SAMPLES = [
    {
        "doc_id": n,
        "doc": {"premise": "p", "label": 1},
        "target": "1",
        "arguments": {"gen_args_0": {"arg_0": f"P{n}", "arg_1": " a"}, "gen_args_1": {"arg_0": f"P{n}", "arg_1": " b"}},
        "filtered_resps": [["-1.5", "False"], ["-0.3", "True"]],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "doc_hash": f"{n}",
        "prompt_hash": f"{n}",
        "acc": 1.0,
        "acc_norm": 0.0,
    }
    for n in range(3)
]
ANSWERS = {row["id"]: "Ann" if n % 2 else "" for n, row in enumerate(SQUAD)}
FIELDS = [
    [],
    ["--input-fields", "text"],
    ["--scores-field", "log_probs"],
    ["--cluster-field", "premise"],
    ["--id-field", "prompt_hash", "--scores-field", "log_probs"],
    ["--metric", "acc_norm"],
    ["--label-field", "log_probs"],
    ["--input-fields", "text,premise", "--cluster-field", "doc"],
]


@st.composite
def prediction_pairs(draw, folder):
    """Kind, options, and the bytes of two prediction files and a data set."""
    kind = draw(st.sampled_from([".jsonl", ".jsonl", ".csv", ".parquet", "samples", ".json"]))
    whole = {"samples": SAMPLES, ".json": ANSWERS}.get(kind) or draw(st.sampled_from([OWN, OWN, OWN_ANSWERS]))
    made = {
        ".csv": lambda rows: table(rows, ","),
        ".parquet": lambda rows: parquet(rows, folder / "made.parquet"),
        ".json": lambda value: json_text(value).encode(),
    }.get(kind, json_lines)
    both = draw(broken(whole))
    files = [draw(torn(made(both))), made(both if draw(st.booleans()) else whole)]
    squad = draw(torn(json_text(draw(broken(SQUAD_FILE))).encode())) if kind == ".json" else b""
    options = ["--data", "dev.json"] if kind == ".json" else draw(st.sampled_from(FIELDS))
    return ".jsonl" if kind == "samples" else kind, options, files, squad


def run(command, *arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    try:
        command.main(parser.parse_args(list(arguments)))
    finally:
        gc.enable()


@pytest.mark.slow
def test_prediction_files_of_diff(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def check(given):
        kind, options, files, squad = given
        names = [f"{name}{kind}" for name in ("before", "after")]
        for name, data in zip((*names, "dev.json"), (*files, squad), strict=True):
            (tmp_path / name).write_bytes(data)
        return refusal(lambda: run(diff, *names, "--out", "out", *options), *names, "dev.json")

    fuzz("diff", prediction_pairs(tmp_path), check)
    assert not capsys.readouterr().err


ONE = {"case_id": "a", "label": "x", "prediction": "x"}
SAMPLE = SAMPLES[0]


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (SAMPLE | {"metrics": 3, "acc": 0.5}, []),
        (SAMPLE | {"metrics": [[1]], "acc": 0.5}, []),
        (SAMPLE | {"target": "\ud800"}, []),
        (SAMPLE | {"doc": nested(900)}, []),
        (SAMPLE | {"filtered_resps": [[10**400, "False"], ["-1", "True"]]}, []),
        (ONE | {"label": "\ud800"}, []),
        (ONE | {"text": "x\udfff"}, ["--input-fields", "text"]),
        (ONE | {"log_probs": [10**400, 1]}, ["--scores-field", "log_probs"]),
        (ONE | {"log_probs": "[" * 900 + "]" * 900}, ["--scores-field", "log_probs"]),
        (ONE | {"label": nested(900)}, []),
    ],
)
def test_a_row_of_predictions_that_once_ended_in_a_traceback(row, options, tmp_path):
    path = tmp_path / "before.jsonl"
    path.write_text(json_text(row))
    [line] = refusal(lambda: run(diff, str(path), str(path), "--out", str(tmp_path / "out"), *options), str(path))
    assert "row 1" in line


@pytest.mark.parametrize("change", [{"target": "²"}, {"target": "9" * 5000}, {"arguments": [["P", " a"]]}])
def test_a_sample_whose_choices_have_no_names_is_compared_by_their_numbers(change, tmp_path):
    path = tmp_path / "before.jsonl"
    path.write_text(json_text(SAMPLE | change))
    assert not refusal(lambda: run(diff, str(path), str(path), "--out", str(tmp_path / "out")))


@pytest.mark.parametrize("made", ["[1", "[]", '{"labels": 3}', '{"labels": [3]}', "\ud800"])
def test_what_a_parquet_file_says_of_itself_is_checked(made, tmp_path):
    path = tmp_path / "before.parquet"
    table = pa.table({name: [value] for name, value in ONE.items()})
    pq.write_table(table.replace_schema_metadata({"tunediff": made.encode("utf-8", "surrogatepass")}), path)
    [line] = refusal(lambda: run(diff, str(path), str(path), "--out", str(tmp_path / "out")), str(path))
    assert "metadata tunediff" in line


def test_a_table_of_many_columns_or_of_a_long_text_is_read(tmp_path):
    wide, long = tmp_path / "wide.csv", tmp_path / "long.csv"
    names = [f"c{at}" for at in range(100_000)]
    wide.write_text(f"{','.join(names)}\n{','.join(names)}\n")
    long.write_text(f"text,label\n{'x' * 2**20},0\n")
    with within():
        assert len(read_rows(wide)[0]) == len(names)
        assert len(read_rows(long)[0]["text"]) == 2**20


@st.composite
def scored(draw):
    files = [json_text(value).encode() for value in (SQUAD_FILE, ANSWERS, dict.fromkeys(ANSWERS, 0.25))]
    at = draw(st.integers(0, 2))
    files[at] = draw(torn(json_text(draw(broken(json.loads(files[at])))).encode()))
    return files, draw(st.sampled_from(["squad", "squad_v2"]))


def test_prediction_files_of_score(fuzz, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def check(given):
        files, task = given
        for name, data in zip(("dev.json", "said.json", "odds.json"), files, strict=True):
            (tmp_path / name).write_bytes(data)
        odds = ["--na-probs", "odds.json"] if task == "squad_v2" else []
        words = ["--task", task, "--data", "dev.json", "--predictions", "said.json", *odds]
        return refusal(lambda: run(score, *words), "dev.json", "said.json", "odds.json")

    fuzz("score", scored(), check)


@st.composite
def case_files(draw, folder):
    kind = draw(st.sampled_from([".jsonl", ".csv", ".tsv", ".parquet"]))
    rows = [{"premise": row["premise"], "hypothesis": row["hypothesis"]} for row in NLI[:3]]
    rows[0]["premise"] = draw(st.sampled_from([*TEXTS, *SPECIAL]))
    rows = draw(broken(rows))
    made = {".jsonl": json_lines, ".csv": lambda rows: table(rows, ","), ".tsv": lambda rows: table(rows, "\t")}
    data = made[kind](rows) if kind in made else parquet(rows, folder / "made.parquet")
    return kind, draw(torn(data))


def test_files_of_cases(fuzz, tmp_path, monkeypatch, capsys, tokenizer):
    """The models are left out: what they are asked is encoded for real, and nothing is answered."""
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    prompt = Prompt(
        template="{premise}\n{hypothesis}\nTrue?", choices={"yes": " yes", "no": " no"}, too_long="truncate"
    )
    special = set(tokenizer.all_special_ids)

    def answer(params, cases):
        encoded = encoded_prompts(tokenizer, cases, prompt, context=64)
        assert not any(special & set(one.tokens[1:]) for one in encoded)
        rows = [{"prediction": None, "text": "", "log_probs": None, "truncated": one.truncated} for one in encoded]
        return pd.DataFrame(rows), pd.DataFrame(rows)

    monkeypatch.setattr(predict, "read_project", lambda name: SimpleNamespace(task=read_experiment(params).task))
    monkeypatch.setattr(predict, "both_answer", answer)

    def check(given):
        kind, data = given
        (tmp_path / f"cases{kind}").write_bytes(data)
        lines = refusal(lambda: run(predict, "--file", f"cases{kind}", "--out", "said.jsonl"), f"cases{kind}")
        assert lines or all(json.loads(line) for line in (tmp_path / "said.jsonl").read_text().split("\n")[:-1])
        return lines or refusal(lambda: run(predict, "--file", f"cases{kind}"), f"cases{kind}")

    fuzz("predict", case_files(tmp_path), check)
    capsys.readouterr().out.encode()
