"""Each benchmark ends with exit code 1 where its two sides do not agree: here one side is broken on purpose.

pytest tests/test_benchmarks.py --long -s        # all scripts; choices and training need `pip install -e .[bench]`
"""

import ast
import importlib
import json
import runpy
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch

import tunediff.engines.local.choices
import tunediff.engines.local.generate
import tunediff.engines.local.spans
import tunediff.training.finetune
from tests.imports import ROOT
from tests.shared_data import shared_data
from tests.tiny import small_model, small_tokenizer

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script with --quick; its last line, and the line that it ended with, None where it ended well."""
    shared_data("README.md")
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])

    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script, "--quick", *options])
        ended = None
        try:
            runpy.run_path(str(FOLDER / script), run_name="__main__")
        except SystemExit as error:
            ended = error.code
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('{"name"')]
        return json.loads(lines[-1]) if lines else None, ended

    return run


@pytest.fixture
def minutes(long):
    """For scripts that take up to half a minute, twice."""
    if not long:
        pytest.skip("takes minutes: --long")


def needs(peer, extra="bench"):
    """Skip where the extra is not installed: the set-up for the tests leaves it out."""
    if find_spec(peer) is None:
        pytest.skip(f"needs {peer}: pip install -e .[{extra}]")


def changed(monkeypatch, module, name, change):
    """Let a function of the engine return something else."""
    own = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **named: change(own(*args, **named)))


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_every_name_that_a_benchmark_takes_from_the_package_exists(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tunediff"):
            for name in node.names:
                assert hasattr(importlib.import_module(node.module), name.name) or find_spec(
                    f"{node.module}.{name.name}"
                )


@pytest.mark.slow
def test_a_single_text_that_differs_ends_the_generation_benchmark(run, monkeypatch, tmp_path):
    line, ended = run("generation.py")
    assert line["agreement"] == 0
    assert line["ratio"] > 0
    assert ended is None
    changed(monkeypatch, tunediff.engines.local.generate, "generate", lambda out: [("other", None), *list(out)[1:]])
    line, ended = run("generation.py", "--out", str(tmp_path / "line.json"))
    assert ended == "generation: the sides differ by 1, expected at most 0"
    # A result that is wrong is no result.
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_ends_the_pipeline_benchmark(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    pipeline = importlib.import_module("pipeline")
    assert pipeline.run(tmp_path, sys.executable, "-c", "pass") > 0
    with pytest.raises(SystemExit, match="ended with 3: no stage"):
        pipeline.run(tmp_path, sys.executable, "-c", "import sys; print('no stage', file=sys.stderr); sys.exit(3)")


def test_what_goes_through_a_model_is_counted_without_padding(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    work = importlib.import_module("work")
    monkeypatch.setattr(work, "matrix_rate", lambda dtype: 1e6)
    model = small_model("llama", small_tokenizer())
    with work.watched(model, 0) as seen:
        model(torch.tensor([[0, 5, 6], [7, 8, 9]]))
        model(torch.tensor([[5]]))
    assert seen.tokens == 6
    seen.seconds = 2.0
    layers = [one.weight.numel() for one in model.get_decoder().modules() if isinstance(one, torch.nn.Linear)]
    found = work.utilisation(model, seen, per_weight=2)
    assert found["utilisation"] == round(2 * sum(layers) * 6 / 2.0 / 1e6, 3)
    assert found["tokens"] == 6


@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("labels", ["multi", "single", "protocols"])
def test_a_log_likelihood_that_is_off_ends_the_choices_benchmark(labels, run, monkeypatch):
    needs("lm_eval")
    line, ended = run("choices.py", "--labels", labels)
    assert ended is None
    assert line["agreement"] <= line["tolerance"] == 1e-4

    def off(scores):
        scores[7, 1] += 1e-3
        return scores

    changed(monkeypatch, tunediff.engines.local.choices, "score_choices", off)
    line, ended = run("choices.py", "--labels", labels)
    assert ended.startswith(f"choices, {labels}: the sides differ by 0.001")


@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("script", ["training.py", "heads.py"])
def test_another_learning_rate_ends_the_training_benchmarks(script, run, monkeypatch):
    if script == "training.py":
        needs("trl")
    line, ended = run(script)
    assert ended is None
    assert line["agreement"] <= line["tolerance"]
    own = tunediff.training.finetune.finetune

    def faster(loaded, train, dev, section, *rest, **named):
        section = section.model_copy(update={"learning_rate": 2 * section.learning_rate})
        return own(loaded, train, dev, section, *rest, **named)

    monkeypatch.setattr(tunediff.training.finetune, "finetune", faster)
    line, ended = run(script)
    assert "the sides differ by" in ended


@pytest.mark.usefixtures("minutes")
def test_an_answer_that_is_a_character_longer_ends_the_spans_benchmark(run, monkeypatch):
    assert run("spans.py")[1] is None

    def longer(found):
        [best, *others] = found[0].spans
        # The score of no answer below the span's, so that the span is the answer.
        first = found[0]._replace(spans=[best._replace(end=best.end + 1), *others], null=best.score - 1)
        return [first, *found[1:]]

    changed(monkeypatch, tunediff.engines.local.spans, "find_spans", longer)
    assert run("spans.py")[1] == "spans: the sides differ by 1, expected at most 0"


@pytest.mark.usefixtures("minutes")
def test_a_log_probability_in_the_last_digit_ends_the_loads_benchmark(run, monkeypatch):
    assert run("loads.py")[1] is None
    tables = []

    def off(table):
        tables.append(table)
        if len(tables) == 1:
            table.at[0, "log_probs"] = table.at[0, "log_probs"] + [1e-9, 0, 0]
        return table

    changed(monkeypatch, pd, "read_parquet", off)
    assert "the sides differ by 1e-09" in run("loads.py")[1]


@pytest.mark.usefixtures("minutes")
def test_before_and_after_in_each_others_place_end_the_diff_benchmark(run, monkeypatch):
    assert run("diff.py")[1] is None
    own = subprocess.Popen

    def swapped(command, **named):
        at = command.index("diff") + 1
        return own([*command[:at], command[at + 1], command[at], *command[at + 2 :]], **named)

    monkeypatch.setattr(subprocess, "Popen", swapped)
    assert "expected" in run("diff.py")[1]


def test_without_ray_the_benchmark_of_it_is_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run("dealt.py") == (None, "dealt: this needs Ray, which is not installed: pip install '.[ray]'")


def test_answers_of_ray_that_differ_end_its_benchmark(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    dealt = importlib.import_module("dealt")
    table = pd.DataFrame(
        {
            "case_id": ["a", "b"],
            "prompt_hash": ["c", "d"],
            "n_tokens": [3, 4],
            "truncated": [False, False],
            "log_probs": [np.log([0.2, 0.8]), np.log([0.5, 0.5])],
        }
    )
    near = table.assign(log_probs=[table["log_probs"][0] + [1e-3, 0], table["log_probs"][1]])
    assert dealt.compare(table, table.copy(), table) == 0
    assert dealt.compare(table, table, near) == pytest.approx(1e-3)
    with pytest.raises(SystemExit, match="other answers of Ray's workers"):
        dealt.compare(table, near, table)
    with pytest.raises(SystemExit, match="another order"):
        dealt.compare(table, table, table[::-1].reset_index(drop=True))


@pytest.mark.usefixtures("minutes")
def test_ray_deals_out_cases_and_the_benchmark_sees_the_same_answers(run):
    needs("ray", "ray")
    line, ended = run("dealt.py")
    assert ended is None
    assert line["agreement"] <= line["tolerance"]
    ray, alone = line["peak_memory_mib"].values()
    assert set(ray) == {"stage", "worker", "ray"}
    assert set(alone) == {"stage"}


def test_each_side_of_the_memory_benchmark_computes_its_answers(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    memory = importlib.import_module("memory")
    journal = tmp_path / ".scratch" / "predict_base" / "journal"
    for name, text in {
        "recipes/smollm2-snli-b.yaml": "data: {test: {}}\n",
        "metrics/cost/predict_base.json": '{"seconds": 2.0, "peak_memory_bytes": 3000000}',
        "data/test_sets/test.jsonl": "{}\n{}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    asked = []

    def repro(_folder, *command):
        asked.append(("--force" in command, journal.exists()))
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.touch()

    monkeypatch.setattr(memory, "run", repro)
    for keep in ("auto", "never"):
        assert memory.predict(tmp_path, keep, 20)["cases"] == 2
    # The last one finds no journal to resume from.
    assert asked == [(False, False), (False, True), (True, False)]
